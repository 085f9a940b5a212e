// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file handles faults on pages that are mapped: access and dirty state that hardware does
//! not set, stale TLB entries, and stores to pages that may be shared.
//!
//! A store to a private page is given the page itself if nobody else can see it: no other address
//! space maps it (known exactly), no swap entry refers to it, nobody holds a reference. Otherwise
//! the page is copied, with its tags if it has any.

use base::{Order, Pfn, Vpn};
use hal::Machine;
use pgtable::{Entry, Pte};

use super::{FaultError, Site};
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::mm::{Mm, PageTableLock};
use crate::system::System;

impl<M: Machine> Mm<M> {
    pub(super) fn fault_present(&self, site: &Site<'_, M>, table: Pfn) -> Result<bool, FaultError> {
        let mut lock = self.lock_leaf_table(table);
        let Entry::Present(pte) = lock.entry(site.page) else { return Ok(false) };
        if pte.is_on_device() {
            return self.fault_on_device(pte, lock).map(|()| false);
        }
        if pte.is_frozen() {
            let id = self.system().words().folio(pte.pfn());
            drop(lock);
            self.system().wait_for_folio(id);
            return Ok(false);
        }
        let pte = self.take_back(&mut lock, site.page, pte);
        let needs_write = site.is_write() && !pte.is_writable();
        if !needs_write {
            self.set_what_hardware_did_not(site, &mut lock);
            return Ok(false);
        }
        if !site.area.is_private() {
            // A shared page that was mapped for a load.
            self.update_whole_run(&mut lock, site.page, |pte| pte.young().writable().dirty());
            return Ok(false);
        }
        if pte.is_special() {
            drop(lock);
            return self.replace_zero_page(site, table).map(|()| false);
        }
        let id = self.system().words().folio(pte.pfn());
        let folio = self.system().get_folio(id);
        drop(lock);
        self.write_private(site, table, pte, folio).map(|()| false)
    }

    /// Sets access and dirty state for a permitted access, or drops a TLB entry of this CPU that
    /// is older than the one in memory.
    fn set_what_hardware_did_not(&self, site: &Site<'_, M>, lock: &mut PageTableLock<'_, M>) {
        let is_write = site.is_write();
        self.update_whole_run(lock, site.page, |pte| {
            if is_write { pte.young().dirty() } else { pte.young() }
        });
    }

    /// Changes the entry of `page`, and with it those that a TLB may hold together with it, and makes
    /// this CPU forget the old one: a permission fault may come from a cached entry.
    fn update_whole_run(
        &self,
        lock: &mut PageTableLock<'_, M>,
        page: Vpn,
        change: impl Fn(Pte) -> Pte,
    ) {
        let is_run = matches!(lock.entry(page), Entry::Present(pte) if pte.is_contiguous());
        let nr = if is_run { Order::CONT.nr_pages() } else { 1 };
        lock.update_run(page.align_down(nr.into()), nr, change);
        self.forget_locally(page);
    }

    /// Gives a store to the zero page a page of its own.
    fn replace_zero_page(&self, site: &Site<'_, M>, table: Pfn) -> Result<(), FaultError> {
        let folio = self.system().alloc_zeroed_page(site.area.flags.mem_type())?;
        let mut lock = self.lock_leaf_table(table);
        let is_zero_page = matches!(lock.entry(site.page), Entry::Present(pte) if pte.is_special());
        if is_zero_page {
            let pte = site.read_only_pte(folio.head()).writable().dirty();
            self.system().sync_code(&folio, pte);
            self.map_new_folio(lock.place(site.page, 0), folio, 1);
            self.replace_mapping(&mut lock, site.page, |_| pte.raw());
        }
        Ok(())
    }

    /// Resolves a store to a private page that is mapped read-only.
    fn write_private(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        seen: Pte,
        folio: FolioRef<'_, M>,
    ) -> Result<(), FaultError> {
        if folio.is_anon() && self.try_reuse(site, table, seen, &folio) {
            self.system().count(MmEvent::CowReuse, 1);
            return Ok(());
        }
        let copy = self.system().copy_page(seen.pfn(), site.area.flags.mem_type())?;
        let mut lock = self.lock_leaf_table(table);
        if !is_still(&lock, site, seen) {
            return Ok(());
        }
        let pte = site.read_only_pte(copy.head()).writable().dirty();
        self.system().sync_code(&copy, pte);
        self.map_new_folio(lock.place(site.page, 0), copy, 1);
        self.unfold(&mut lock, site.page);
        let run = self.run_at(&lock, site.page, seen.alone(), 1).expect("a folio's page");
        let old = self.replace_mapping(&mut lock, site.page, |_| pte.raw());
        // No TLB has the old entry any more: nothing is left for a gather to wait for.
        let left = self.forget_mapping(&run, Pte::from_raw(old));
        self.system().queue_if_partly_mapped(run.id, run.folio);
        drop(lock);
        left.into_iter().for_each(|left| self.system().free_orphan(left));
        self.system().count(MmEvent::CowCopy, 1);
        Ok(())
    }

    /// Makes the page writable if nobody else can see it. Returns `false` if it must be copied.
    fn try_reuse(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        seen: Pte,
        folio: &FolioRef<'_, M>,
    ) -> bool {
        if !self.system().is_mapped_only_by(folio, self.id()) {
            return false;
        }
        // Swap entries may refer to it as well. Its slots go if none does; that takes the lock.
        if folio.swap_entry().is_some() {
            let Ok(locked) = folio.clone().try_lock() else { return false };
            if !self.system().try_free_swap(&locked) {
                return false;
            }
        }
        let mut lock = self.lock_leaf_table(table);
        if !is_still(&lock, site, seen) {
            // Not what was judged: let the program try again.
            return true;
        }
        // Asked again under the table's lock. Nobody can come to share the page meanwhile: fork
        // needs the mmap lock alone, and no swap entry is left to fault it in from.
        let alone = self.system().is_mapped_only_by(folio, self.id())
            && folio.swap_entry().is_none()
            && folio.has_no_other_reference(1);
        if alone {
            self.update_whole_run(&mut lock, site.page, |pte| pte.young().writable().dirty());
        }
        alone
    }
}

/// Tells whether the entry still maps what it did, access and dirty state aside.
fn is_still<M: Machine>(lock: &PageTableLock<'_, M>, site: &Site<'_, M>, seen: Pte) -> bool {
    let Entry::Present(now) = lock.entry(site.page) else { return false };
    now.young().dirty() == seen.young().dirty()
}

impl<M: Machine> System<M> {
    /// Allocates a copy of a page, tags included if the page has any.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] after reclaim has done what it can.
    pub(crate) fn copy_page(
        &self,
        from: Pfn,
        mem: pgtable::MemType,
    ) -> Result<FolioRef<'_, M>, OutOfMemory> {
        let is_tagged = self.words().mte_state(from) == MteState::Tagged;
        let mte = if is_tagged { MteState::Tagged } else { MteState::Untagged };
        let flags = FolioFlags::UPTODATE | FolioFlags::DIRTY;
        let copy = self.alloc_folio(Order::PAGE, flags, mte, AllocMode::MayReclaim)?;
        self.machine().copy_frame(copy.head(), from);
        if is_tagged {
            let tags = self.machine().read_tags(from);
            self.machine().write_tags(copy.head(), &tags);
            self.count(MmEvent::MteTagsCopied, 1);
        } else if mem == pgtable::MemType::Tagged {
            self.make_page_tagged(copy.head());
        }
        self.count(MmEvent::PgAlloc, 1);
        Ok(copy)
    }
}
