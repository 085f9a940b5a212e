// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder says which sizes of folios private anonymous memory gets, and counts what came of it.
//!
//! | question | where |
//! |---|---|
//! | a set of sizes | `order_set.rs` |
//! | what /sys/kernel/mm/transparent_hugepage and the boot options set | `settings.rs` |
//! | which sizes an area may have, which fit, how hard to try | `policy.rs` |
//! | how a process opts out | `disable.rs` |
//! | MADV_COLLAPSE | `collapse.rs` |
//! | 2 MiB of zeroes, who uses them | `huge_zero.rs` |
//! | what is counted for each size | `stats.rs` |
//!
//! Text is none of its business: `task` has sysfs, the kernel its boot options.

mod collapse;
mod disable;
mod huge_zero;
mod order_set;
mod policy;
mod settings;
mod stats;
#[cfg(test)]
mod tests;

pub use collapse::CollapseError;
pub(crate) use disable::DisableCell;
pub use disable::ThpDisable;
pub use order_set::OrderSet;
pub use settings::{Defrag, Enabled, Settings, SizeEnabled, SizeSettings};
pub use stats::{ThpStat, ThpStats};

use base::Order;
use hal::Machine;

use crate::system::System;
use huge_zero::HugeZeroPage;

/// Settings and statistics of large folios.
pub struct Thp {
    settings: Settings,
    stats: ThpStats,
    pub(crate) huge_zero: HugeZeroPage,
}

impl Thp {
    pub(crate) fn new(nr_cpus: usize) -> Self {
        Self {
            settings: Settings::default(),
            stats: ThpStats::new(nr_cpus),
            huge_zero: HugeZeroPage::default(),
        }
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the statistics.
    pub fn stats(&self) -> &ThpStats {
        &self.stats
    }
}

impl<M: Machine> System<M> {
    /// Counts something that happened to folios of `order`; a gauge also goes down. Folios of one
    /// page are not counted, so who splits or swaps out need not ask for the order first.
    #[inline]
    pub fn count_thp(&self, stat: ThpStat, order: Order, n: i64) {
        self.thp().stats.add(self.machine().cpu(), stat, order, n);
    }
}
