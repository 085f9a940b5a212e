// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives private anonymous memory its first page.
//!
//! A load maps the zero page, which every address space shares and no folio owns. A store gets a
//! folio of its own, zeroed; if the area is tagged, its tags are zeroed in the same pass.

use base::{Order, Pfn};
use hal::Machine;
use pgtable::{MemType, Pte};

use super::{FaultError, Site};
use crate::events::MmEvent;
use crate::folio::{Folio, FolioFlags, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::mm::{Mm, Resident};
use crate::system::System;

impl<M: Machine> Mm<M> {
    pub(super) fn fault_anonymous(&self, site: &Site<'_, M>, table: Pfn) -> Result<(), FaultError> {
        if !site.is_write() {
            let pte = site.read_only_pte(self.system().zero_page()).special();
            let mut lock = self.lock_leaf_table(table);
            if lock.load(site.page) == 0 {
                lock.exchange(site.page, pte.raw());
            }
            return Ok(());
        }
        let folio = self.system().alloc_zeroed_page(site.area.flags.mem_type())?;
        let mut lock = self.lock_leaf_table(table);
        if lock.load(site.page) == 0 {
            let pte = site.read_only_pte(folio.head()).writable().dirty();
            self.system().sync_code(&folio, pte);
            self.map_new_page(site.page, folio);
            lock.exchange(site.page, pte.raw());
        }
        Ok(())
    }

    /// Does the bookkeeping for a new anonymous folio of one page that is about to be mapped at
    /// `page`, and puts it on the LRU list. The table is locked.
    pub(super) fn map_new_page(&self, page: base::Vpn, folio: FolioRef<'_, M>) {
        let (id, folio) = folio.into_parts();
        self.system().map_new_folio(folio, self.id(), page, 1);
        self.gauges().add_resident(Resident::Anon, 1);
        self.system().lru().add_new(self.system(), id, folio);
    }
}

impl<M: Machine> System<M> {
    /// Allocates an anonymous folio of one page, zeroed; its tags too if it is for tagged memory.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] after reclaim has done what it can.
    pub(crate) fn alloc_zeroed_page(&self, mem: MemType) -> Result<FolioRef<'_, M>, OutOfMemory> {
        let mte = match mem {
            MemType::Normal => MteState::Untagged,
            MemType::Tagged => MteState::Tagged,
        };
        let flags = FolioFlags::UPTODATE | FolioFlags::DIRTY;
        let folio = self.alloc_folio(Order::PAGE, flags, mte, AllocMode::MayReclaim)?;
        match mte {
            MteState::Tagged => {
                self.machine().zero_frame_and_tags(folio.head());
                self.count(MmEvent::MteTagsZeroed, 1);
            }
            _ => self.machine().zero_frame(folio.head()),
        }
        self.count(MmEvent::PgAlloc, 1);
        Ok(folio)
    }

    /// Makes what the kernel has written to a folio visible to instruction fetch, if `pte`, which is
    /// about to map it, permits that (Linux does the same, `__sync_icache_dcache`).
    #[inline]
    pub(crate) fn sync_code(&self, folio: &Folio, pte: Pte) {
        if pte.is_executable() && !folio.has(FolioFlags::CODE_SYNCED) {
            folio.frames().for_each(|pfn| self.machine().sync_instructions(pfn));
            folio.set(FolioFlags::CODE_SYNCED);
        }
    }

    /// Makes the tags of a page mean something, for memory that has just become tagged: zeroes
    /// them unless they do already.
    pub(crate) fn make_page_tagged(&self, pfn: Pfn) {
        if pfn == self.zero_page() {
            return;
        }
        if self.words().make_tagged(pfn, || self.machine().zero_tags(pfn)) {
            self.count(MmEvent::MteTagsZeroed, 1);
        }
    }
}
