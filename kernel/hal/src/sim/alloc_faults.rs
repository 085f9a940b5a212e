// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes allocations fail: the n-th one, or one in so many.

use super::SimMachine;
use super::host::State;
use super::rng::{Rng, Stream};

/// Which allocations fail.
#[derive(Debug)]
pub(super) struct AllocFaults(State<Plan>);

#[derive(Debug)]
struct Plan {
    rng: Rng,
    asked: u64,
    /// The one that fails, counted like `asked`.
    failing: Option<u64>,
    one_in: u32,
}

impl AllocFaults {
    pub(super) fn new(seed: u64) -> Self {
        let rng = Rng::new(seed, Stream::Alloc);
        Self(State::new(Plan { rng, asked: 0, failing: None, one_in: 0 }))
    }

    /// Counts an allocation and tells whether it fails.
    pub(super) fn decide(&self) -> bool {
        let mut plan = self.0.lock();
        plan.asked += 1;
        let one_in = plan.one_in;
        plan.failing == Some(plan.asked) || plan.rng.one_in(one_in)
    }
}

impl SimMachine {
    /// Lets the `n`-th allocation from now on fail, counted from 1, and no other.
    ///
    /// A test drives every allocation of an operation to failure by raising `n` until
    /// [`SimMachine::asked_allocs`] shows that fewer than `n` were asked for.
    pub fn fail_nth_alloc(&self, n: u64) {
        let mut plan = self.alloc_faults().0.lock();
        plan.failing = Some(plan.asked + n);
        plan.one_in = 0;
    }

    /// Lets one in `n` allocations fail, at random; none when `n` is 0.
    pub fn fail_allocs(&self, one_in: u32) {
        let mut plan = self.alloc_faults().0.lock();
        plan.failing = None;
        plan.one_in = one_in;
    }

    /// Returns how many allocations were asked for so far, failed ones included.
    pub fn asked_allocs(&self) -> u64 {
        self.alloc_faults().0.lock().asked
    }
}
