// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file removes the entries of a range of pages and lets go of what they referred to.

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Entry, Level, NonPresent, Pte};

use super::area::Area;
use crate::folio::FolioRef;
use crate::lab::TlbFault;
use crate::mm::{Mapped, Mm, PageTableLock, Resident, Run};
use crate::swap::SlotDrops;
use crate::tlb::TlbGather;

/// Pages of a shared object taken away between two completions.
const SHARED_CHUNK: usize = 64;

impl<M: Machine> Mm<M> {
    /// Empties the entries of `pages`, which lie in `area`. The mmap lock is held, in the way that
    /// `gather` was begun with.
    pub(crate) fn zap(&self, area: &Area<M>, pages: PageRange, gather: &mut TlbGather<'_, M>) {
        debug_assert!(area.pages().covers(pages));
        let mut left = pages;
        while let Some((part, mapped)) = self.next_mapped(left) {
            match mapped {
                Mapped::Table(table) => self.zap_in_table(area, table, part, gather),
                Mapped::Block(slot) if part.nr_pages() == Level::L2.span_pages() => {
                    if !self.zap_block(slot, part, gather) {
                        continue;
                    }
                }
                Mapped::Block(slot) => {
                    self.split_block(slot, part.start);
                    continue;
                }
            }
            left.start = part.end;
            self.machine().cond_resched();
        }
    }

    /// Takes a whole block away; `false` if it is none any more.
    fn zap_block(&self, slot: PteSlot, pages: PageRange, gather: &mut TlbGather<'_, M>) -> bool {
        gather.make_room(1);
        let Some(mut block) = self.lock_block(slot) else { return false };
        let run = self.run_of_block(pages.start, block.pte());
        let old = gather.take_block(&mut block, pages);
        let mut gone = Gone::default();
        if let Some(run) = run {
            self.let_go(&run, old, gather, &mut gone);
        }
        gather.unlock_block(block);
        gone.settle(self);
        true
    }

    fn zap_in_table(
        &self,
        area: &Area<M>,
        table: Pfn,
        pages: PageRange,
        gather: &mut TlbGather<'_, M>,
    ) {
        gather.make_room(pages.nr_pages());
        let mut slots = SlotDrops::new(self.system());
        let mut lock = self.lock_leaf_table(table);
        if lock.nr_live() != 0 {
            self.unfold_edges(&mut lock, pages);
            self.zap_entries(&mut lock, area, pages, gather, &mut slots);
        }
        gather.unlock(lock);
        slots.finish();
    }

    fn zap_entries(
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
        let mut page = pages.start;
        while page < pages.end {
            let raw = lock.load(page);
            let mut nr = 1;
            match Entry::decode(raw) {
                Entry::Empty => {}
                Entry::Present(pte) if area.is_private() => {
                    let most = (pages.end.get() - page.get()) as u32;
                    match self.run_at(lock, page, pte, most) {
                        Some(run) => {
                            nr = run.nr;
                            let old = gather.replace_run(lock, page, nr, |_| 0);
                            self.let_go(&run, old, gather, &mut gone);
                        }
                        None => drop(gather.replace(lock, page, 0)),
                    }
                }
                Entry::Present(_) => {
                    counted.push((page, Pte::from_raw(gather.replace(lock, page, 0))));
                    if counted.is_full() {
                        self.let_settled_go(lock, &mut counted, gather, &mut gone);
                    }
                }
                Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                    nr = lock.swap_run_len(page, raw, (pages.end.get() - page.get()) as u32);
                    lock.empty_swap_run(page, nr);
                    gone.swap += i64::from(nr);
                    slots.add(entry, nr);
                }
                Entry::NonPresent(_) | Entry::Corrupt(_) => drop(gather.replace(lock, page, 0)),
            }
            page = page.add(nr.into());
        }
        self.let_settled_go(lock, &mut counted, gather, &mut gone);
        gone.settle(self);
    }

    fn let_settled_go(
        &self,
        lock: &PageTableLock<'_, M>,
        counted: &mut ArrayVec<(Vpn, Pte), SHARED_CHUNK>,
        gather: &mut TlbGather<'_, M>,
        gone: &mut Gone,
    ) {
        if counted.is_empty() {
            return;
        }
        if !self.system().is_weak(TlbFault::SharedUnsettled) {
            gather.settle();
        }
        for (page, pte) in counted.drain(..) {
            if let Some(run) = self.run_at(lock, page, pte, 1) {
                self.let_go(&run, pte, gather, gone);
            }
        }
    }

    /// Undoes the bookkeeping of a run whose entries, `old` together, were taken away. A reference to
    /// the folio goes to `gather`, if it may be free without it before the TLBs have forgotten it.
    #[inline(always)]
    fn let_go(&self, run: &Run<'_>, old: Pte, gather: &mut TlbGather<'_, M>, gone: &mut Gone) {
        let system = self.system();
        run.carry_dirty(old);
        *gone.of(Resident::of(run.folio)) += i64::from(run.nr);
        let (id, folio, base) = (run.id, run.folio, run.base);
        if gather.has_completed() && !folio.is_large() {
            let last = system.unmap_forgotten_folio(id, folio, self.id(), base, run.nr);
            last.into_iter().for_each(|folio| gather.defer_put(folio));
        } else {
            let kept = system.unmap_folio(id, folio, self.id(), base, run.nr);
            system.queue_if_partly_mapped(id, folio);
            gather.defer_put(kept);
        }
    }

    /// Undoes the bookkeeping of a present entry that was taken away and that no TLB has any more.
    /// If nothing maps the folio now, a reference to it comes back.
    pub(crate) fn forget_mapping(&self, run: &Run<'_>, old: Pte) -> Option<FolioRef<'_, M>> {
        run.carry_dirty(old);
        self.gauges().add_resident(Resident::of(run.folio), -i64::from(run.nr));
        let (folio, base) = (self.system().folio(run.id), run.base);
        self.system().unmap_forgotten_folio(run.id, folio, self.id(), base, run.nr)
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

    fn settle<M: Machine>(self, mm: &Mm<M>) {
        mm.gauges().add_resident(Resident::Anon, -self.anon);
        mm.gauges().add_resident(Resident::Shmem, -self.shmem);
        mm.gauges().add_swap(-self.swap);
    }
}
