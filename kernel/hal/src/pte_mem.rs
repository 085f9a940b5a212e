// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to translation-table entries.
//!
//! A hardware walker reads entries at any moment and, with FEAT_HAFDBS, writes their access and
//! dirty bits. So every access is a single-copy atomic 64-bit one, and what must not lose a bit
//! that hardware may set meanwhile is an exchange or a compare-exchange.

use core::ops::Range;

use base::Pfn;

/// Names one 8-byte entry of one table page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PteSlot {
    /// Frame of the table page.
    pub table: Pfn,
    /// Entry within the table, below 512.
    pub index: u16,
}

impl PteSlot {
    /// Names entry `index` of `table`.
    pub const fn new(table: Pfn, index: usize) -> Self {
        debug_assert!(index < 512);
        Self { table, index: index as u16 }
    }
}

/// One entry of a table page.
pub trait PteCell: Copy {
    /// Loads the entry; loads of one thread that depend on it are ordered after it.
    fn load(self) -> u64;

    /// Stores the entry, ordered after every earlier store of this CPU (store-release), so that a
    /// walker that sees a table entry also sees the table it points to.
    fn store(self, value: u64);

    /// Stores the entry and returns what it was, in one atomic step (acquire and release).
    fn exchange(self, value: u64) -> u64;

    /// Replaces the entry if it still is `current`, in one atomic step (acquire and release).
    ///
    /// # Errors
    ///
    /// The entry found, when it is another.
    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64>;
}

/// The entries of one table page.
pub trait PteTable: Copy {
    /// What reaches one entry.
    type Cell: PteCell;

    /// Reaches entry `index` (below 512).
    fn cell(self, index: usize) -> Self::Cell;

    /// Reaches neighbouring entries: whether there are so many is found out once.
    fn cells(self, indices: Range<usize>) -> impl Iterator<Item = Self::Cell>;

    /// Loads entry `index` as [`PteCell::load`] does.
    #[inline(always)]
    fn load(self, index: usize) -> u64 {
        self.cell(index).load()
    }

    /// Stores an entry as [`PteCell::store`] does.
    #[inline(always)]
    fn store(self, index: usize, value: u64) {
        self.cell(index).store(value);
    }

    /// Exchanges an entry as [`PteCell::exchange`] does.
    #[inline(always)]
    fn exchange(self, index: usize, value: u64) -> u64 {
        self.cell(index).exchange(value)
    }

    /// Replaces an entry as [`PteCell::compare_exchange`] does.
    ///
    /// # Errors
    ///
    /// The entry found, when it is another.
    #[inline(always)]
    fn compare_exchange(self, index: usize, current: u64, new: u64) -> Result<(), u64> {
        self.cell(index).compare_exchange(current, new)
    }
}

/// Translation-table entries in physical memory.
pub trait PteMem {
    /// What reaches the entries of one table page.
    type Table<'m>: PteTable
    where
        Self: 'm;

    /// Reaches the entries of `table`: whether it may be is found out once, not at every entry.
    fn table(&self, table: Pfn) -> Self::Table<'_>;

    /// Loads an entry as [`PteCell::load`] does.
    #[inline(always)]
    fn load(&self, slot: PteSlot) -> u64 {
        self.table(slot.table).load(slot.index.into())
    }

    /// Stores an entry as [`PteCell::store`] does.
    #[inline(always)]
    fn store(&self, slot: PteSlot, value: u64) {
        self.table(slot.table).store(slot.index.into(), value);
    }

    /// Exchanges an entry as [`PteCell::exchange`] does.
    #[inline(always)]
    fn exchange(&self, slot: PteSlot, value: u64) -> u64 {
        self.table(slot.table).exchange(slot.index.into(), value)
    }

    /// Replaces an entry as [`PteCell::compare_exchange`] does.
    ///
    /// # Errors
    ///
    /// The entry found, when it is another.
    #[inline(always)]
    fn compare_exchange(&self, slot: PteSlot, current: u64, new: u64) -> Result<(), u64> {
        self.table(slot.table).compare_exchange(slot.index.into(), current, new)
    }

    /// Makes all earlier entry stores of this CPU visible to translation-table walks of every CPU,
    /// this one included (DSB ISHST, ISB; Arm ARM D8.2.5).
    ///
    /// Needed before memory is touched through an entry that was invalid; a walk that misses the
    /// store only faults once more, so callers that return to user space may leave it out.
    fn publish(&self);
}
