// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file ends threads and processes.
//!
//! A thread that leaves, in this order:
//!
//! 1. tells user code that waits for it (`clear_tid`, robust futexes), while it has memory;
//! 2. gives back its address space, which the CPU must not use any more by then;
//! 3. leaves the process; the last one makes it a zombie and tells the parent.

use alloc::sync::Arc;

use base::sync::atomic::Ordering;
use hal::{Platform, PowerAction, WaitChannel};

use super::table::INIT;
use super::{ExitStatus, Process, Thread, Work};
use crate::futex;
use crate::kernel::Kernel;
use crate::signal;

impl<P: Platform> Kernel<P> {
    /// Asks every thread of a process to end. The first reason stays.
    pub(crate) fn end_process(&self, process: &Arc<Process<P>>, status: ExitStatus) {
        process.group_exit.set_once(status);
        for thread in self.processes.threads_of(process.pid) {
            self.end_thread(&thread);
        }
    }

    /// Asks a thread to end.
    pub(crate) fn end_thread(&self, thread: &Thread<P>) {
        thread.add_work(Work::EXIT);
        if let Some(kernel_thread) = thread.kernel_thread() {
            self.sched().interrupt(kernel_thread);
        }
    }

    /// Asks the calling thread to end with a status of its own.
    pub(crate) fn end_self(&self, thread: &Thread<P>, status: ExitStatus) {
        thread.exit_status.set_once(status);
        thread.add_work(Work::EXIT);
    }

    /// Lets the calling thread leave its process: the end of its kernel thread's job.
    pub(super) fn leave(&'static self, thread: &Arc<Thread<P>>) {
        futex::thread_leaves(self, thread);
        self.give_back_memory(&thread.process);
        let process = &thread.process;
        let is_last = self.processes.with(|tree| {
            tree.threads.remove(&thread.tid());
            let node = tree.nodes.get_mut(&process.pid).expect("a process with threads has a node");
            node.threads.retain(|other| !Arc::ptr_eq(other, thread));
            node.threads.is_empty()
        });
        // Others may wait to be alone: exec.
        self.sched().wake_all(WaitChannel::of(&**process));
        let status = thread.exit_status.get().copied();
        if thread.tid() == process.pid
            && let Some(status) = status
        {
            *process.leader_exit.lock() = Some(status);
        }
        if is_last {
            self.become_zombie(process);
        } else {
            signal::thread_leaves(self, process);
        }
    }

    /// Takes the address space out of the running thread.
    fn give_back_memory(&self, process: &Arc<Process<P>>) {
        let mm = self.sched().current().with_user(|user| user.mm.take());
        // Before the last user goes: this CPU must not walk tables that are being freed.
        self.system().deactivate();
        if let Some(mm) = mm {
            mm.put_user();
            self.oom.gave_back();
        }
        self.finish_vfork(process);
    }

    /// Lets the parent of a vfork go on.
    pub(super) fn finish_vfork(&self, process: &Process<P>) {
        process.vfork_done.store(1, Ordering::SeqCst);
        self.sched().wake_all(WaitChannel::of(&process.vfork_done));
    }

    fn become_zombie(&'static self, process: &Arc<Process<P>>) {
        let leader = || *process.leader_exit.lock();
        let status = process.group_exit().or_else(leader).unwrap_or(ExitStatus::Code(0));
        if process.pid == INIT {
            self.init_ended(status);
        }
        process.files.close();
        process.signals.alarm.switch_off(self);
        let discards = signal::parent_discards_children(self, process);
        let (parent, signal, orphan_ended, reaped) = self.processes.with(|tree| {
            let orphan_ended = tree.orphan_children(process.pid);
            let node = tree.nodes.get_mut(&process.pid).expect("a process has a node until reaped");
            node.ended = Some(status);
            let (parent, signal) = (node.parent, node.exit_signal);
            let reaped = if discards { tree.reap(process.pid) } else { None };
            let process_of = |pid| tree.nodes.get(&pid).map(|node| Arc::clone(&node.process));
            (process_of(parent), signal, orphan_ended.then(|| process_of(INIT)).flatten(), reaped)
        });
        drop(reaped);
        if let Some(parent) = parent {
            signal::child_ended(self, &parent, process.pid, signal, status);
            self.sched().wake_all(WaitChannel::of(&*parent));
        }
        if let Some(init) = orphan_ended {
            self.sched().wake_all(WaitChannel::of(&*init));
        }
    }

    /// The machine has nothing to do without init.
    fn init_ended(&self, status: ExitStatus) -> ! {
        let code = match status {
            ExitStatus::Code(code) => {
                log::info!("granule: init exited with status {code}");
                code
            }
            ExitStatus::Signal(signal) => {
                log::error!("granule: init was killed by signal {signal}");
                128 + signal
            }
        };
        self.power(PowerAction::Off { status: code })
    }
}
