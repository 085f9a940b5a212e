// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file splits a large folio into folios of one page. The frames stay where they are.
//!
//! A page's mappings are counted by folio, so a split has to hand out the counts. While it does, every
//! entry of the folio is frozen and counted in a ghost (`freeze.rs`):
//!
//! ```text
//!                freeze                          thaw
//! folio, valid ----------> ghost, frozen entries ----------> folio of the page, valid
//! ```
//!
//! When nothing is left in the folio, nobody can reach it but by a reference; if there is an unknown
//! one, the split is called off and the entries thaw in the folio that they came from.
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

use arrayvec::ArrayVec;

use base::Order;
use base::sync::atomic::Ordering;
use hal::{Machine, TraceKind};

use super::freeze::{Frozen, Thaw};
use super::{FolioFlags, FolioId, FolioLock, FolioRef, Place, flags};
use crate::events::MmEvent;
use crate::frame::OutOfMemory;
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
}

/// A split under way: descriptors are there, and nothing has changed yet.
struct Split<'f, 's, M: Machine> {
    system: &'s System<M>,
    folio: &'f FolioLock<'s, M>,
    order: Order,
    frozen: Option<Frozen<'s, M>>,
    /// Descriptors of the pages after the first.
    tails: ArrayVec<FolioId, MOST>,
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
        let mut split = Self { system, folio, order, frozen: None, tails: ArrayVec::new() };
        for _ in 1..order.nr_pages() {
            match system.alloc_descriptor() {
                Some(id) => split.tails.push(id),
                None => {
                    split.give_tails_back();
                    return Err(SplitError::OutOfMemory);
                }
            }
        }
        match Frozen::begin(folio) {
            Ok(frozen) => split.frozen = Some(frozen),
            Err(OutOfMemory) => {
                split.give_tails_back();
                return Err(SplitError::OutOfMemory);
            }
        }
        Ok(split)
    }

    fn give_tails_back(&mut self) {
        self.system.folios().free_all(self.system.machine().cpu(), &self.tails);
        self.tails.clear();
    }

    fn frozen(&self) -> &Frozen<'s, M> {
        self.frozen.as_ref().expect("begun, and not ended")
    }

    /// Freezes, judges, relabels and thaws. Returns the pages that became free, the first not among
    /// them.
    fn carry_out(mut self) -> Result<u32, SplitError> {
        let frozen = {
            let mut tlbs = TlbBatch::new(self.system);
            let frozen = self.frozen().freeze_all(self.folio, &mut tlbs);
            tlbs.complete();
            frozen
        };
        let is_held = self.folio.is_pinned() || !self.folio.has_no_other_reference(1);
        if frozen.is_err() || is_held {
            self.frozen.take().expect("not ended yet").end_as_before(self.folio);
            self.give_tails_back();
            return Err(frozen.err().map_or(SplitError::Busy, |_| SplitError::OutOfMemory));
        }
        self.relabel();
        self.frozen().thaw(Thaw::InPages(&|n| self.page_folio(n)));
        Ok(self.finish())
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
            tail.lru_prev.store(self.frozen().ghost().id().get(), Ordering::Relaxed);
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
        let is_dirty = self.frozen().ghost().has(FolioFlags::DIRTY);
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
