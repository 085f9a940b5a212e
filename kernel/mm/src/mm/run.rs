// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names a run of entries together with the folio whose pages it maps.

use base::{Order, PageRange, Vpn};
use hal::Machine;
use pgtable::Pte;

use super::{Mm, PageTableLock};
use crate::folio::{Folio, FolioFlags, FolioId};
use crate::rmap::base_of;

/// A run of entries, or a block, whose table is locked.
#[derive(Clone, Copy)]
pub(crate) struct Run<'s> {
    /// The first page.
    pub page: Vpn,
    /// How many pages.
    pub nr: u32,
    /// The first entry.
    pub pte: Pte,
    /// The folio whose pages they are.
    pub id: FolioId,
    /// Its descriptor.
    pub folio: &'s Folio,
    /// Which of its pages is the first.
    pub index: u32,
    /// The place that the reverse map has the run at.
    pub base: Vpn,
}

impl Run<'_> {
    /// Returns the pages.
    pub(crate) fn pages(&self) -> PageRange {
        PageRange::of_len(self.page, self.nr.into())
    }

    /// Tells whether the run maps the whole folio.
    pub(crate) fn is_whole(&self) -> bool {
        self.nr == self.folio.order().nr_pages()
    }

    /// Gives the folio the dirty state of `old`, the run's entry that was taken away.
    #[inline(always)]
    pub(crate) fn carry_dirty(&self, old: Pte) {
        if old.is_dirty() {
            self.folio.set(FolioFlags::DIRTY);
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Returns the run that begins with the entry `pte` of `page`, of `most` pages at most. `None`:
    /// no folio owns the page.
    #[inline(always)]
    pub(crate) fn run_at(
        &self,
        table: &PageTableLock<'_, M>,
        page: Vpn,
        pte: Pte,
        most: u32,
    ) -> Option<Run<'_>> {
        let mut run = self.run_of_one(page, pte)?;
        run.base = table.place(page, run.index);
        if !run.folio.is_large() {
            return Some(run);
        }
        let left = run.folio.order().nr_pages() - run.index;
        Some(Run { nr: table.run_len(page, pte, most.min(left)), ..run })
    }

    /// Returns the block `pte`, which maps the 2 MiB at `page`, as a run. `None`: it is the huge zero
    /// page, and no folio owns it.
    pub(crate) fn run_of_block(&self, page: Vpn, pte: Pte) -> Option<Run<'_>> {
        let run = self.run_of_one(page, pte)?;
        debug_assert!(run.index == 0 && run.folio.order() == Order::BLOCK, "{page:?}: no block");
        Some(Run { nr: Order::BLOCK.nr_pages(), ..run })
    }

    #[inline(always)]
    fn run_of_one(&self, page: Vpn, pte: Pte) -> Option<Run<'_>> {
        if pte.is_special() {
            return None;
        }
        let id = match pte.is_frozen() && !pte.is_on_device() {
            false => self.system().folio_of(pte),
            true => self.system().frozen_folio(pte.pfn()),
        };
        let folio = self.system().folio(id);
        let index = pte.pfn().get() - folio.head().get();
        Some(Run { page, nr: 1, pte, id, folio, index, base: base_of(page, index) })
    }
}
