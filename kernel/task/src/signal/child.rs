// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells parents of their children: SIGCHLD, and what waitid stores (Linux:
//! kernel/signal.c, do_notify_parent()).

use alloc::sync::Arc;

use abi::Signal;
use abi::siginfo::{CLD_CONTINUED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, SIGINFO_SIZE, SigInfo};
use abi::signal::{SA_NOCLDSTOP, SA_NOCLDWAIT, SIG_IGN};
use hal::{Platform, WaitChannel};

use super::send;
use crate::kernel::Kernel;
use crate::process::{ChildEvent, ExitStatus, News, Process};

/// Tells whether the parent of a process wants no zombies: it ignores SIGCHLD, or has said so.
pub(crate) fn parent_discards_children<P: Platform>(
    kernel: &'static Kernel<P>,
    process: &Arc<Process<P>>,
) -> bool {
    let parent = kernel.processes.with(|tree| {
        let node = tree.nodes.get(&process.pid())?;
        let tells = u32::from(node.exit_signal) == Signal::SIGCHLD.get();
        tree.nodes.get(&node.parent).filter(|_| tells).map(|parent| Arc::clone(&parent.process))
    });
    parent.is_some_and(|parent| {
        let action = parent.signals.actions().get(Signal::SIGCHLD);
        action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0
    })
}

/// Tells the parent that a child has ended. `signal` is the one that was agreed on at clone; 0 for
/// none.
pub(crate) fn child_ended<P: Platform>(
    kernel: &'static Kernel<P>,
    parent: &Arc<Process<P>>,
    pid: u32,
    signal: u8,
    status: ExitStatus,
) {
    if let Some(signal) = Signal::new(signal.into()) {
        let info = info(pid, ChildEvent::Ended(status));
        // Nobody could be told that the queue is full; wait4 knows all the same.
        let _ =
            send::send_to_process(kernel, parent, SigInfo { signo: signal.get() as i32, ..info });
    }
}

/// Tells the parent that a child has stopped or goes on.
pub(super) fn tell_parent<P: Platform>(
    kernel: &'static Kernel<P>,
    process: &Arc<Process<P>>,
    code: i32,
    signal: Signal,
) {
    let pid = process.pid();
    let parent = kernel.processes.with(|tree| {
        let parent = tree.nodes.get(&tree.nodes.get(&pid)?.parent)?;
        Some(Arc::clone(&parent.process))
    });
    let Some(parent) = parent else { return };
    if parent.signals.actions().get(Signal::SIGCHLD).flags & SA_NOCLDSTOP == 0 {
        let info = SigInfo::child(code, pid, 0, signal.get() as i32, 0, 0);
        let _ = send::send_to_process(kernel, &parent, info);
    }
    kernel.sched().wake_all(WaitChannel::of(&*parent));
}

/// Returns the siginfo that waitid stores.
pub(crate) fn child_info(pid: u32, event: ChildEvent) -> [u8; SIGINFO_SIZE] {
    info(pid, event).to_user()
}

fn info(pid: u32, event: ChildEvent) -> SigInfo {
    let (code, status) = match event {
        ChildEvent::Ended(ExitStatus::Code(code)) => (CLD_EXITED, i32::from(code)),
        ChildEvent::Ended(ExitStatus::Signal(signal)) => (CLD_KILLED, i32::from(signal)),
        ChildEvent::News(News::Stopped(signal)) => (CLD_STOPPED, i32::from(signal)),
        ChildEvent::News(News::Continued) => (CLD_CONTINUED, Signal::SIGCONT.get() as i32),
    };
    SigInfo::child(code, pid, 0, status, 0, 0)
}
