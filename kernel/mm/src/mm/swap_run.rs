// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file handles neighbouring entries that name neighbouring swap slots: what is left of a folio
//! that went out whole.

use base::Vpn;
use hal::{Machine, PteCell};
use pgtable::{ENTRIES_PER_TABLE, NEXT_SLOT, index_of};

use super::PageTableLock;

/// Tells whether the entries name neighbouring slots, the first the one that `raw` does.
pub(crate) fn name_neighbours(cells: impl Iterator<Item = impl PteCell>, raw: u64) -> bool {
    let mut next = raw;
    for cell in cells {
        if cell.load() != next {
            return false;
        }
        next += NEXT_SLOT;
    }
    true
}

impl<M: Machine> PageTableLock<'_, M> {
    /// Returns how many entries from `page` on, `most` at most, name neighbouring slots. The first is
    /// `raw` and names one.
    #[inline]
    pub(crate) fn swap_run_len(&self, page: Vpn, raw: u64, most: u32) -> u32 {
        let most = most.min((ENTRIES_PER_TABLE - index_of(page)) as u32);
        let mut next = raw;
        for (nr, cell) in (1..).zip(self.cells(page, most).skip(1)) {
            next += NEXT_SLOT;
            if cell.load() != next {
                return nr;
            }
        }
        most
    }

    /// Empties `nr` entries from `page` on that are in use and map nothing.
    pub(crate) fn empty_swap_run(&mut self, page: Vpn, nr: u32) {
        self.cells(page, nr).for_each(|cell| cell.store(0));
        self.lock.add_live(-(nr as i32));
    }

    /// Stores `nr` entries from `page` on, which are empty: `raw`, which names a slot, and those that
    /// name the slots after it.
    pub(crate) fn fill_swap_run(&mut self, page: Vpn, nr: u32, raw: u64) {
        let mut next = raw;
        for cell in self.cells(page, nr) {
            debug_assert_eq!(cell.load(), 0, "{page:?}: filled while in use");
            cell.store(next);
            next += NEXT_SLOT;
        }
        self.lock.add_live(nr as i32);
    }
}
