// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file changes what a thread blocks, for good or for the time of a system call.

use alloc::sync::Arc;

use abi::SigSet;
use base::sync::atomic::Ordering;
use hal::Platform;

use super::{is_pending, send};
use crate::kernel::Kernel;
use crate::process::{Thread, Work};

/// Sets the mask of the running thread. SIGKILL and SIGSTOP are never in it.
pub(crate) fn block<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    mask: SigSet,
) {
    let mask = mask.minus(SigSet::UNBLOCKABLE);
    let old = SigSet(thread.signals.blocked.swap(mask.0, Ordering::SeqCst));
    if is_pending(thread) {
        thread.add_work(Work::SIGNAL);
    }
    // What this thread might have handled, others may have to.
    let newly = mask.minus(old);
    let shared = thread.process().signals.pending.lock().set();
    send::retarget(kernel, thread.process(), shared.intersection(newly));
}

/// Sets a mask for the time of a system call that sleeps; [`restore_mask_unless`] ends it.
pub(crate) fn replace_mask<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    mask: SigSet,
) {
    let old = thread.signals.mask();
    thread.signals.own.lock().saved_mask = Some(old);
    block(kernel, thread, mask);
}

/// Goes back to the mask from before [`replace_mask`]. When a signal has ended the call, only after
/// the signal was handled: it may be blocked by that mask.
pub(crate) fn restore_mask_unless<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    is_interrupted: bool,
) {
    if is_interrupted {
        thread.add_work(Work::SIGNAL);
    } else {
        restore_mask(kernel, thread);
    }
}

/// Goes back to the mask from before [`replace_mask`], if there is one.
pub(super) fn restore_mask<P: Platform>(kernel: &'static Kernel<P>, thread: &Arc<Thread<P>>) {
    let saved = thread.signals.own.lock().saved_mask.take();
    if let Some(saved) = saved {
        block(kernel, thread, saved);
    }
}
