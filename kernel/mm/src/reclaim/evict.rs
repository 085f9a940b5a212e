// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file evicts a batch of folios: slots, unmap, one wait for the TLBs, write, free.
//!
//! Each step is done for the whole batch before the next, so that one DSB serves all unmaps and
//! all writes are in flight together. A folio that cannot go on at some step goes back on its list
//! as it is.

use alloc::sync::Arc;
use core::ops::ControlFlow;

use arrayvec::ArrayVec;

use base::sync::stop_point;
use base::{Order, Vpn};
use hal::Machine;
use pgtable::{NEXT_SLOT, NonPresent, Pte};

use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioId, FolioLock, FolioRef, Place};
use crate::lab::TlbFault;
use crate::mm::{BlockLock, Mm, PageTableLock, Resident};
use crate::rmap::{MappedBy, base_of};
use crate::swap::{NR_WRITTEN, NoSlots, Writes};
use crate::system::System;
use crate::thp::ThpStat;
use crate::tlb::TlbBatch;

/// Folios evicted together.
pub(super) const BATCH: usize = NR_WRITTEN;

/// A batch of folios on their way out. They were isolated from their LRU lists.
#[must_use = "the folios go, or go back, in finish()"]
pub(crate) struct Eviction<'s, M: Machine> {
    system: &'s System<M>,
    tlbs: TlbBatch<'s, M>,
    /// Unmapped; the TLBs may still know them.
    unmapped: ArrayVec<FolioLock<'s, M>, BATCH>,
    /// Still mapped, but some entries are gone that the TLBs may still know. Locked until they do
    /// not, like the others: a fault on an entry left behind waits for the lock, so it cannot map
    /// anything there too early.
    kept: ArrayVec<FolioLock<'s, M>, BATCH>,
    /// Found no run of slots while a table was locked.
    unslotted: ArrayVec<FolioLock<'s, M>, BATCH>,
}

/// What becomes of a folio.
enum Way {
    /// It goes: it has slots, or its content is not needed.
    Out,
    /// It stays as it is.
    Stays,
    /// It would go if there were slots for it.
    Waits(NoSlots),
}

impl<'s, M: Machine> Eviction<'s, M> {
    pub(crate) fn new(system: &'s System<M>) -> Self {
        let tlbs = TlbBatch::new(system);
        let (unmapped, kept, unslotted) = (ArrayVec::new(), ArrayVec::new(), ArrayVec::new());
        Self { system, tlbs, unmapped, kept, unslotted }
    }

    /// Unmaps an isolated folio, or puts it back on its list.
    pub(super) fn take(&mut self, folio: FolioRef<'s, M>) {
        let locked = match folio.try_lock() {
            Ok(locked) => locked,
            Err(folio) => return put_back(folio),
        };
        match self.way_of(&locked) {
            Way::Stays => put_back(locked.unlock()),
            Way::Waits(why) => self.split_or_put_back(locked, why),
            Way::Out if self.unmap(&locked) => self.unmapped.push(locked),
            Way::Out => self.kept.push(locked),
        }
    }

    /// Splits a large folio that finds no run of slots where there are single ones: its pages may go
    /// when their turn comes. Puts any other back on its list.
    fn split_or_put_back(&self, folio: FolioLock<'s, M>, why: NoSlots) {
        let order = folio.order();
        let may_split = order > Order::PAGE && why == NoSlots::Full;
        if !may_split || self.system.swap_slots().1 == 0 {
            // Not a candidate again soon: nothing will change for it before slots are free.
            folio.set(FolioFlags::ACTIVE);
            return put_back(folio.unlock());
        }
        self.system.count_thp(ThpStat::SwpoutFallback, order, 1);
        if order == Order::BLOCK {
            self.system.count(MmEvent::ThpSwpOutFallback, 1);
        }
        if let Err(folio) = self.system.split_folio(folio) {
            put_back(folio.unlock());
        }
    }

