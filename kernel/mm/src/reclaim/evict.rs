// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file evicts a batch of folios: slots, unmap, one wait for the TLBs, write, free.
//!
//! Each step is done for the whole batch before the next, so that one DSB serves all unmaps and
//! all writes are in flight together. A folio that cannot go on at some step goes back on its list
//! as it is.

use core::ops::ControlFlow;

use arrayvec::ArrayVec;

use hal::{IoTicket, Machine};
use pgtable::{NonPresent, Pte};

use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioId, FolioLock, FolioRef, Place};
use crate::mm::Resident;
use crate::rmap::{MappedAt, base_of};
use crate::swap::WriteOut;
use crate::system::System;
use crate::tlb::TlbBatch;

/// Folios evicted together.
pub(super) const BATCH: usize = 32;

/// A batch of folios on their way out. They were isolated from their LRU lists.
#[must_use = "the folios go, or go back, in finish()"]
pub(super) struct Eviction<'s, M: Machine> {
    system: &'s System<M>,
    tlbs: TlbBatch<'s, M>,
    /// Unmapped; the TLBs may still know them.
    unmapped: ArrayVec<FolioLock<'s, M>, BATCH>,
    /// Still mapped, but some entries are gone that the TLBs may still know. Locked until they do
    /// not, like the others: a fault on an entry left behind waits for the lock, so it cannot map
    /// anything there too early.
    kept: ArrayVec<FolioLock<'s, M>, BATCH>,
}

impl<'s, M: Machine> Eviction<'s, M> {
    pub(super) fn new(system: &'s System<M>) -> Self {
        let tlbs = TlbBatch::new(system);
        Self { system, tlbs, unmapped: ArrayVec::new(), kept: ArrayVec::new() }
    }

    /// Unmaps an isolated folio, or puts it back on its list.
    pub(super) fn take(&mut self, folio: FolioRef<'s, M>) {
        let locked = match folio.try_lock() {
            Ok(locked) => locked,
            Err(folio) => return put_back(folio),
        };
        if !self.can_go(&locked) {
            put_back(locked.unlock());
        } else if self.unmap(&locked) {
            self.unmapped.push(locked);
        } else {
            self.kept.push(locked);
        }
    }

    /// Prepares a folio for being unmapped: it has somewhere to go.
    fn can_go(&self, folio: &FolioLock<'s, M>) -> bool {
        if folio.is_pinned() || folio.has(FolioFlags::WRITEBACK) || !folio.has(FolioFlags::UPTODATE)
        {
            return false;
        }
        if folio.has(FolioFlags::LAZYFREE) && folio.place() == Place::Nowhere {
            if !folio.has(FolioFlags::DIRTY) {
                return true;
            }
            folio.clear(FolioFlags::LAZYFREE);
        }
        if folio.has(FolioFlags::BAD_SLOT) && !self.system.try_free_swap(folio) {
            // Its slots cannot be written, and entries refer to them: it stays in memory.
            return false;
        }
        let has_slots = match folio.place() {
            Place::Swap(_) => true,
            Place::Nowhere => self.system.add_to_swap(folio).is_ok(),
            Place::Shmem(place) => self.system.move_to_swap(place, folio).is_ok(),
        };
        if !has_slots {
            // Not a candidate again soon: nothing will change for it before slots are free.
            folio.set(FolioFlags::ACTIVE);
        }
        has_slots
    }

    /// Takes away every entry that maps the folio. `false` if one appeared or stays.
    fn unmap(&mut self, folio: &FolioLock<'s, M>) -> bool {
        let _ = self.system.visit_mappings(folio, |at| match folio.place() {
            Place::Nowhere => self.discard_entry(folio, at),
            Place::Swap(first) if folio.is_anon() => {
                let entry = NonPresent::Swap { entry: first.add(at.index), exclusive: false };
                // Counted before anybody can find the entry.
                self.system.dup_slot(first.add(at.index));
                let old = self.tlbs.replace(at.mm, at.table, at.page, entry.encode());
                at.mm.gauges().add_swap(1);
                self.forget(folio, &at, old);
                ControlFlow::Continue(())
            }
            Place::Swap(_) | Place::Shmem(_) => {
                let old = self.tlbs.replace(at.mm, at.table, at.page, 0);
                self.forget(folio, &at, old);
                ControlFlow::Continue(())
            }
        });
        !folio.is_mapped()
    }

    /// Takes away an entry of a page that MADV_FREE gave up, unless it was written since.
    fn discard_entry(
        &mut self,
        folio: &FolioLock<'s, M>,
        at: MappedAt<'_, '_, M>,
    ) -> ControlFlow<()> {
        let old = self.tlbs.replace(at.mm, at.table, at.page, 0);
        // An empty entry leads no fault to this folio's lock: the next one puts another page here.
        self.tlbs.complete();
        if Pte::from_raw(old).is_dirty() {
            // Written: hardware marks an entry only while it is valid, so nothing comes later.
            at.table.exchange(at.page, old);
            folio.clear(FolioFlags::LAZYFREE);
            return ControlFlow::Break(());
        }
        self.forget(folio, &at, old);
        ControlFlow::Continue(())
    }

    fn forget(&self, folio: &FolioLock<'s, M>, at: &MappedAt<'_, '_, M>, old: u64) {
        if Pte::from_raw(old).is_dirty() {
            folio.set(FolioFlags::DIRTY);
        }
        at.mm.gauges().add_resident(Resident::of(folio), -1);
        let base = base_of(at.page, at.index);
        // The eviction's own reference keeps the folio until the TLBs have forgotten it.
        drop(self.system.unmap_folio(folio.id(), folio, at.mm.id(), base, 1));
    }

    /// Writes and frees what was unmapped; puts back the rest. Returns the pages freed.
    pub(super) fn finish(mut self) -> u64 {
        // From here on no CPU reads or writes any of the pages.
        self.tlbs.complete();
        self.kept.drain(..).for_each(|folio| put_back(folio.unlock()));
        let mut written = ArrayVec::<(FolioRef<'s, M>, Option<IoTicket>), BATCH>::new();
        let system = self.system;
        for folio in self.unmapped.drain(..) {
            let needs_write = folio.swap_entry().is_some() && folio.has(FolioFlags::DIRTY);
            match needs_write.then(|| system.start_write_out(&folio)) {
                None | Some(WriteOut::Done) => written.push((folio.unlock(), None)),
                Some(WriteOut::InFlight(ticket)) => written.push((folio.unlock(), Some(ticket))),
                Some(WriteOut::NotStarted) => put_back(folio.unlock()),
            }
        }
        let mut unused = ArrayVec::<FolioId, BATCH>::new();
        let mut freed = 0;
        for (folio, ticket) in written {
            if let Some(ticket) = ticket {
                system.end_write_out(&folio, ticket);
            }
            if let Some(folio) = let_go(folio) {
                freed += folio.order().nr_pages() as u64;
                unused.push(folio.into_raw());
            }
        }
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
        || !locked.has_no_other_reference(1);
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
        left.for_each(|folio| put_back(folio.unlock()));
    }
}
