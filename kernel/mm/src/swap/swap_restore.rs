// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file restores tags when a page is mapped and not when it is read: the interfaces that were
//! proposed for Linux's `arch_swap_restore()`, for experiments
//! (docs/experiments/000-mte-large-folios.md). Only lab builds have it.
//!
//! All are called with the folio and the page table locked, before the entries give up their counts
//! in the slots; so they find the slots as they were written, and one at a time works on a folio.

use base::Pfn;
use hal::Machine;
use pgtable::SwapEntry;

use crate::folio::{FolioFlags, FolioLock};
use crate::lab::Restore;
use crate::system::System;

impl<M: Machine> System<M> {
    /// Restores what the experiment wants restored before the pages `indices` of a cached folio are
    /// mapped.
    pub(crate) fn restore_at_fault(
        &self,
        folio: &FolioLock<'_, M>,
        indices: impl Iterator<Item = u32>,
    ) {
        let Some(first) = folio.swap_entry() else { return };
        let page = |index: u32| folio.head().add(index);
        match self.refault().restore {
            Restore::AtRead => {}
            Restore::Page => indices.for_each(|n| self.swap_restore_page(first.add(n), page(n))),
            Restore::Folio => self.swap_restore_folio(first, folio),
            Restore::PageOfEntry => {
                indices.for_each(|n| self.swap_restore_page_of(first.add(n), folio));
            }
            Restore::FolioOnce => self.swap_restore_folio_once(first, folio),
        }
    }

    /// P1: the page whose slot `entry` names.
    fn swap_restore_page(&self, entry: SwapEntry, page: Pfn) {
        let area = self.swap_area(entry.area).expect("a cached folio's area is in service");
        self.restore_tags(&area, entry.slot, page);
    }

    /// P2: all pages; `first` names the slot of the first.
    fn swap_restore_folio(&self, first: SwapEntry, folio: &FolioLock<'_, M>) {
        let area = self.swap_area(first.area).expect("a cached folio's area is in service");
        for (slot, page) in (first.slot..).zip(folio.frames()) {
            self.restore_tags(&area, slot, page);
        }
    }

    /// P3: the page of the folio whose slot `entry` names.
    fn swap_restore_page_of(&self, entry: SwapEntry, folio: &FolioLock<'_, M>) {
        // Slots and frames of a folio are aligned alike: what Linux's folio_file_page() builds on.
        let index = entry.slot & (folio.order().nr_pages() - 1);
        self.swap_restore_page(entry, folio.head().add(index));
    }

    /// P4: all pages, unless that was done before.
    fn swap_restore_folio_once(&self, first: SwapEntry, folio: &FolioLock<'_, M>) {
        if !folio.has(FolioFlags::TAGS_RESTORED) {
            self.swap_restore_folio(first, folio);
            folio.set(FolioFlags::TAGS_RESTORED);
        }
    }
}
