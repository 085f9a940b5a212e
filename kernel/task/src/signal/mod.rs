// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is signals.
//!
//! | question | where |
//! |---|---|
//! | what waits to be delivered | `pending.rs` |
//! | what a process does about a signal | `action.rs` |
//! | what a thread blocks | `mask.rs` |
//! | what a fault of user code becomes | `fault.rs` |
//! | who gets a signal | `send.rs` |
//! | handlers, default actions, restarted system calls | `deliver.rs` |
//! | the frame of a handler on the user stack, and the way back | `frame.rs`, `altstack.rs` |
//! | stopped processes | `stop.rs` |
//! | what a parent is told of its children | `child.rs` |
//! | the timer of alarm(2) | `alarm.rs` |
//! | where handlers return to that name no place | `trampoline.rs` |
//! | waiting for signals: sigsuspend, sigtimedwait | `wait.rs` |
//!
//! # How a signal reaches its handler
//!
//! 1. The sender puts it into the queue of a thread or of a process, and leaves word for a thread
//!    that does not block it ([`Work::SIGNAL`](crate::process::Work)). The thread's sleep ends; if it
//!    runs user code on another CPU, that CPU traps.
//! 2. The thread sees the word before it would run user code again, takes the signal out of the
//!    queue and does what the action says (`deliver.rs`).
//!
//! # Locks
//!
//! Queues, actions and the stop state have a lock each, of level `Signal`; no two of them are held
//! at once. A thread's mask is changed by the thread alone, and read by senders:
//!
//! | the sender | the thread |
//! |---|---|
//! | queues the signal | changes its mask |
//! | then reads the mask | then looks at the queues |
//!
//! Both are in this order (sequentially consistent stores, and the queue's lock), so one of them sees
//! the other, and a signal that has become deliverable does not wait.

mod action;
mod alarm;
mod altstack;
mod child;
mod deliver;
mod fault;
mod frame;
mod mask;
mod pending;
mod send;
mod stop;
mod trampoline;
mod wait;

pub(crate) use action::{Actions, change_action};
pub(crate) use alarm::{AlarmView, set_alarm};
pub(crate) use altstack::change_altstack;
pub(crate) use child::{child_ended, child_info, parent_discards_children};
pub(crate) use deliver::{deliver, sigreturn};
pub(crate) use fault::{Fault, force};
pub(crate) use mask::{block, replace_mask, restore_mask_unless};
pub(crate) use send::{send_to_all, send_to_group, send_to_process, send_to_thread, thread_leaves};
pub(crate) use trampoline::Trampoline;
pub(crate) use wait::{suspend_with, wait_for};

#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use abi::signal::{SIG_DFL, SIG_IGN};
use abi::{SigSet, Signal};
use base::lock_level;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use hal::Platform;

use crate::kernel::Kernel;
use crate::process::{INIT, Process, Thread};
use alarm::Alarm;
use altstack::AltStack;
use pending::Pending;
use stop::Stop;

type PendingLock = SpinLock<Pending, lock_level::Signal>;

/// The signal state of a process.
pub(crate) struct ProcessSignals {
    /// Signals for any of its threads.
    pending: PendingLock,
    /// What it does about each signal; shared with others by CLONE_SIGHAND.
    actions: SpinLock<Arc<Actions>, lock_level::Signal>,
    /// Whether it is stopped.
    pub(crate) stop: Stop,
    /// The timer of alarm(2).
    pub(crate) alarm: Alarm,
    /// A fault that it does not handle has shown that init cannot go on.
    is_hopeless: AtomicBool,
}

/// The signal state of a thread.
pub(crate) struct ThreadSignals {
    /// Signals for this thread.
    pending: PendingLock,
    /// The mask. Only the thread itself changes it.
    blocked: AtomicU64,
    /// What the thread waits for in sigtimedwait: not blocked for senders, and not ignored.
    awaited: AtomicU64,
    own: SpinLock<Own, lock_level::Signal>,
}

/// What only the thread itself looks at.
#[derive(Default)]
struct Own {
    /// The mask to go back to when the signals that ended a sigsuspend have been handled.
    saved_mask: Option<SigSet>,
    altstack: AltStack,
    /// Address and ESR_EL1 of the last fault, for the handler's frame.
    fault: Option<(u64, u64)>,
}

