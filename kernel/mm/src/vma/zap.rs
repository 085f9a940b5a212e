// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file removes the entries of a range of pages and lets go of what they referred to.

use arrayvec::ArrayVec;

use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{Entry, Level, NonPresent, Pte};

use super::area::Area;
use crate::folio::FolioFlags;
use crate::mm::{Mm, PageTableLock, Resident};
use crate::rmap::base_of;
use crate::swap::SlotDrops;
use crate::tlb::TlbGather;

/// Pages of a shared object taken away between two completions.
const SHARED_CHUNK: usize = 64;

impl<M: Machine> Mm<M> {
    /// Empties the entries of `pages`, which lie in `area`. The mmap lock is held, in the way that
    /// `gather` was begun with.
    pub(crate) fn zap(&self, area: &Area<M>, pages: PageRange, gather: &mut TlbGather<'_, M>) {
        debug_assert!(area.pages().covers(pages));
        let mut page = pages.start;
        while page < pages.end {
            let table = match self.leaf_table_or_skip(page) {
                Ok(table) => table,
                Err(next) => {
                    page = next;
                    continue;
                }
            };
            let end = Level::L2.next_entry(page).min(pages.end);
            gather.make_room();
            let mut slots = SlotDrops::new(self.system());
            let mut lock = self.lock_leaf_table(table);
            if lock.nr_live() != 0 {
                let pages = PageRange::new(page, end);
                self.zap_table(&mut lock, area, pages, gather, &mut slots);
            }
            gather.unlock(lock);
            slots.finish();
            page = end;
            self.machine().cond_resched();
        }
    }

    fn zap_table(
        &self,
        lock: &mut PageTableLock<'_, M>,
        area: &Area<M>,
        pages: PageRange,
        gather: &mut TlbGather<'_, M>,
        slots: &mut SlotDrops<'_, M>,
    ) {
        // Taken away but still counted as mapped, so that reclaim cannot write a page of a shared
        // object out while some CPU may still store to it through its TLB.
        let mut counted = ArrayVec::<(Vpn, Pte), SHARED_CHUNK>::new();
        for page in pages.pages() {
            if lock.load(page) == 0 {
                continue;
            }
            let old = gather.replace(lock, page, 0);
            match Entry::decode(old) {
                Entry::Present(pte) if area.is_private() => self.forget_mapping(page, pte, gather),
                Entry::Present(pte) => counted.push((page, pte)),
                Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                    self.gauges().add_swap(-1);
                    slots.add(entry);
                }
                Entry::NonPresent(_) | Entry::Empty | Entry::Corrupt(_) => {}
            }
            if counted.is_full() {
                self.forget_settled(&mut counted, gather);
            }
        }
        self.forget_settled(&mut counted, gather);
    }

    fn forget_settled(
        &self,
        counted: &mut ArrayVec<(Vpn, Pte), SHARED_CHUNK>,
        gather: &mut TlbGather<'_, M>,
    ) {
        if counted.is_empty() {
            return;
        }
        gather.settle();
        for (page, pte) in counted.drain(..) {
            self.forget_mapping(page, pte, gather);
        }
    }

    /// Undoes the bookkeeping of a present entry that was taken away. Its dirty state goes to the
    /// folio; a reference to that, to `gather`.
    pub(crate) fn forget_mapping(&self, page: Vpn, pte: Pte, gather: &mut TlbGather<'_, M>) {
        if pte.is_special() {
            return;
        }
        let system = self.system();
        let id = system.words().folio(pte.pfn());
        let folio = system.folio(id);
        if pte.is_dirty() {
            folio.set(FolioFlags::DIRTY);
        }
        let index = pte.pfn().get() - folio.head().get();
        self.gauges().add_resident(Resident::of(folio), -1);
        gather.defer_put(system.unmap_folio(id, self.id(), base_of(page, index), 1));
    }
}
