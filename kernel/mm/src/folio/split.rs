// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file splits a large folio into folios of one page. The frames stay where they are.
//!
//! A page's mappings are counted by folio, so a split has to hand out the counts. While it does,
//! every entry of the folio is *frozen* (`Pte::frozen`): hardware does not use it, a fault on it
//! waits for the folio lock, and everything else (fork, munmap, mprotect, mremap) handles it like
//! any other entry, but finds its count in another descriptor, the *ghost*:
//!
//! ```text
//!                freeze                          thaw
//! folio, valid ----------> ghost, frozen entries ----------> folio of the page, valid
//! ```
//!
//! Each entry changes hands under its table's lock, together with its count. So the sum is right at
//! every moment, forks and unmaps may go on meanwhile, and "no valid entry is left" is the folio's
//! mapcount: 0. Then nobody can reach the folio but by a reference; if there is an unknown one, the
//! split is called off and the entries thaw in the folio that they came from.
//!
//! | step | descriptor of page n | counts valid entries | counts frozen entries |
//! |---|---|---|---|
//! | before | folio | folio | |
//! | freezing | folio | folio | ghost |
//! | frozen, references judged | folio | | ghost |
//! | relabelled | new\[n\], locked | | ghost |
//! | thawing | new\[n\], locked | new\[n\] | ghost |
//! | after | new\[n\] | new\[n\] | |
//!
//! The first page keeps the old descriptor. Tag states are per page and stay. A folio in the swap
//! cache stays there: its slots' words name the new folios.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;

use base::sync::atomic::Ordering;
use base::{Order, PageRange, Pfn};
use hal::{Machine, TraceKind};
use pgtable::Pte;

use super::{Folio, FolioFlags, FolioId, FolioLock, FolioRef, Place, flags};
use crate::events::MmEvent;
use crate::rmap::{MappedAt, MappedBy, base_of};
use crate::system::System;
use crate::thp::ThpStat;
use crate::tlb::TlbBatch;

/// Why a folio is not split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SplitError {
    /// Somebody holds it, or it is being written or read.
    Busy,
    /// No memory for descriptors or reverse-map entries.
    OutOfMemory,
}

/// Pages of the largest folio.
const MOST: usize = Order::BLOCK.nr_pages() as usize;

/// What every page's folio has of the one that it came from.
const INHERITED: FolioFlags = FolioFlags::DIRTY
    .union(FolioFlags::UPTODATE)
    .union(FolioFlags::ACTIVE)
    .union(FolioFlags::REFERENCED)
    .union(FolioFlags::WORKINGSET)
    .union(FolioFlags::LAZYFREE)
    .union(FolioFlags::CODE_SYNCED);

impl<M: Machine> System<M> {
    /// Splits a locked anonymous folio into folios of one page, and returns how many of its pages
    /// became free, because nothing mapped them. Those that are left are on the LRU lists.
    ///
    /// The caller's is the only reference beside those of the mappings and of the swap cache. The folio
    /// is on no LRU list, and whoever took it off is the caller: nobody puts it back meanwhile.
    ///
    /// # Errors
    ///
    /// The folio as it was, still locked and on no list, when somebody holds it or there is no memory
    /// for descriptors.
    pub(crate) fn split_folio<'s>(
        &'s self,
        folio: FolioLock<'s, M>,
    ) -> Result<u32, FolioLock<'s, M>> {
        let order = folio.order();
        debug_assert!(order > Order::PAGE && folio.is_anon(), "{:?} is not split", folio.id());
        debug_assert!(!folio.has(FolioFlags::LRU), "{:?} is split on a list", folio.id());
        let mut span = self.machine().span(TraceKind::Split, || [folio.head().get().into(), 0]);
        let result = Split::begin(&folio).and_then(Split::carry_out);
        let (stat, event) = match result {
            Ok(_) => (ThpStat::Split, MmEvent::ThpSplitPage),
            Err(_) => (ThpStat::SplitFailed, MmEvent::ThpSplitPageFailed),
        };
        self.count_thp(stat, order, 1);
        if order == Order::BLOCK {
            self.count(event, 1);
        }
        span.set(|| if result.is_ok() { order.nr_pages().into() } else { 0 });
        drop(span);
        match result {
            Ok(freed) => Ok(freed + finish_page(folio.unlock())),
            Err(why) => {
                log::debug!("{:?} of {order:?} is not split: {why:?}", folio.id());
                Err(folio)
            }
        }
    }

    /// Like [`System::split_folio`], for a folio that is on an LRU list; it is there again if it is not
    /// split. One that is on none is in other hands.
    pub(crate) fn split_listed<'s>(
        &'s self,
        folio: FolioLock<'s, M>,
    ) -> Result<u32, FolioLock<'s, M>> {
        if !self.lru().isolate(&folio) {
            return Err(folio);
        }
        self.split_folio(folio).inspect_err(|folio| self.lru().add_new(self, folio.id(), folio))
    }

    /// Splits a folio unless somebody else has it locked or holds it. Returns whether it is split.
    pub(crate) fn try_split(&self, folio: FolioRef<'_, M>) -> bool {
        folio.try_lock().is_ok_and(|locked| {
            let may = locked.order() > Order::PAGE && locked.is_anon();
            may && self.split_listed(locked).is_ok()
        })
    }

    /// Returns the descriptor that counts a frozen entry of page `pfn`; its table is locked.
    pub(crate) fn frozen_folio(&self, pfn: Pfn) -> FolioId {
        let folio = self.folio(self.words().folio(pfn));
        debug_assert!(folio.has(FolioFlags::FREEZING), "{pfn:?} is frozen, its folio is not");
        FolioId::new(folio.lru_prev.load(Ordering::Relaxed))
    }
}