impl ProcessSignals {
    /// Builds the state of a process that has `actions`.
    pub fn new(actions: Arc<Actions>) -> Self {
        Self {
            pending: SpinLock::new(Pending::default()),
            actions: SpinLock::new(actions),
            stop: Stop::new(),
            alarm: Alarm::new(),
            is_hopeless: AtomicBool::new(false),
        }
    }

    /// Returns what the process does about signals.
    pub fn actions(&self) -> Arc<Actions> {
        Arc::clone(&self.actions.lock())
    }

    /// Returns what a child made with `flags` (CLONE_*) does about signals.
    pub fn actions_for_child(&self, flags: u64) -> Arc<Actions> {
        use abi::clone::{CLONE_CLEAR_SIGHAND, CLONE_SIGHAND};
        let own = self.actions();
        match flags {
            _ if flags & CLONE_SIGHAND != 0 => own,
            _ if flags & CLONE_CLEAR_SIGHAND != 0 => Arc::new(own.without_handlers()),
            _ => Arc::new(own.copy()),
        }
    }

    /// Makes handlers default actions, in a table that nobody shares: exec.
    fn reset_handlers(&self) {
        let actions = Arc::new(self.actions().without_handlers());
        let old = core::mem::replace(&mut *self.actions.lock(), actions);
        drop(old);
    }
}

impl ThreadSignals {
    pub fn new() -> Self {
        Self {
            pending: SpinLock::new(Pending::default()),
            blocked: AtomicU64::new(0),
            awaited: AtomicU64::new(0),
            own: SpinLock::new(Own::default()),
        }
    }

    /// Takes over what a child inherits: the mask, and the alternate stack if it has a copy of it.
    pub fn inherit(&self, parent: &Self, flags: u64) {
        use abi::clone::{CLONE_VFORK, CLONE_VM};
        self.blocked.store(parent.mask().0, Ordering::SeqCst);
        if flags & CLONE_VM == 0 || flags & CLONE_VFORK != 0 {
            let altstack = parent.own.lock().altstack;
            self.own.lock().altstack = altstack;
        }
    }

    /// Forgets the alternate stack: exec.
    fn reset_altstack(&self) {
        self.own.lock().altstack = AltStack::default();
    }

    /// Returns the mask.
    pub fn mask(&self) -> SigSet {
        SigSet(self.blocked.load(Ordering::SeqCst))
    }

    /// Returns what senders take for blocked.
    fn mask_for_senders(&self) -> SigSet {
        self.mask().minus(SigSet(self.awaited.load(Ordering::SeqCst)))
    }
}

/// Returns what is pending for a thread, blocked or not.
pub(crate) fn pending<P: Platform>(thread: &Thread<P>) -> SigSet {
    let own = thread.signals.pending.lock().set();
    own.union(thread.process().signals.pending.lock().set())
}

/// Returns what /proc/PID/status shows: signals pending for the thread and for its process, blocked,
/// ignored, caught.
pub(crate) fn shown<P: Platform>(thread: &Thread<P>) -> [u64; 5] {
    let process = &thread.process().signals;
    let actions = process.actions();
    let (mut ignored, mut caught) = (0, 0);
    for number in 1..=64 {
        let Some(signal) = Signal::new(number) else { continue };
        match actions.get(signal).handler {
            SIG_DFL => {}
            SIG_IGN => ignored |= 1 << (number - 1),
            _ => caught |= 1 << (number - 1),
        }
    }
    let own = thread.signals.pending.lock().set().0;
    let shared = process.pending.lock().set().0;
    [own, shared, thread.signals.mask().0, ignored, caught]
}

/// Tells whether a signal that the thread does not block is pending.
pub(crate) fn is_pending<P: Platform>(thread: &Thread<P>) -> bool {
    !pending(thread).minus(thread.signals.mask()).is_empty()
}

/// Forgets handlers and the alternate stack, which were the old program's. Masks, ignored and
/// pending signals stay.
pub(crate) fn exec_resets<P: Platform>(_kernel: &'static Kernel<P>, thread: &Arc<Thread<P>>) {
    thread.process().signals.reset_handlers();
    thread.signals.reset_altstack();
}

impl<P: Platform> Process<P> {
    /// Tells whether the process is init, which only signals with a handler reach.
    fn is_unkillable(&self) -> bool {
        self.pid() == INIT && !self.signals.is_hopeless.load(Ordering::SeqCst)
    }
}