    /// Prepares a folio for being unmapped: says whether it has somewhere to go.
    fn way_of(&self, folio: &FolioLock<'s, M>) -> Way {
        if folio.is_pinned() || folio.has(FolioFlags::WRITEBACK) || !folio.has(FolioFlags::UPTODATE)
        {
            return Way::Stays;
        }
        if folio.has(FolioFlags::LAZYFREE) && folio.place() == Place::Nowhere {
            if !folio.has(FolioFlags::DIRTY) {
                return Way::Out;
            }
            folio.clear(FolioFlags::LAZYFREE);
        }
        if folio.has(FolioFlags::BAD_SLOT) && !self.system.try_free_swap(folio) {
            // Its slots cannot be written, and entries refer to them: it stays in memory.
            return Way::Stays;
        }
        let slots = match folio.place() {
            Place::Swap(_) => Ok(()),
            Place::Nowhere => self.system.add_to_swap(folio),
            Place::Shmem(place) => self.system.move_to_swap(place, folio),
        };
        slots.map_or_else(Way::Waits, |()| Way::Out)
    }

    /// Like [`Eviction::take`], for an anonymous folio that nothing but a run of a locked table maps. The table
    /// stays locked until [`Eviction::issue`].
    pub(crate) fn take_run(
        &mut self,
        folio: FolioRef<'s, M>,
        mm: &Arc<Mm<M>>,
        table: &mut PageTableLock<'_, M>,
        page: Vpn,
        nr: u32,
    ) {
        let locked = match folio.try_lock() {
            Ok(locked) => locked,
            Err(folio) => return put_back(folio),
        };
        match self.way_of(&locked) {
            Way::Out => {
                let _ = self.unmap_run(&locked, mm, table, page, 0, nr);
                let list = if locked.is_mapped() { &mut self.kept } else { &mut self.unmapped };
                list.push(locked);
            }
            Way::Stays => put_back(locked.unlock()),
            // A split waits for nobody, but takes table locks.
            Way::Waits(NoSlots::Full) => self.unslotted.push(locked),
            Way::Waits(why) => self.split_or_put_back(locked, why),
        }
    }

    /// Returns how many folios it has taken, of [`BATCH`] at most.
    pub(super) fn len(&self) -> usize {
        self.unmapped.len() + self.kept.len() + self.unslotted.len()
    }

    /// Starts the invalidations that are due. Called before a table is unlocked.
    pub(crate) fn issue(&mut self) {
        self.tlbs.issue();
    }

    /// Takes away every entry that maps the folio. `false` if one appeared or stays.
    fn unmap(&mut self, folio: &FolioLock<'s, M>) -> bool {
        if folio.place() == Place::Nowhere && folio.order() == Order::BLOCK {
            // Given up by MADV_FREE: whether it was written since is judged run by run.
            let _ = self.system.visit_mappings(folio, |at| {
                if let MappedBy::Block(block) = at.by {
                    block.split(at.page);
                }
                ControlFlow::Continue(())
            });
        }
        let _ = self.system.visit_mappings(folio, |at| match at.by {
            MappedBy::Table(table) => {
                let flow = self.unmap_run(folio, at.mm, table, at.page, at.index, at.nr);
                self.tlbs.issue();
                flow
            }
            MappedBy::Block(block) => self.unmap_block(folio, at.mm, block, at.page),
        });
        !folio.is_mapped()
    }

    fn unmap_block(
        &mut self,
        folio: &FolioLock<'s, M>,
        mm: &Arc<Mm<M>>,
        block: BlockLock<'_, M>,
        page: Vpn,
    ) -> ControlFlow<()> {
        let Place::Swap(first) = folio.place() else {
            // A fork was faster than the look before.
            block.split(page);
            return ControlFlow::Continue(());
        };
        let nr = Order::BLOCK.nr_pages();
        self.system.dup_slots(first, nr);
        mm.gauges().add_swap(nr.into());
        let old = block.replace_by_table(page, |table, _| {
            let first = NonPresent::Swap { entry: first, exclusive: false }.encode();
            table.fill_swap_run(Vpn::new(0), nr, first);
        });
        self.forget(folio, mm, old, base_of(page, 0), nr);
        ControlFlow::Continue(())
    }

