// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts what happens to large folios, for each order and CPU.

use base::Order;
use base::counter::Counters;
use base::percpu::CpuId;

use super::OrderSet;

base::events! {
    /// What is counted for each order. Names are those of the files in Linux's
    /// hugepages-SIZE/stats.
    pub enum ThpStat {
        /// Folios allocated by a first touch.
        AnonFaultAlloc = "anon_fault_alloc",
        /// First touches that found no run of frames, and took a smaller folio.
        AnonFaultFallback = "anon_fault_fallback",
        /// First touches that were not allowed to charge the folio: 0, as nothing is charged.
        AnonFaultFallbackCharge = "anon_fault_fallback_charge",
        /// Folios swapped out to compressed memory: 0, as there is none.
        Zswpout = "zswpout",
        /// Folios swapped in whole.
        Swpin = "swpin",
        /// Swap-ins that found no run of frames, and took a smaller folio.
        SwpinFallback = "swpin_fallback",
        /// Swap-ins that were not allowed to charge the folio: 0.
        SwpinFallbackCharge = "swpin_fallback_charge",
        /// Folios swapped out whole.
        Swpout = "swpout",
        /// Folios split because they could not be swapped out whole.
        SwpoutFallback = "swpout_fallback",
        /// Folios of shared memory: 0, as that has single pages.
        ShmemAlloc = "shmem_alloc",
        /// Shared memory that took a smaller folio: 0.
        ShmemFallback = "shmem_fallback",
        /// Shared memory that was not allowed to charge: 0.
        ShmemFallbackCharge = "shmem_fallback_charge",
        /// Folios split.
        Split = "split",
        /// Folios that somebody held, and that were not split.
        SplitFailed = "split_failed",
        /// Folios found partly mapped and queued to be split.
        SplitDeferred = "split_deferred",
        /// A gauge: anonymous folios that there are.
        NrAnon = "nr_anon",
        /// A gauge: anonymous folios that are on the queue of those partly mapped.
        NrAnonPartiallyMapped = "nr_anon_partially_mapped",
    }
}

/// Order of the first row.
const LOWEST: u8 = 2;
const NR_ROWS: usize = (Order::BLOCK.get() - LOWEST) as usize + 1;

/// The statistics of all orders.
pub struct ThpStats([Counters<ThpStat>; NR_ROWS]);

impl ThpStats {
    pub(super) fn new(nr_cpus: usize) -> Self {
        Self(core::array::from_fn(|_| Counters::new(nr_cpus)))
    }

    /// Counts `n` on `cpu`. Orders that no large folio has are not counted.
    #[inline]
    pub fn add(&self, cpu: CpuId, stat: ThpStat, order: Order, n: i64) {
        if OrderSet::LARGE.contains(order) {
            self.row(order).add(cpu, stat, n as u64);
        }
    }

    /// Returns the sum over all CPUs, 0 for orders that are not counted. Exact when no CPU counts
    /// meanwhile.
    pub fn total(&self, stat: ThpStat, order: Order) -> u64 {
        if !OrderSet::LARGE.contains(order) {
            return 0;
        }
        // A folio may have gone on a CPU already read, and have come on one read later.
        (self.row(order).total(stat) as i64).max(0) as u64
    }

    fn row(&self, order: Order) -> &Counters<ThpStat> {
        &self.0[(order.get() - LOWEST) as usize]
    }
}
