// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file freezes the entries that map a folio, and thaws them: in it, or in its pages' own folios.
//!
//! A *frozen* entry (`Pte::frozen`) is not used by hardware, a fault on it waits for the folio lock, and
//! everything else (fork, munmap, mprotect, mremap) handles it like any other, but finds its count in
//! another descriptor, the *ghost*. An entry changes hands under its table's lock, together with its
//! count: so "no valid entry is left" is the folio's mapcount, 0, whatever forks and unmaps go on
//! meanwhile. Splits (`split.rs`) and migration (`migrate/`) build on it.

use alloc::sync::Arc;
use core::ops::ControlFlow;

use base::sync::atomic::Ordering;
use base::{Order, PageRange, Pfn, Vpn};
use hal::Machine;
use pgtable::Pte;

use super::{Folio, FolioFlags, FolioId, FolioLock, FolioRef, flags};
use crate::events::MmEvent;
use crate::frame::OutOfMemory;
use crate::lab::Fault;
use crate::mm::{BlockLock, Mm, PageTableLock};
use crate::rmap::{MappedAt, MappedBy, base_of};
use crate::system::System;
use crate::tlb::TlbBatch;

/// Where frozen entries are counted when they are valid again.
#[derive(Clone, Copy)]
pub(crate) enum Thaw<'a> {
    /// In the folio that they came from.
    Back(&'a Folio),
    /// In the folios of their pages.
    InPages(&'a dyn Fn(u32) -> FolioId),
}

/// A folio that is being frozen: the ghost that counts its frozen entries.
pub(crate) struct Frozen<'s, M: Machine> {
    ghost: FolioRef<'s, M>,
    /// Whether it was to be split when memory is short.
    was_queued: bool,
}

impl<M: Machine> System<M> {
    /// Returns the descriptor that counts a frozen entry of page `pfn`; its table is locked.
    pub(crate) fn frozen_folio(&self, pfn: Pfn) -> FolioId {
        let folio = self.folio(self.words().folio(pfn));
        debug_assert!(folio.has(FolioFlags::FREEZING), "{pfn:?} is frozen, its folio is not");
        FolioId::new(folio.lru_prev.load(Ordering::Relaxed))
    }
}

impl<'s, M: Machine> Frozen<'s, M> {
    /// Gives a folio a ghost. It is locked and on no LRU list, and whoever took it off is the caller.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no descriptor.
    pub(crate) fn begin(folio: &FolioLock<'s, M>) -> Result<Self, OutOfMemory> {
        let system = folio.system();
        let ghost = system.alloc_descriptor().ok_or(OutOfMemory)?;
        let flags = flags::initial(folio.order(), folio.shard(), FolioFlags::GHOST);
        let ghost = system.new_descriptor(ghost, folio.head(), flags);
        folio.lru_prev.store(ghost.id().get(), Ordering::Relaxed);
        folio.set(FolioFlags::FREEZING);
        let was_queued = system.deferred_splits().remove(system, folio);
        Ok(Self { ghost, was_queued })
    }

