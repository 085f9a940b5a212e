// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings a swapped page back for the program that touches it.
//!
//! All swap-in goes through the swap cache, so two faults on one slot meet in one folio, and its
//! lock decides who restores the tags. The order matters: content read, tags restored, and only
//! then the slot's count lowered and the entry written, both under the table's lock. The slot and
//! its tags live until the folio leaves the cache, which takes the folio lock held here.

use base::{Pfn, Vpn};
use hal::{Access, Machine, PteSlot};
use pgtable::{Entry, MemType, NonPresent, Pte, SwapEntry};

use super::{FaultError, Site};
use crate::folio::{FolioFlags, FolioLock};
use crate::mm::{Mm, Resident};
use crate::rmap::base_of;
use crate::swap::SwapInError;
use crate::vma::Area;

impl<M: Machine> Mm<M> {
    /// Maps the swapped page at `page` as a load would, whatever the area's rights; the mmap lock is
    /// held.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no memory for it, or it cannot be read.
    pub(crate) fn fault_in_swapped(&self, area: &Area<M>, page: Vpn) -> Result<(), FaultError> {
        let Some(table) = self.leaf_table(page) else { return Ok(()) };
        let raw = self.machine().load(PteSlot::new(table, pgtable::index_of(page)));
        let Entry::NonPresent(NonPresent::Swap { entry, .. }) = Entry::decode(raw) else {
            return Ok(());
        };
        let site = Site { area, page, access: Access::Read };
        self.fault_swap(&site, table, entry, raw).map(|_| ())
    }

    pub(super) fn fault_swap(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        entry: SwapEntry,
        seen: u64,
    ) -> Result<bool, FaultError> {
        let system = self.system();
        let (folio, is_major) = match system.swap_in(entry, FolioFlags::empty()) {
            Ok(found) => found,
            // Somebody else has brought it back, or swapoff has: look again.
            Err(SwapInError::Stale) => return self.check_stale(site, table, seen, entry),
            Err(SwapInError::Unreadable) => return Err(FaultError::NoContent),
            Err(SwapInError::OutOfMemory) => return Err(FaultError::OutOfMemory),
        };
        let folio = folio.lock();
        let Some(first) = folio.swap_entry().filter(|first| first.area == entry.area) else {
            return Ok(is_major);
        };
        let index = entry.slot.wrapping_sub(first.slot);
        if index >= folio.order().nr_pages() {
            return Ok(is_major);
        }
        if !folio.has(FolioFlags::UPTODATE) {
            return Err(FaultError::NoContent);
        }
        let pfn = folio.head().add(index);
        if site.area.flags.mem_type() == MemType::Tagged {
            // The slot's tags were restored with the content; a page that never had any gets zeroes.
            system.make_page_tagged(pfn);
        }
        system.sync_code(&folio, site.read_only_pte(pfn));
        self.map_swapped_page(site, table, seen, &folio, index, entry)?;
        Ok(is_major)
    }

    fn map_swapped_page(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        seen: u64,
        folio: &FolioLock<'_, M>,
        index: u32,
        entry: SwapEntry,
    ) -> Result<(), FaultError> {
        let system = self.system();
        let pfn = folio.head().add(index);
        let mut lock = self.lock_leaf_table(table);
        if lock.load(site.page) != seen {
            return Ok(());
        }
        system.map_folio(folio, self.id(), base_of(site.page, index), 1)?;
        system.drop_slots(entry, 1);
        let pte = self.swapped_pte(site, pfn, folio);
        lock.exchange(site.page, pte.raw());
        self.gauges().add_resident(Resident::of(folio), 1);
        self.gauges().add_swap(-1);
        drop(lock);
        system.lru().mark_accessed(system, folio.id());
        Ok(())
    }

    /// Chooses the rights of a page that comes back: writable at once for a store if nobody else
    /// can see it, so that the store does not fault again.
    fn swapped_pte(&self, site: &Site<'_, M>, pfn: Pfn, folio: &FolioLock<'_, M>) -> Pte {
        let pte = site.read_only_pte(pfn);
        let may_write = site.area.flags.prot().contains(pgtable::Prot::WRITE);
        let alone = may_write
            && site.is_write()
            && self.system().is_mapped_only_by(folio, self.id())
            && self.system().try_free_swap(folio)
            && folio.has_no_other_reference(1);
        if alone { pte.writable().dirty() } else { pte }
    }

    /// Decides about an entry whose slot is in nobody's use.
    fn check_stale(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        seen: u64,
        entry: SwapEntry,
    ) -> Result<bool, FaultError> {
        if self.lock_leaf_table(table).load(site.page) != seen {
            return Ok(false);
        }
        // An entry keeps its slot in use: this one was not written by this kernel, or its area is
        // wrong. Linux complains and sends SIGBUS as well.
        log::error!("{:?}: {:?} names slot {entry:?}, which is not in use", self.id(), site.page);
        Err(FaultError::NoContent)
    }
}
