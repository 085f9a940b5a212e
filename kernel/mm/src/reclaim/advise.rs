// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reclaims, or ages, the pages of a range because the program says so: MADV_PAGEOUT and
//! MADV_COLD.
//!
//! Pages that another address space maps as well are left alone, as on Linux.

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Entry, Level, Pte};

use super::evict::{BATCH, Eviction};
use crate::folio::FolioRef;
use crate::mm::{Mapped, Mm, PageTableLock, Run};
use crate::vma::Area;

impl<M: Machine> Mm<M> {
    /// Reclaims the pages of a range now (`evict`), or makes them the first candidates. The mmap
    /// lock is held shared.
    pub(crate) fn page_out_range(&self, area: &Area<M>, pages: PageRange, evict: bool) {
        debug_assert!(area.pages().covers(pages));
        let mut left = pages;
        while let Some((part, mapped)) = self.next_mapped(left) {
            left.start = match mapped {
                Mapped::Table(table) => self.page_out_some(table, part, evict),
                Mapped::Block(slot) => {
                    if part.nr_pages() != Level::L2.span_pages() {
                        self.split_block(slot, part.start);
                        continue;
                    }
                    let isolated = self.isolate_block(slot, part.start);
                    self.page_out_isolated(isolated.into_iter(), evict);
                    part.end
                }
            };
            self.machine().cond_resched();
        }
    }

    /// Takes up to a batch of folios and returns where it stopped. A folio that lies in `pages` in part
    /// only is split, so that the rest stays.
    fn page_out_some(&self, table: Pfn, pages: PageRange, evict: bool) -> Vpn {
        let mut isolated = ArrayVec::<FolioRef<'_, M>, BATCH>::new();
        let mut lock = self.lock_leaf_table(table);
        self.unfold_edges(&mut lock, pages);
        let mut page = pages.start;
        let mut partial = None;
        while page < pages.end && !isolated.is_full() {
            let mut nr = 1;
            if let Entry::Present(pte) = lock.entry(page) {
                let most = (pages.end.get() - page.get()) as u32;
                if let Some(run) = self.run_at(&lock, page, pte, most) {
                    nr = run.nr;
                    if self.is_alone_with_part(&run) {
                        partial = Some((self.system().get_folio(run.id), nr));
                        break;
                    }
                    isolated.extend(self.isolate_run(&run, &mut lock));
                }
            }
            page = page.add(nr.into());
        }
        drop(lock);
        self.page_out_isolated(isolated.into_iter(), evict);
        let Some((folio, nr)) = partial else { return page };
        if self.system().try_split(folio) { page } else { page.add(nr.into()) }
    }

    fn page_out_isolated<'s>(
        &'s self,
        isolated: impl Iterator<Item = FolioRef<'s, M>>,
        evict: bool,
    ) {
        let system = self.system();
        if evict {
            let mut eviction = Eviction::new(system);
            isolated.for_each(|folio| eviction.take(folio));
            eviction.finish();
        } else {
            isolated.for_each(|folio| system.lru().add_coldest(system, folio.id()));
        }
    }

    /// Makes a run look unused and takes its folio off the LRU list, if the run is all of it and this
    /// address space the only one that maps it.
    fn isolate_run(
        &self,
        run: &Run<'_>,
        lock: &mut PageTableLock<'_, M>,
    ) -> Option<FolioRef<'_, M>> {
        if !self.is_alone_with(run) {
            return None;
        }
        lock.update_run(run.page, run.nr, Pte::old);
        self.isolate_folio(run)
    }

    /// Like [`Mm::isolate_run`], for the block at `slot`.
    fn isolate_block(&self, slot: PteSlot, page: Vpn) -> Option<FolioRef<'_, M>> {
        let mut block = self.lock_block(slot)?;
        let run = self.run_of_block(page, block.pte());
        if !self.is_alone_with(&run) {
            return None;
        }
        block.update(Pte::old);
        self.isolate_folio(&run)
    }

    /// Tells whether the run is part of a folio that only this address space maps.
    pub(crate) fn is_alone_with_part(&self, run: &Run<'_>) -> bool {
        !run.is_whole()
            && run.folio.is_anon()
            && !run.pte.is_frozen()
            && self.system().is_mapped_only_by(run.folio, self.id())
    }

    fn is_alone_with(&self, run: &Run<'_>) -> bool {
        run.is_whole() && self.system().is_mapped_only_by(run.folio, self.id())
    }

    fn isolate_folio(&self, run: &Run<'_>) -> Option<FolioRef<'_, M>> {
        let folio = self.system().get_folio(run.id);
        self.system().lru().isolate(&folio).then_some(folio)
    }
}