/// Where frozen entries are counted when they are valid again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thaw {
    /// In the folio that they came from.
    Back,
    /// In the folios of their pages.
    InPages,
}

/// A split under way: descriptors are there, and nothing has changed yet.
struct Split<'f, 's, M: Machine> {
    system: &'s System<M>,
    folio: &'f FolioLock<'s, M>,
    order: Order,
    ghost: FolioRef<'s, M>,
    /// Descriptors of the pages after the first.
    tails: ArrayVec<FolioId, MOST>,
    /// Whether it was to be split when memory is short.
    was_queued: bool,
}

impl<'f, 's, M: Machine> Split<'f, 's, M> {
    fn begin(folio: &'f FolioLock<'s, M>) -> Result<Self, SplitError> {
        let system = folio.system();
        let is_busy = folio.is_pinned()
            || folio.has(FolioFlags::WRITEBACK)
            || folio.has(FolioFlags::BAD_SLOT)
            || !folio.has(FolioFlags::UPTODATE);
        if is_busy {
            return Err(SplitError::Busy);
        }
        let order = folio.order();
        let ghost = system.alloc_descriptor().ok_or(SplitError::OutOfMemory)?;
        let flags = flags::initial(order, folio.shard(), FolioFlags::GHOST);
        let ghost = system.new_descriptor(ghost, folio.head(), flags);
        let (tails, was_queued) = (ArrayVec::new(), false);
        let mut split = Self { system, folio, order, ghost, tails, was_queued };
        for _ in 1..order.nr_pages() {
            match system.alloc_descriptor() {
                Some(id) => split.tails.push(id),
                None => {
                    split.give_tails_back();
                    return Err(SplitError::OutOfMemory);
                }
            }
        }
        folio.lru_prev.store(split.ghost.id().get(), Ordering::Relaxed);
        folio.set(FolioFlags::FREEZING);
        split.was_queued = system.deferred_splits().remove(system, folio);
        Ok(split)
    }

    fn give_tails_back(&mut self) {
        self.system.folios().free_all(self.system.machine().cpu(), &self.tails);
        self.tails.clear();
    }

    /// Freezes, judges, relabels and thaws. Returns the pages that became free, the first not among
    /// them.
    fn carry_out(mut self) -> Result<u32, SplitError> {
        let frozen = self.freeze();
        let is_held = self.folio.is_pinned() || !self.folio.has_no_other_reference(1);
        if frozen.is_err() || is_held {
            self.thaw(Thaw::Back);
            self.folio.clear(FolioFlags::FREEZING);
            if self.was_queued {
                self.system.deferred_splits().add(self.system, self.folio.id(), self.folio);
            }
            self.give_tails_back();
            return Err(frozen.err().unwrap_or(SplitError::Busy));
        }
        self.relabel();
        self.thaw(Thaw::InPages);
        Ok(self.finish())
    }

