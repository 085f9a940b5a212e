// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds sleeping threads, hashed by what they sleep for.

use alloc::vec::Vec;

use base::lock_level::WaitQueue;
use base::sync::{SpinGuard, SpinLock};
use hal::{Platform, WaitChannel};

use super::Thread;

const NR_BUCKETS: usize = 64;

/// A thread asleep, and what for.
pub(super) type Sleeper<P> = (WaitChannel, &'static Thread<P>);

/// All wait queues.
pub(super) struct WaitQueues<P: Platform> {
    buckets: [SpinLock<Vec<Sleeper<P>>, WaitQueue>; NR_BUCKETS],
}

impl<P: Platform> WaitQueues<P> {
    pub fn new() -> Self {
        Self { buckets: core::array::from_fn(|_| SpinLock::new(Vec::new())) }
    }

    /// Makes room for so many threads in every queue.
    pub fn reserve(&self, nr_threads: usize) {
        for bucket in &self.buckets {
            let mut sleepers = bucket.lock();
            let more = nr_threads.saturating_sub(sleepers.len());
            sleepers.reserve(more);
        }
    }

    /// Locks the queue that `channel` is in, with others.
    pub fn lock(&self, channel: WaitChannel) -> SpinGuard<'_, Vec<Sleeper<P>>, WaitQueue> {
        // Channels are addresses: their low bits are equal. The multiplier is 2^64 / phi.
        let hash = channel.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.buckets[(hash >> 58) as usize].lock()
    }
}
