// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reclaims for an allocation that found too few free frames.

use base::{Order, lock_level};
use hal::Machine;

use super::lru::ListKind;
use super::scan::{Reclaimer, Trim};
use crate::events::MmEvent;
use crate::system::System;

/// Pages an allocation tries to get back before it tries again.
const GOAL: u64 = 32;
/// The first look takes 1/2^PRIORITIES of the lists, the last all of them.
const PRIORITIES: u32 = 6;

impl<M: Machine> System<M> {
    /// Gets some pages back, looking at more of the lists each time that too few turn up. Returns
    /// `false` when not one could be had from all of them.
    pub(crate) fn direct_reclaim(&self, order: Order) -> bool {
        lock_level::assert_may_sleep();
        self.count(MmEvent::AllocStall, 1);
        let goal = GOAL.max(order.nr_pages() as u64);
        let mut reclaimed = 0;
        for priority in (0..=PRIORITIES).rev() {
            let nr_scan = (self.nr_listed() >> priority).max(GOAL);
            reclaimed += self.shrink(nr_scan, Reclaimer::Direct, Trim::Longer);
            if reclaimed >= goal {
                return true;
            }
        }
        // At last twice over everything: the first pass may only have cleared access bits. What
        // cannot go is put back on the lists, so the end is a number of pages, not empty lists.
        reclaimed > 0 || self.shrink(2 * self.nr_listed(), Reclaimer::Direct, Trim::Always) > 0
    }

    pub(super) fn nr_listed(&self) -> u64 {
        self.lru().nr_pages(ListKind::Inactive) + self.lru().nr_pages(ListKind::Active)
    }
}