    /// Freezes every entry that maps the folio, and waits until no CPU uses any of them.
    fn freeze(&self) -> Result<(), SplitError> {
        let mut tlbs = TlbBatch::new(self.system);
        // A fork may add entries behind the walk. It has the folio's mapcount to tell.
        while self.folio.is_mapped() {
            let mut result = Ok(());
            let _ = self.system.visit_mappings(self.folio, |at| {
                result = self.freeze_run(at, &mut tlbs);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            result?;
        }
        tlbs.complete();
        Ok(())
    }

    fn freeze_run(
        &self,
        at: MappedAt<'_, '_, M>,
        tlbs: &mut TlbBatch<'s, M>,
    ) -> Result<(), SplitError> {
        let table = match at.by {
            // The next look finds its pages one by one.
            MappedBy::Block(block) => {
                block.split(at.page);
                return Ok(());
            }
            MappedBy::Table(table) => table,
        };
        let base = base_of(at.page, at.index);
        if table.present(at.page).is_none_or(Pte::is_frozen) {
            return Ok(());
        }
        let from = (self.folio.id(), &***self.folio, base);
        let left = self
            .system
            .recount_mapping(from, (&self.ghost, base), at.mm.id(), at.nr, false)
            .map_err(|_| SplitError::OutOfMemory)?;
        let old = table.update_run(at.page, at.nr, Pte::frozen);
        let pages = PageRange::of_len(at.page, at.nr.into());
        tlbs.note_run(at.mm, pages, old.raw(), old.frozen().raw());
        tlbs.issue();
        if old.is_dirty() {
            self.folio.set(FolioFlags::DIRTY);
        }
        // The caller's reference is left.
        drop(left);
        Ok(())
    }

    /// Makes every frozen entry valid again.
    fn thaw(&self, to: Thaw) {
        // A fork may add entries behind the walk.
        while self.ghost.is_mapped() {
            let _ = self.system.visit_mappings(&self.ghost, |at| {
                self.thaw_run(at, to);
                ControlFlow::Continue(())
            });
        }
    }

    fn thaw_run(&self, at: MappedAt<'_, '_, M>, to: Thaw) {
        let MappedBy::Table(table) = at.by else { panic!("a frozen folio has no block") };
        if !table.present(at.page).is_some_and(Pte::is_frozen) {
            return;
        }
        let base = base_of(at.page, at.index);
        let recount = |folio: &Folio, to_base, nr| {
            let from = (self.ghost.id(), &*self.ghost, base);
            let to = (folio, to_base);
            let left = self.system.recount_mapping(from, to, at.mm.id(), nr, true);
            // The split's own reference is left.
            drop(left.expect("the reserve is for this"));
        };
        match to {
            Thaw::Back => recount(self.folio, base, at.nr),
            Thaw::InPages => {
                for n in 0..at.nr {
                    let folio = self.system.folio(self.page_folio(at.index + n));
                    recount(folio, base_of(at.page.add(n.into()), 0), 1);
                }
            }
        }
        table.update_run(at.page, at.nr, Pte::thawed);
    }

    /// Returns the descriptor that page `n` is to have.
    fn page_folio(&self, n: u32) -> FolioId {
        match n {
            0 => self.folio.id(),
            _ => self.tails[n as usize - 1],
        }
    }

    /// Gives every page after the first its own descriptor, locked.
    fn relabel(&self) {
        let first = self.folio.swap_entry();
        let flags = flags::initial(Order::PAGE, self.folio.shard(), self.inherited());
        for (n, id) in (1..).zip(&self.tails) {
            let pfn = self.folio.head().add(n);
            let tail = self.system.new_descriptor(*id, pfn, flags);
            tail.lru_prev.store(self.ghost.id().get(), Ordering::Relaxed);
            if let Some(first) = first {
                tail.set_place(Place::Swap(first.add(n)));
                tail.get();
            }
            // Kept until the end of the split.
            let id = tail.into_raw();
            self.system.words().move_to_folio(pfn, id);
        }
        if let Some(first) = first {
            self.system.rename_cached(first.add(1), &self.tails);
        }
        self.folio.set_order(Order::PAGE);
        self.system.count_thp(ThpStat::NrAnon, self.order, -1);
    }

    fn inherited(&self) -> FolioFlags {
        let flags = FolioFlags::from_bits_truncate(self.folio.flags.load(Ordering::Acquire));
        flags.intersection(INHERITED) | FolioFlags::LOCKED | FolioFlags::FREEZING
    }

    /// Unlocks the folios of the pages after the first. Returns how many became free.
    fn finish(self) -> u32 {
        let system = self.system;
        // An entry may have been taken away while it was frozen: its dirty state went to the ghost.
        let is_dirty = self.ghost.has(FolioFlags::DIRTY);
        let mut freed = 0;
        for id in &self.tails {
            let tail = FolioRef::adopt(system, *id, system.folio(*id));
            if is_dirty {
                tail.set(FolioFlags::DIRTY);
            }
            tail.clear(FolioFlags::FREEZING);
            freed += finish_page(FolioLock::new(tail).unlock());
        }
        if is_dirty {
            self.folio.set(FolioFlags::DIRTY);
        }
        self.folio.clear(FolioFlags::FREEZING);
        freed
    }
}

/// Puts a folio that was split off on its LRU list if anything needs it. Returns 1 if nothing does,
/// and it is free now.
fn finish_page<M: Machine>(folio: FolioRef<'_, M>) -> u32 {
    let system = folio.system();
    if !folio.is_mapped() && folio.is_nowhere() {
        return 1;
    }
    system.lru().add_new(system, folio.id(), &folio);
    // In the swap cache alone, and nothing refers to its slot any more: it goes as well.
    system.free_orphan(folio);
    0
}
