// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reclaims, or ages, the pages of a range because the program says so: MADV_PAGEOUT and
//! MADV_COLD.
//!
//! Pages that another address space maps as well are left alone, as on Linux.

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Level, Pte};

use super::evict::{BATCH, Eviction};
use crate::folio::FolioRef;
use crate::mm::{Mapped, Mm, Run};
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
                    if !self.page_out_block(slot, part, evict) {
                        self.split_block(slot, part.start);
                        continue;
                    }
                    part.end
                }
            };
            self.machine().cond_resched();
        }
    }

    /// Takes up to a batch of folios and returns where it stopped. A folio that lies in `pages` in part
    /// only is split, so that the rest stays.
    fn page_out_some(&self, table: Pfn, pages: PageRange, evict: bool) -> Vpn {
        // Holds itself: a reverse-map walk would find the same.
        let Some(me) = self.system().mms().get(self.id()) else { return pages.end };
        let mut eviction = Eviction::new(self.system());
        let mut lock = self.lock_leaf_table(table);
        self.unfold_edges(&mut lock, pages);
        let mut page = pages.start;
        let mut partial = None;
        // Pages of objects: the object's lock ranks above the table's.
        let mut others = ArrayVec::<FolioRef<'_, M>, BATCH>::new();
        while page < pages.end && eviction.len() + others.len() < BATCH {
            let mut nr = 1;
            if let Some(pte) = lock.present(page) {
                let most = (pages.end.get() - page.get()) as u32;
                if let Some(run) = self.run_at(&lock, page, pte, most) {
                    nr = run.nr;
                    if self.is_alone_with_part(&run) {
                        partial = Some((self.system().get_folio(run.id), nr));
                        break;
                    }
                    if let Some(folio) = self.isolate_run(&run) {
                        if !evict {
                            lock.update_run(page, nr, Pte::old);
                            self.system().lru().add_coldest(self.system(), folio.id());
                        } else if folio.is_anon() {
                            eviction.take_run(folio, &me, &mut lock, page, nr);
                        } else {
                            others.push(folio);
                        }
                    }
                }
            }
            page = page.add(nr.into());
        }
        eviction.issue();
        drop(lock);
        others.into_iter().for_each(|folio| eviction.take(folio));
        eviction.finish();
        let Some((folio, nr)) = partial else { return page };
        if self.system().try_split(folio) { page } else { page.add(nr.into()) }
    }

    /// Takes a run's folio off the LRU list, if the run is all of it and this address space the only
    /// one that maps it.
    pub(crate) fn isolate_run(&self, run: &Run<'_>) -> Option<FolioRef<'_, M>> {
        if !run.is_whole() || !self.system().is_mapped_only_by(run.folio, self.id()) {
            return None;
        }
        let folio = self.system().get_folio(run.id);
        self.system().lru().isolate(&folio).then_some(folio)
    }

    /// Pages out, or ages, the block at `slot`, which maps `part`, or leaves it to others that use it;
    /// `false` if it must be split.
    fn page_out_block(&self, slot: PteSlot, part: PageRange, evict: bool) -> bool {
        let Some(mut block) = self.lock_block(slot) else { return false };
        // Zeroes are not on the lists, nor taken apart for it.
        let Some(run) = self.run_of_block(part.start, block.pte()) else { return true };
        if part.nr_pages() != Level::L2.span_pages() {
            return false;
        }
        let Some(folio) = self.isolate_run(&run) else { return true };
        block.update(Pte::old);
        drop(block);
        if evict {
            let mut eviction = Eviction::new(self.system());
            eviction.take(folio);
            eviction.finish();
        } else {
            self.system().lru().add_coldest(self.system(), folio.id());
        }
        true
    }

    /// Tells whether the run is part of a folio that only this address space maps.
    pub(crate) fn is_alone_with_part(&self, run: &Run<'_>) -> bool {
        !run.is_whole()
            && run.folio.is_anon()
            && !run.pte.is_frozen()
            && self.system().is_mapped_only_by(run.folio, self.id())
    }
}
