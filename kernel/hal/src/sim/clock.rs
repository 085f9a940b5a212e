// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is simulated time: it passes when somebody looks at it, or when told to.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::SimMachine;
use crate::clock::Clock;

/// What one look at the clock takes.
const NS_PER_LOOK: u64 = 1_000;

/// Nanoseconds since the machine started.
#[derive(Debug, Default)]
pub(super) struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// Returns the time without letting any pass.
    pub(super) fn peek(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Lets time pass until `ns`, if that is not over yet.
    pub(super) fn advance_to(&self, ns: u64) {
        self.0.fetch_max(ns, Relaxed);
    }
}

impl SimMachine {
    /// Lets time pass.
    pub fn advance_clock(&self, ns: u64) {
        self.clock().0.fetch_add(ns, Relaxed);
    }
}

impl Clock for SimMachine {
    fn now_ns(&self) -> u64 {
        self.clock().0.fetch_add(NS_PER_LOOK, Relaxed) + NS_PER_LOOK
    }
}