    fn unmap_run(
        &mut self,
        folio: &FolioLock<'s, M>,
        mm: &Arc<Mm<M>>,
        table: &mut PageTableLock<'_, M>,
        page: Vpn,
        index: u32,
        nr: u32,
    ) -> ControlFlow<()> {
        let old = match folio.place() {
            Place::Nowhere => {
                let old = self.tlbs.replace_run(mm, table, page, nr, |_| 0);
                // An empty entry leads no fault to this folio's lock: the next one puts another page
                // here.
                self.tlbs.complete();
                if old.is_dirty() {
                    // Written: hardware marks an entry only while it is valid, so nothing comes
                    // later.
                    table.fill_run(page, nr, old);
                    folio.clear(FolioFlags::LAZYFREE);
                    return ControlFlow::Break(());
                }
                old
            }
            Place::Swap(first) if folio.is_anon() => {
                let first = first.add(index);
                let raw = NonPresent::Swap { entry: first, exclusive: false }.encode();
                let entry = |n| raw + u64::from(n) * NEXT_SLOT;
                // Counted before anybody can find the entries.
                self.system.dup_slots(first, nr);
                mm.gauges().add_swap(nr.into());
                self.tlbs.replace_run(mm, table, page, nr, entry)
            }
            Place::Swap(_) | Place::Shmem(_) => self.tlbs.replace_run(mm, table, page, nr, |_| 0),
        };
        self.forget(folio, mm, old, table.place(page, index), nr);
        ControlFlow::Continue(())
    }

    /// Undoes the bookkeeping of `nr` pages whose entries, `old` together, were taken away.
    fn forget(&self, folio: &FolioLock<'s, M>, mm: &Mm<M>, old: Pte, base: Vpn, nr: u32) {
        if old.is_dirty() {
            folio.set(FolioFlags::DIRTY);
        }
        mm.gauges().add_resident(Resident::of(folio), -i64::from(nr));
        // The eviction's own reference keeps the folio until the TLBs have forgotten it.
        drop(self.system.unmap_folio(folio.id(), folio, mm.id(), base, nr));
    }

    /// Writes and frees what was unmapped; puts back the rest. Returns the pages freed.
    pub(crate) fn finish(mut self) -> u64 {
        // From here on no CPU reads or writes any of the pages.
        if !self.system.is_weak(TlbFault::WrittenBeforeCompletion) {
            self.tlbs.complete();
        }
        self.kept.drain(..).for_each(|folio| put_back(folio.unlock()));
        while let Some(folio) = self.unslotted.pop() {
            self.split_or_put_back(folio, NoSlots::Full);
        }
        let writes = Writes::start(self.system, self.unmapped.drain(..));
        stop_point("writes started");
        let mut unused = ArrayVec::<FolioId, BATCH>::new();
        let mut freed = 0;
        for folio in writes.finish() {
            if let Some(folio) = let_go(folio) {
                freed += folio.order().nr_pages() as u64;
                unused.push(folio.into_raw());
            }
        }
        let system = self.system;
        unused.retain(|id| system.folio(*id).put());
        system.free_folios(&unused);
        freed
    }
}

/// Takes a folio out of the cache if nobody has come for it meanwhile, and returns the reference
/// that may be the last; puts it back on its list otherwise.
fn let_go<M: Machine>(folio: FolioRef<'_, M>) -> Option<FolioRef<'_, M>> {
    let system = folio.system();
    let locked = match folio.try_lock() {
        Ok(locked) => locked,
        Err(folio) => {
            put_back(folio);
            return None;
        }
    };
    let is_wanted = locked.is_mapped()
        || locked.has(FolioFlags::WRITEBACK)
        || !locked.has_no_other_reference(1)
        || system.refault().stays_cached;
    match locked.place() {
        _ if is_wanted => {}
        Place::Swap(entry) if !locked.has(FolioFlags::DIRTY) => {
            system.evict_from_cache(&locked, entry);
            return Some(locked.unlock());
        }
        Place::Nowhere if locked.has(FolioFlags::LAZYFREE) => {
            system.count(MmEvent::PgLazyFreed, locked.order().nr_pages() as u64);
            return Some(locked.unlock());
        }
        // Its slots were dropped while it was written: nobody needs it.
        Place::Nowhere => return Some(locked.unlock()),
        Place::Swap(_) | Place::Shmem(_) => {}
    }
    put_back(locked.unlock());
    None
}

/// Puts a folio back on its LRU list.
fn put_back<M: Machine>(folio: FolioRef<'_, M>) {
    folio.system().lru().add_new(folio.system(), folio.id(), &folio);
}

impl<M: Machine> Drop for Eviction<'_, M> {
    fn drop(&mut self) {
        self.tlbs.complete();
        let left = self.unmapped.drain(..).chain(self.kept.drain(..));
        let left = left.chain(self.unslotted.drain(..));
        left.for_each(|folio| put_back(folio.unlock()));
    }
}
