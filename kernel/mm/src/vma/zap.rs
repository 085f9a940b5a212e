// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file removes the entries of a range of pages and lets go of what they referred to.

use arrayvec::ArrayVec;

use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{Entry, Level, NonPresent, Pte};

use super::area::Area;
use crate::folio::{Folio, FolioFlags, FolioId, FolioRef};
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
        let mut gone = Gone::default();
        for page in pages.pages() {
            if lock.load(page) == 0 {
                continue;
            }
            let old = gather.replace(lock, page, 0);
            match Entry::decode(old) {
                Entry::Present(pte) if area.is_private() => {
                    self.let_go(page, pte, gather, &mut gone);
                }
                Entry::Present(pte) => counted.push((page, pte)),
                Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                    gone.swap += 1;
                    slots.add(entry);
                }
                Entry::NonPresent(_) | Entry::Empty | Entry::Corrupt(_) => {}
            }
            if counted.is_full() {
                self.let_settled_go(&mut counted, gather, &mut gone);
            }
        }
        self.let_settled_go(&mut counted, gather, &mut gone);
        self.gauges().add_resident(Resident::Anon, -gone.anon);
        self.gauges().add_resident(Resident::Shmem, -gone.shmem);
        self.gauges().add_swap(-gone.swap);
    }

    fn let_settled_go(
        &self,
        counted: &mut ArrayVec<(Vpn, Pte), SHARED_CHUNK>,
        gather: &mut TlbGather<'_, M>,
        gone: &mut Gone,
    ) {
        if counted.is_empty() {
            return;
        }
        gather.settle();
        for (page, pte) in counted.drain(..) {
            self.let_go(page, pte, gather, gone);
        }
    }

    /// Undoes the bookkeeping of a present entry that was taken away. A reference to what it mapped
    /// goes to `gather`, if the folio may be free without it before the TLBs have forgotten it.
    #[inline(always)]
    fn let_go(&self, page: Vpn, pte: Pte, gather: &mut TlbGather<'_, M>, gone: &mut Gone) {
        let Some((id, folio, base)) = self.mapped_folio(page, pte) else { return };
        *gone.of(Resident::of(folio)) += 1;
        if gather.has_completed() {
            let last = self.system().unmap_forgotten_folio(id, folio, self.id(), base, 1);
            last.into_iter().for_each(|folio| gather.defer_put(folio));
        } else {
            gather.defer_put(self.system().unmap_folio(id, folio, self.id(), base, 1));
        }
    }

    /// Undoes the bookkeeping of a present entry that was taken away and that no TLB has any more.
    /// If nothing maps the folio now, a reference to it comes back.
    pub(crate) fn forget_mapping(&self, page: Vpn, pte: Pte) -> Option<FolioRef<'_, M>> {
        let (id, folio, base) = self.mapped_folio(page, pte)?;
        self.gauges().add_resident(Resident::of(folio), -1);
        self.system().unmap_forgotten_folio(id, folio, self.id(), base, 1)
    }

    /// Returns the folio that a present entry maps, with the place it is mapped at, and gives it
    /// the entry's dirty state. `None`: no folio owns the page.
    #[inline]
    fn mapped_folio(&self, page: Vpn, pte: Pte) -> Option<(FolioId, &Folio, Vpn)> {
        if pte.is_special() {
            return None;
        }
        let id = self.system().words().folio(pte.pfn());
        let folio = self.system().folio(id);
        if pte.is_dirty() {
            folio.set(FolioFlags::DIRTY);
        }
        let index = pte.pfn().get() - folio.head().get();
        Some((id, folio, base_of(page, index)))
    }
}

/// How many entries of a kind one table has lost, for the address space's gauges.
#[derive(Default)]
struct Gone {
    anon: i64,
    shmem: i64,
    swap: i64,
}

impl Gone {
    fn of(&mut self, kind: Resident) -> &mut i64 {
        match kind {
            Resident::Anon => &mut self.anon,
            Resident::Shmem => &mut self.shmem,
        }
    }
}
