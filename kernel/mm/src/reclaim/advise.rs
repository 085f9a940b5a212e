// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reclaims, or ages, the pages of a range because the program says so: MADV_PAGEOUT and
//! MADV_COLD.
//!
//! Pages that another address space maps as well are left alone, as on Linux.

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::Machine;
use pgtable::{Entry, Level, Pte};

use super::evict::{BATCH, Eviction};
use crate::folio::FolioRef;
use crate::mm::{Mm, PageTableLock};
use crate::vma::Area;

impl<M: Machine> Mm<M> {
    /// Reclaims the pages of a range now (`evict`), or makes them the first candidates. The mmap
    /// lock is held shared.
    pub(crate) fn page_out_range(&self, area: &Area<M>, pages: PageRange, evict: bool) {
        debug_assert!(area.pages().covers(pages));
        let mut page = pages.start;
        while page < pages.end {
            match self.leaf_table_or_skip(page) {
                Ok(table) => {
                    let end = Level::L2.next_entry(page).min(pages.end);
                    page = self.page_out_some(table, PageRange::new(page, end), evict);
                    self.machine().cond_resched();
                }
                Err(next) => page = next,
            }
        }
    }

    /// Takes up to a batch of pages and returns where it stopped.
    fn page_out_some(&self, table: Pfn, pages: PageRange, evict: bool) -> Vpn {
        let mut isolated = ArrayVec::<FolioRef<'_, M>, BATCH>::new();
        let mut lock = self.lock_leaf_table(table);
        let mut page = pages.start;
        while page < pages.end && !isolated.is_full() {
            isolated.extend(self.isolate_page(&mut lock, page));
            page = page.add(1);
        }
        drop(lock);
        let system = self.system();
        if evict {
            let mut eviction = Eviction::new(system);
            isolated.into_iter().for_each(|folio| eviction.take(folio));
            eviction.finish();
        } else {
            for folio in isolated {
                system.lru().add_coldest(system, folio.id());
            }
        }
        page
    }

    /// Makes the page look unused and takes its folio off the LRU list, if this address space is
    /// the only one that maps it.
    fn isolate_page(&self, lock: &mut PageTableLock<'_, M>, page: Vpn) -> Option<FolioRef<'_, M>> {
        let Entry::Present(pte) = lock.entry(page) else { return None };
        if pte.is_special() {
            return None;
        }
        let id = self.system().words().folio(pte.pfn());
        if !self.system().is_mapped_only_by(self.system().folio(id), self.id()) {
            return None;
        }
        lock.update(page, |raw| Pte::from_raw(raw).old().raw());
        let folio = self.system().get_folio(id);
        self.system().lru().isolate(&folio).then_some(folio)
    }
}
