// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts what an address space has: resident, swapped and table pages.

use base::Order;
use base::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Which kind of resident page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resident {
    /// Anonymous.
    Anon,
    /// Of a shared-memory object.
    Shmem,
}

impl Resident {
    /// Returns the kind of a folio's pages.
    pub(crate) fn of(folio: &crate::folio::Folio) -> Self {
        if folio.is_anon() { Resident::Anon } else { Resident::Shmem }
    }
}

/// Running counts, in pages but for `blocks`. Changed under page-table locks; read any time.
pub(crate) struct Gauges {
    anon: AtomicI64,
    blocks: AtomicI64,
    shmem: AtomicI64,
    swap: AtomicI64,
    tables: AtomicI64,
    minor_faults: AtomicU64,
    major_faults: AtomicU64,
}

/// Counts of one address space at one moment, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MmStats {
    /// Mapped anonymous pages.
    pub anon: u64,
    /// Anonymous pages mapped by blocks; they are among `anon`.
    pub block_mapped: u64,
    /// Mapped pages of shared-memory objects.
    pub shmem: u64,
    /// Swap entries.
    pub swap: u64,
    /// Table pages.
    pub tables: u64,
    /// Pages in areas.
    pub mapped: u64,
    /// Faults resolved without I/O.
    pub minor_faults: u64,
    /// Faults that waited for I/O.
    pub major_faults: u64,
}

impl Gauges {
    pub(super) fn with_root() -> Self {
        Self {
            anon: AtomicI64::new(0),
            blocks: AtomicI64::new(0),
            shmem: AtomicI64::new(0),
            swap: AtomicI64::new(0),
            tables: AtomicI64::new(1),
            minor_faults: AtomicU64::new(0),
            major_faults: AtomicU64::new(0),
        }
    }

    pub(crate) fn add_resident(&self, kind: Resident, pages: i64) {
        match kind {
            Resident::Anon => self.anon.fetch_add(pages, Relaxed),
            Resident::Shmem => self.shmem.fetch_add(pages, Relaxed),
        };
    }

    pub(crate) fn add_blocks(&self, blocks: i64) {
        self.blocks.fetch_add(blocks, Relaxed);
    }

    pub(crate) fn add_swap(&self, pages: i64) {
        self.swap.fetch_add(pages, Relaxed);
    }

    pub(crate) fn add_tables(&self, pages: i64) {
        self.tables.fetch_add(pages, Relaxed);
    }

    pub(crate) fn count_fault(&self, major: bool) {
        let cell = if major { &self.major_faults } else { &self.minor_faults };
        cell.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, mapped: u64) -> MmStats {
        let pages = |cell: &AtomicI64| cell.load(Relaxed).max(0) as u64;
        MmStats {
            anon: pages(&self.anon),
            block_mapped: pages(&self.blocks) * u64::from(Order::BLOCK.nr_pages()),
            shmem: pages(&self.shmem),
            swap: pages(&self.swap),
            tables: pages(&self.tables),
            mapped,
            minor_faults: self.minor_faults.load(Relaxed),
            major_faults: self.major_faults.load(Relaxed),
        }
    }
}

impl<M: hal::Machine> super::Mm<M> {
    /// Returns the counts of this moment.
    pub fn stats(&self) -> MmStats {
        self.gauges().read(self.read_areas().nr_pages())
    }

    /// Tells whether any entry names a swap slot. The mmap lock is not needed: who copies entries to
    /// another address space is looked at before that (`MmRegistry::next_younger`).
    pub(crate) fn has_swapped_pages(&self) -> bool {
        self.gauges().swap.load(Relaxed) != 0
    }

    /// Returns resident and swapped pages without taking the mmap lock: what an out-of-memory kill
    /// would free, more or less.
    pub fn badness(&self) -> u64 {
        let stats = self.gauges().read(0);
        stats.anon + stats.shmem + stats.swap + stats.tables
    }
}
