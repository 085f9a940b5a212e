// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says how a thread waits for input or room: until there is some, a time, or a signal.
//!
//! The condition of a sleep is evaluated under a spin lock, so it may only look at atomics. What
//! sleepers wait for here is therefore always the same: that the number of an [`EventCount`] is no
//! longer the one they saw *before* they found nothing to do. Whoever changes something advances
//! the number afterwards, so no change is missed.

use abi::Errno;
use base::sync::atomic::{AtomicU32, Ordering};
use hal::WaitChannel;

/// Sleeping that a signal ends; the scheduler implements it.
pub trait Nap: Send + Sync {
    /// Sleeps until `ready` returns `true`, or `deadline_ns` of the machine's clock. Returns
    /// whether it was ready. `ready` runs with the channel's spin lock held.
    ///
    /// # Errors
    ///
    /// When a signal is to be handled: what the system call returns then, EINTR or a wish to be
    /// started again.
    fn nap(
        &self,
        channel: WaitChannel,
        deadline_ns: Option<u64>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Errno>;

    /// Lets every sleeper of the channel look again.
    fn wake(&self, channel: WaitChannel);
}

/// A number that grows with each change of what it stands for.
#[derive(Default)]
pub struct EventCount(AtomicU32);

impl EventCount {
    /// Returns the number of the moment. Take it before looking for something to do.
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Tells of a change that was made, and wakes who waits for one.
    pub fn advance(&self, nap: &dyn Nap) {
        self.0.fetch_add(1, Ordering::AcqRel);
        nap.wake(self.channel());
    }

    /// Sleeps until the number is no longer `seen`. Returns `false` when time was up first.
    ///
    /// # Errors
    ///
    /// That of [`Nap::nap`].
    pub fn wait(&self, nap: &dyn Nap, seen: u32, deadline_ns: Option<u64>) -> Result<bool, Errno> {
        nap.nap(self.channel(), deadline_ns, &mut || self.now() != seen)
    }

    fn channel(&self) -> WaitChannel {
        WaitChannel::of(self)
    }
}
