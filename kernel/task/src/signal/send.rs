// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sends signals: to a thread, a process, a process group.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::siginfo::SigInfo;
use abi::signal::SIG_DFL;
use abi::{Errno, SigSet, Signal};
use hal::Platform;

use super::action::{Disposition, STOPPING};
use super::stop;
use crate::kernel::Kernel;
use crate::process::{ExitStatus, Process, Thread, Work};

const SIGCONT: SigSet = SigSet::of(&[Signal::SIGCONT]);

/// Sends a signal to a process: to whichever thread does not block it.
///
/// # Errors
///
/// EAGAIN when the queue of a real-time signal is full.
pub(crate) fn send_to_process<P: Platform>(
    kernel: &'static Kernel<P>,
    process: &Arc<Process<P>>,
    info: SigInfo,
) -> Result<(), Errno> {
    let Some(signal) = info.signal() else { return Err(Errno::EINVAL) };
    let threads = kernel.processes.threads_of(process.pid());
    // As on Linux, the first thread's mask says whether an ignored signal is kept.
    let Some(leader) = threads.first() else { return Ok(()) };
    if is_done_at_once(kernel, leader, signal) {
        return Ok(());
    }
    process.signals.pending.lock().add(signal, info).map_err(|_| Errno::EAGAIN)?;
    wake_one(kernel, &threads, signal);
    Ok(())
}

/// Sends a signal to one thread.
///
/// # Errors
///
/// EAGAIN when the queue of a real-time signal is full.
pub(crate) fn send_to_thread<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    info: SigInfo,
) -> Result<(), Errno> {
    let Some(signal) = info.signal() else { return Err(Errno::EINVAL) };
    if is_done_at_once(kernel, thread, signal) {
        return Ok(());
    }
    thread.signals.pending.lock().add(signal, info).map_err(|_| Errno::EAGAIN)?;
    if !thread.signals.mask_for_senders().contains(signal) {
        wake(kernel, thread);
    }
    Ok(())
}

/// Sends a signal to every process of a group.
///
/// # Errors
///
/// ESRCH when there is none; else what the last failure said, if all failed.
pub(crate) fn send_to_group<P: Platform>(
    kernel: &'static Kernel<P>,
    group: u32,
    info: SigInfo,
) -> Result<(), Errno> {
    // The processes are dropped without the lock.
    let (_members, outcome) = kernel.processes.without_forks(|| {
        let members: Vec<_> = kernel.processes.with(|tree| {
            let members = tree.nodes.values().filter(|node| node.group == group);
            members.map(|node| Arc::clone(&node.process)).collect()
        });
        let outcome = send_to_all(kernel, &members, info);
        (members, outcome)
    });
    outcome
}

/// Sends a signal to several processes.
///
/// # Errors
///
/// As [`send_to_group`].
pub(crate) fn send_to_all<P: Platform>(
    kernel: &'static Kernel<P>,
    processes: &[Arc<Process<P>>],
    info: SigInfo,
) -> Result<(), Errno> {
    let mut outcome = Err(Errno::ESRCH);
    for process in processes {
        let sent = send_to_process(kernel, process, info);
        if sent.is_ok() || outcome.is_err() {
            outcome = sent;
        }
    }
    outcome
}

/// Does what a signal does when it is sent, whatever becomes of it; tells whether that is all.
fn is_done_at_once<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Thread<P>,
    signal: Signal,
) -> bool {
    let process = thread.process();
    if STOPPING.contains(signal) {
        flush(kernel, process, SIGCONT);
    }
    if signal == Signal::SIGCONT {
        flush(kernel, process, STOPPING);
        stop::resume(kernel, process);
    }
    if is_ignored(thread, signal) {
        return true;
    }
    if signal == Signal::SIGKILL {
        kernel.end_process(process, ExitStatus::Signal(signal.get() as u8));
        return true;
    }
    false
}

/// Tells whether a signal is not even queued. A blocked one always is: its action may change before
/// it is let through.
fn is_ignored<P: Platform>(thread: &Thread<P>, signal: Signal) -> bool {
    if thread.signals.mask().contains(signal) {
        return false;
    }
    let process = thread.process();
    is_protected(process, signal)
        || process.signals.actions().disposition(signal) == Disposition::Ignore
}

/// Tells whether a signal has no handler and goes to init, which signals do not end or stop.
pub(super) fn is_protected<P: Platform>(process: &Process<P>, signal: Signal) -> bool {
    process.is_unkillable() && process.signals.actions().get(signal).handler == SIG_DFL
}

/// Drops pending signals of a process and all its threads.
pub(crate) fn flush<P: Platform>(kernel: &Kernel<P>, process: &Process<P>, signals: SigSet) {
    process.signals.pending.lock().flush(signals);
    for thread in kernel.processes.threads_of(process.pid()) {
        thread.signals.pending.lock().flush(signals);
    }
}

/// Finds other threads for signals of a process that one thread will not handle any more.
pub(super) fn retarget<P: Platform>(kernel: &Kernel<P>, process: &Process<P>, signals: SigSet) {
    if !signals.is_empty() {
        let threads = kernel.processes.threads_of(process.pid());
        signals.iter().for_each(|signal| wake_one(kernel, &threads, signal));
    }
}

/// Finds other threads for the signals of a process that a thread leaves.
pub(crate) fn thread_leaves<P: Platform>(kernel: &'static Kernel<P>, process: &Arc<Process<P>>) {
    let shared = process.signals.pending.lock().set();
    retarget(kernel, process, shared);
    stop::thread_left(kernel, process);
}

/// Leaves word for a thread that does not block a signal, best for one that has none yet.
fn wake_one<P: Platform>(kernel: &Kernel<P>, threads: &[Arc<Thread<P>>], signal: Signal) {
    let mut willing = threads.iter().filter(|thread| {
        !thread.has_work(Work::EXIT) && !thread.signals.mask_for_senders().contains(signal)
    });
    let first = willing.next();
    let is_free = |thread: &&Arc<Thread<P>>| !thread.has_work(Work::SIGNAL);
    let thread = first.filter(is_free).or_else(|| willing.find(is_free)).or(first);
    if let Some(thread) = thread {
        wake(kernel, thread);
    }
}

/// Leaves word for a thread.
pub(super) fn wake<P: Platform>(kernel: &Kernel<P>, thread: &Thread<P>) {
    thread.add_work(Work::SIGNAL);
    if let Some(kernel_thread) = thread.kernel_thread() {
        kernel.sched().interrupt(kernel_thread);
    }
}
