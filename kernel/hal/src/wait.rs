// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to sleeping: a thread waits on a channel until a condition holds.
//!
//! A channel is only a number that waiter and waker agree on (an object's address, a folio's
//! index). Channels may collide, so a waiter always re-checks its condition. There is no lost
//! wake-up: the machine evaluates the condition with the channel locked, and a waker changes the
//! condition before it wakes.
//!
//! A thread that gives its CPU away may go on on another one, whose barrier would not complete the
//! TLB invalidations that it has started (`tlb.rs`). So giving a CPU away completes them: the switch
//! contains a DSB ISH, as Linux's `__switch_to` does.

/// Names what a sleeping thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WaitChannel(pub u64);

impl WaitChannel {
    /// Returns the channel named by an object's address.
    pub fn of<T: ?Sized>(object: &T) -> Self {
        Self(core::ptr::from_ref(object).cast::<u8>().addr() as u64)
    }
}

/// Sleeping and waking. Kernel waits only: they are short, and no signal ends them.
pub trait Wait {
    /// Sleeps until `ready` returns `true`. `ready` runs with the channel's spin lock held, so it
    /// may only try locks and look at atomics.
    fn sleep_until(&self, channel: WaitChannel, ready: &mut dyn FnMut() -> bool);

    /// Lets every sleeper of the channel re-check its condition.
    fn wake_all(&self, channel: WaitChannel);

    /// Gives way to another thread if one is due. Called by long loops, with no spin lock held.
    fn cond_resched(&self);
}