    /// Returns the ghost.
    pub(crate) fn ghost(&self) -> &FolioRef<'s, M> {
        &self.ghost
    }

    /// Freezes every entry that maps the folio. No CPU uses any of them when `tlbs` has completed.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no room for a reverse-map entry; some are frozen then.
    pub(crate) fn freeze_all(
        &self,
        folio: &FolioLock<'s, M>,
        tlbs: &mut TlbBatch<'s, M>,
    ) -> Result<(), OutOfMemory> {
        // A fork may add entries behind the walk. It has the folio's mapcount to tell.
        while folio.is_mapped() {
            let mut result = Ok(());
            let _ = folio.system().visit_mappings(folio, |at| {
                result = self.freeze_at(folio, at, tlbs);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            result?;
        }
        Ok(())
    }

    fn freeze_at(
        &self,
        folio: &FolioLock<'s, M>,
        at: MappedAt<'_, '_, M>,
        tlbs: &mut TlbBatch<'s, M>,
    ) -> Result<(), OutOfMemory> {
        match at.by {
            MappedBy::Block(block) => self.freeze_block(folio, at.mm, block, at.page),
            MappedBy::Table(table) => {
                if table.present(at.page).is_none_or(Pte::is_frozen) {
                    return Ok(());
                }
                let place = (at.page, at.index, at.nr);
                let result = self.freeze_run(folio, at.mm, table, place, tlbs);
                tlbs.issue();
                result
            }
        }
    }

    /// Freezes a run of valid entries: (first page, which of the folio's that is, how many). The table
    /// stays locked until [`TlbBatch::issue`].
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; nothing has changed then.
    pub(crate) fn freeze_run(
        &self,
        folio: &FolioLock<'s, M>,
        mm: &Arc<Mm<M>>,
        table: &mut PageTableLock<'_, M>,
        (page, index, nr): (Vpn, u32, u32),
        tlbs: &mut TlbBatch<'s, M>,
    ) -> Result<(), OutOfMemory> {
        self.count_here(folio, mm, table.place(page, index), nr)?;
        if folio.system().commits(Fault::DirtyBitDropped) {
            let old = table.update_run(page, nr, |pte| pte.clean().frozen());
            tlbs.note_run(mm, PageRange::of_len(page, nr.into()), old.raw(), old.frozen().raw());
            return Ok(());
        }
        let old = table.update_run(page, nr, Pte::frozen);
        tlbs.note_run(mm, PageRange::of_len(page, nr.into()), old.raw(), old.frozen().raw());
        if old.is_dirty() {
            folio.set(FolioFlags::DIRTY);
        }
        Ok(())
    }

    /// Freezes the pages of a block, one by one, in the table that was set aside for it.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; nothing has changed then.
    pub(crate) fn freeze_block(
        &self,
        folio: &FolioLock<'s, M>,
        mm: &Mm<M>,
        block: BlockLock<'_, M>,
        page: Vpn,
    ) -> Result<(), OutOfMemory> {
        let nr = Order::BLOCK.nr_pages();
        self.count_here(folio, mm, base_of(page, 0), nr)?;
        folio.system().count(MmEvent::ThpSplitPmd, 1);
        let freeze = |table: &mut PageTableLock<'_, M>, pte: Pte| {
            table.fill_run(Vpn::new(0), nr, pte.frozen());
        };
        let old = block.replace_by_table(page, freeze);
        if old.is_dirty() {
            folio.set(FolioFlags::DIRTY);
        }
        Ok(())
    }

    fn count_here(
        &self,
        folio: &FolioLock<'s, M>,
        mm: &Mm<M>,
        base: Vpn,
        nr: u32,
    ) -> Result<(), OutOfMemory> {
        let from = (folio.id(), &***folio, base);
        let left = folio.system().recount_mapping(from, (&self.ghost, base), mm.id(), nr, false)?;
        // The caller's reference is left.
        drop(left);
        Ok(())
    }

    /// Makes every frozen entry valid again.
    pub(crate) fn thaw(&self, to: Thaw<'_>) {
        let system = self.ghost.system();
        // A fork may add entries behind the walk.
        while self.ghost.is_mapped() {
            let _ = system.visit_mappings(&self.ghost, |at| {
                self.thaw_run(at, to);
                ControlFlow::Continue(())
            });
        }
    }

    fn thaw_run(&self, at: MappedAt<'_, '_, M>, to: Thaw<'_>) {
        let MappedBy::Table(table) = at.by else { panic!("a frozen folio has no block") };
        if !table.present(at.page).is_some_and(Pte::is_frozen) {
            return;
        }
        let system = self.ghost.system();
        let base = table.place(at.page, at.index);
        let recount = |folio: &Folio, to_base, nr| {
            let from = (self.ghost.id(), &*self.ghost, base);
            let left = system.recount_mapping(from, (folio, to_base), at.mm.id(), nr, true);
            // The freezer's own reference is left.
            drop(left.expect("the reserve is for this"));
        };
        match to {
            Thaw::Back(folio) => recount(folio, base, at.nr),
            Thaw::InPages(folio_of) => {
                for n in 0..at.nr {
                    let folio = system.folio(folio_of(at.index + n));
                    recount(folio, table.place(at.page.add(n.into()), 0), 1);
                }
            }
        }
        table.update_run(at.page, at.nr, Pte::thawed);
    }

    /// Ends what was begun, with the folio as it was: every entry is valid again.
    pub(crate) fn end_as_before(self, folio: &FolioLock<'s, M>) {
        self.thaw(Thaw::Back(folio));
        folio.clear(FolioFlags::FREEZING);
        if self.was_queued {
            let system = folio.system();
            system.deferred_splits().add(system, folio.id(), folio);
        }
    }
}
