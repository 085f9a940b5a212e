// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file stops processes and lets them go on (Linux: kernel/signal.c, do_signal_stop(),
//! prepare_signal()).
//!
//! A thread that takes a stop signal says so to the others; each of them sleeps before it would run
//! user code again. When all sleep the parent is told. SIGCONT ends it at once, in the sender.
//!
//! A SIGCONT that is sent between the moment a thread takes the stop signal out of the queue and
//! the moment it stops must win. So SIGCONTs are counted, and the thread compares.

use alloc::sync::Arc;

use abi::Signal;
use abi::siginfo::{CLD_CONTINUED, CLD_STOPPED};
use base::lock_level;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hal::{Platform, WaitChannel};

use super::{child, send};
use crate::kernel::Kernel;
use crate::process::{News, Process, Thread, Tree, Work};

/// Whether a process is stopped.
pub(crate) struct Stop {
    state: SpinLock<State, lock_level::Signal>,
    /// Tells sleepers whether `state.signal` is set.
    is_active: AtomicBool,
    /// SIGCONTs so far; changes with `state` locked.
    nr_resumed: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What stops the process.
    signal: Option<Signal>,
    /// Threads that sleep for it.
    nr_asleep: usize,
    /// The parent has been told.
    is_reported: bool,
}

impl Stop {
    pub fn new() -> Self {
        Self {
            state: SpinLock::new(State::default()),
            is_active: AtomicBool::new(false),
            nr_resumed: AtomicU64::new(0),
        }
    }

    /// Tells whether the process is to stop.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::SeqCst)
    }

    /// Returns how many SIGCONTs there have been.
    pub fn nr_resumed(&self) -> u64 {
        self.nr_resumed.load(Ordering::SeqCst)
    }
}

/// Stops the process of the running thread, unless a SIGCONT has come since there were `nr_resumed`, or
/// nobody could let it go on.
pub(super) fn begin<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    signal: Signal,
    nr_resumed: u64,
) {
    let process = thread.process();
    if signal != Signal::SIGSTOP && is_orphaned(kernel, process.pid()) {
        return;
    }
    {
        let mut state = process.signals.stop.state.lock();
        if process.signals.stop.nr_resumed() != nr_resumed {
            return;
        }
        if state.signal.is_none() {
            *state = State { signal: Some(signal), ..State::default() };
        }
        process.signals.stop.is_active.store(true, Ordering::SeqCst);
    }
    for other in kernel.processes.threads_of(process.pid()) {
        if !Arc::ptr_eq(&other, thread) {
            send::wake(kernel, &other);
        }
    }
}

/// Sleeps while the process is stopped.
pub(super) fn wait_while_stopped<P: Platform>(kernel: &'static Kernel<P>, thread: &Arc<Thread<P>>) {
    let process = thread.process();
    let stop = &process.signals.stop;
    loop {
        let nr_resumed = stop.nr_resumed();
        if !stop.is_active() || thread.has_work(Work::EXIT) {
            return;
        }
        if let Some(signal) = count_asleep(kernel, process, Some(nr_resumed)) {
            child::tell_parent(kernel, process, CLD_STOPPED, signal);
        }
        kernel.sched().sleep_until(WaitChannel::of(stop), &mut || {
            // Not whether it is stopped: it may be stopped anew by then, and this thread must be
            // counted anew.
            stop.nr_resumed() != nr_resumed || thread.has_work(Work::EXIT)
        });
    }
}

/// Counts one more thread that sleeps, if it does so since `nr_resumed`; tells whether all do now for
/// the first time.
fn count_asleep<P: Platform>(
    kernel: &Kernel<P>,
    process: &Process<P>,
    nr_resumed: Option<u64>,
) -> Option<Signal> {
    // The number of threads must not change meanwhile.
    kernel.processes.with(|tree| {
        let node = tree.nodes.get_mut(&process.pid())?;
        let mut state = process.signals.stop.state.lock();
        let signal = state.signal?;
        match nr_resumed {
            // It looks again, and is counted for the stop that there is now.
            Some(then) if then != process.signals.stop.nr_resumed() => return None,
            Some(_) => state.nr_asleep += 1,
            None => {}
        }
        if state.is_reported || node.threads.is_empty() || state.nr_asleep < node.threads.len() {
            return None;
        }
        state.is_reported = true;
        node.news = Some(News::Stopped(signal.get() as u8));
        Some(signal)
    })
}

/// Tells the parent if the threads that are left all sleep.
pub(super) fn thread_left<P: Platform>(kernel: &'static Kernel<P>, process: &Arc<Process<P>>) {
    if process.signals.stop.is_active()
        && process.group_exit().is_none()
        && let Some(signal) = count_asleep(kernel, process, None)
    {
        child::tell_parent(kernel, process, CLD_STOPPED, signal);
    }
}

/// Lets a process go on, if it is stopped.
pub(super) fn resume<P: Platform>(kernel: &'static Kernel<P>, process: &Arc<Process<P>>) {
    let stop = &process.signals.stop;
    let was_reported = kernel.processes.with(|tree| {
        let mut state = stop.state.lock();
        let was_reported = state.is_reported;
        *state = State::default();
        // In this order: whoever reads the new number finds the process going on.
        stop.is_active.store(false, Ordering::SeqCst);
        stop.nr_resumed.fetch_add(1, Ordering::SeqCst);
        if was_reported && let Some(node) = tree.nodes.get_mut(&process.pid()) {
            node.news = Some(News::Continued);
        }
        was_reported
    });
    kernel.sched().wake_all(WaitChannel::of(stop));
    if was_reported {
        child::tell_parent(kernel, process, CLD_CONTINUED, Signal::SIGCONT);
    }
}

/// Tells whether a process group is orphaned: no member has a parent in the same session but in
/// another group, which could let it go on. Terminal stops do not stop such a group.
fn is_orphaned<P: Platform>(kernel: &Kernel<P>, pid: u32) -> bool {
    let has_keeper = |tree: &Tree<P>, group: u32| {
        tree.nodes.values().filter(|node| node.group == group && node.ended.is_none()).any(|node| {
            let parent = tree.nodes.get(&node.parent);
            parent.is_some_and(|parent| parent.group != group && parent.session == node.session)
        })
    };
    kernel.processes.with(|tree| {
        let group = tree.nodes.get(&pid).map(|node| node.group);
        group.is_none_or(|group| !has_keeper(tree, group))
    })
}
