// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file waits for signals: sigsuspend, sigtimedwait.

use alloc::sync::Arc;

use abi::siginfo::SigInfo;
use abi::{Errno, SigSet};
use base::sync::atomic::Ordering;
use hal::{Platform, WaitChannel};

use super::{is_pending, mask};
use crate::kernel::Kernel;
use crate::process::{Thread, Work};
use crate::sched::Woken;

/// Sleeps with `mask` until a signal is pending that it lets through: sigsuspend.
pub(crate) fn suspend_with<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    mask: SigSet,
) {
    mask::replace_mask(kernel, thread, mask);
    // What was pending before the mask let it through has interrupted nobody.
    while !is_pending(thread) && !thread.has_work(Work::EXIT) && !thread.has_stopped() {
        sleep(kernel, thread, None);
    }
    mask::restore_mask_unless(kernel, thread, true);
}

/// Takes a signal of `wanted` as soon as one is pending: sigtimedwait. `deadline_ns` ends the wait.
///
/// # Errors
///
/// EAGAIN when the time is up, EINTR when another signal is to be handled.
pub(crate) fn wait_for<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    wanted: SigSet,
    deadline_ns: Option<u64>,
) -> Result<SigInfo, Errno> {
    let wanted = wanted.minus(SigSet::UNBLOCKABLE);
    // Before the queues are looked at: see the folder's table.
    thread.signals.awaited.store(wanted.0, Ordering::SeqCst);
    let outcome = take_or_sleep(kernel, thread, wanted, deadline_ns);
    thread.signals.awaited.store(0, Ordering::SeqCst);
    outcome
}

fn take_or_sleep<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    wanted: SigSet,
    deadline_ns: Option<u64>,
) -> Result<SigInfo, Errno> {
    let others = SigSet::ALL.minus(wanted);
    let mut woken = Woken::Ready;
    loop {
        let own = thread.signals.pending.lock().take(others);
        let taken = own.or_else(|| thread.process().signals.pending.lock().take(others));
        if let Some((_, info)) = taken {
            return Ok(info);
        }
        if is_pending(thread) || thread.has_work(Work::EXIT) || thread.has_stopped() {
            return Err(Errno::EINTR);
        }
        if woken == Woken::TimedOut {
            return Err(Errno::EAGAIN);
        }
        woken = sleep(kernel, thread, deadline_ns);
    }
}

/// Sleeps until somebody leaves word. The flag of an earlier word is cleared first; the caller looks
/// at the queues afterwards, as the senders expect.
fn sleep<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    deadline_ns: Option<u64>,
) -> Woken {
    let channel = WaitChannel::of(&thread.signals);
    let woken = kernel.sched().sleep_interruptible(channel, deadline_ns, &mut || false);
    kernel.sched().current().set_interrupted(false);
    woken
}

impl<P: Platform> Thread<P> {
    /// Tells whether the thread is to stop, with its process.
    fn has_stopped(&self) -> bool {
        self.process().signals.stop.is_active()
    }
}
