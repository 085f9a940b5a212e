// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the pages of a cached folio whose entries still name its slots.

use base::{Order, Vpn};
use hal::Machine;
use pgtable::{ENTRIES_PER_TABLE, NonPresent, SwapEntry, index_of};

use super::Site;
use crate::mm::PageTableLock;

/// Returns the entry that names a slot.
pub(super) const fn swapped(entry: SwapEntry) -> u64 {
    NonPresent::Swap { entry, exclusive: false }.encode()
}

/// The pages of a folio that an area and a table may map, around one of them.
pub(super) struct Window {
    /// Page that the folio's page `origin.1` belongs at.
    pub origin: (Vpn, u32),
    /// Slot of the folio's first page.
    pub first: SwapEntry,
    /// The pages that may be mapped.
    pub indices: core::ops::Range<u32>,
}

impl Window {
    /// Returns the window around `site`, whose page is page `index` of a folio of `order`.
    pub fn around<M: Machine>(
        site: &Site<'_, M>,
        order: Order,
        index: u32,
        first: SwapEntry,
    ) -> Self {
        let area = site.area.pages();
        let page = site.page;
        let below = (page.get() - area.start.get()).min(index_of(page) as u64);
        let above = (area.end.get() - page.get()).min((ENTRIES_PER_TABLE - index_of(page)) as u64);
        let start = index - index.min(below as u32);
        let end = order.nr_pages().min(index + above as u32);
        Self { origin: (page, index), first, indices: start..end }
    }

    /// Returns where a page of the folio belongs.
    pub fn page(&self, index: u32) -> Vpn {
        Vpn::new(self.origin.0.get() + u64::from(index) - u64::from(self.origin.1))
    }

    /// Tells whether the entry of a page of the folio names its slot.
    pub fn names<M: Machine>(&self, table: &PageTableLock<'_, M>, index: u32) -> bool {
        table.load(self.page(index)) == swapped(self.first.add(index))
    }

    /// Returns the first run from `at` on of pages whose entries name their slots. That of `origin`
    /// does: if it is the only page there is, it is not looked at again.
    #[inline(always)]
    pub fn next_run<M: Machine>(
        &self,
        table: &PageTableLock<'_, M>,
        at: u32,
    ) -> Option<(u32, u32)> {
        if self.indices.len() == 1 && self.indices.start == self.origin.1 {
            return self.indices.contains(&at).then_some((at, 1));
        }
        let start = (at..self.indices.end).find(|index| self.names(table, *index))?;
        let (raw, most) = (swapped(self.first.add(start)), self.indices.end - start);
        Some((start, table.swap_run_len(self.page(start), raw, most)))
    }
}
