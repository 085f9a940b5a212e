// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reaches table pages so that the oracle of stale translations sees what is stored.

use core::ops::Range;

use arch::linear_map::{Cell, Table};
use base::Pfn;
use hal::{PteCell, PteSlot, PteTable};

use super::stale;

/// The entries of a table page, watched.
#[derive(Clone, Copy)]
pub struct WatchedTable<'m> {
    /// Which one.
    pub pfn: Pfn,
    /// Its entries.
    pub table: Table<'m>,
}

/// An entry, watched.
#[derive(Clone, Copy)]
pub struct WatchedCell<'m> {
    slot: PteSlot,
    cell: Cell<'m>,
}

impl<'m> PteTable for WatchedTable<'m> {
    type Cell = WatchedCell<'m>;

    fn cell(self, index: usize) -> WatchedCell<'m> {
        WatchedCell { slot: PteSlot::new(self.pfn, index), cell: self.table.cell(index) }
    }

    fn cells(self, indices: Range<usize>) -> impl Iterator<Item = WatchedCell<'m>> {
        indices.map(move |index| self.cell(index))
    }
}

impl PteCell for WatchedCell<'_> {
    fn load(self) -> u64 {
        self.cell.load()
    }

    fn store(self, value: u64) {
        let old = self.cell.load();
        self.cell.store(value);
        stale::stored(self.slot, old, value);
    }

    fn exchange(self, value: u64) -> u64 {
        let old = self.cell.exchange(value);
        stale::stored(self.slot, old, value);
        old
    }

    fn compare_exchange(self, current: u64, new: u64) -> Result<(), u64> {
        self.cell.compare_exchange(current, new)?;
        stale::stored(self.slot, current, new);
        Ok(())
    }
}
