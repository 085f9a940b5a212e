// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file handles faults where a level-2 entry maps a block, or could map one.

use base::{Order, PageRange, Vpn};
use hal::{Access, Machine, PteSlot};
use pgtable::{Prot, Pte};

use super::{FaultError, Site};
use crate::events::MmEvent;
use crate::folio::FolioRef;
use crate::mm::{Mm, SpareTable};
use crate::vma::Area;

impl<M: Machine> Mm<M> {
    /// Maps 2 MiB as a block, if the area may have one: for a load the zeroes that all share, else a
    /// new folio (Linux: `do_huge_pmd_anonymous_page`). Nothing maps the page, and there is no leaf
    /// table for it. Returns whether the fault is resolved.
    pub(super) fn fault_whole_block(&self, site: &Site<'_, M>) -> Result<bool, FaultError> {
        if !self.may_have_order(site, Order::BLOCK) {
            return Ok(false);
        }
        let Some(slot) = self.ensure_empty_block(site.page)? else { return Ok(false) };
        let Ok(spare) = SpareTable::new(self) else { return Ok(false) };
        if !site.is_write() && self.system().thp().settings().use_zero_page() {
            return Ok(self.map_huge_zero_page(site, slot, spare));
        }
        let Some(folio) = self.alloc_large(site, Order::BLOCK) else { return Ok(false) };
        let Some(empty) = self.lock_empty_block(slot) else { return Ok(true) };
        empty.fill(self.map_new_block(site, folio), spare);
        Ok(true)
    }

    /// Maps the zeroes, unless somebody has mapped anything there meanwhile; `false` if there are none.
    fn map_huge_zero_page(
        &self,
        site: &Site<'_, M>,
        slot: PteSlot,
        spare: SpareTable<'_, M>,
    ) -> bool {
        let Ok(zeroes) = self.huge_zero_page() else {
            self.system().count(MmEvent::ThpFaultFallback, 1);
            return false;
        };
        if let Some(empty) = self.lock_empty_block(slot) {
            empty.fill(site.read_only_pte(zeroes).special(), spare);
        }
        true
    }

    /// Does the bookkeeping for a new folio of 2 MiB and returns the block that is to map it. The table
    /// is locked.
    fn map_new_block(&self, site: &Site<'_, M>, folio: FolioRef<'_, M>) -> Pte {
        let pte = site.read_only_pte(folio.head()).dirty();
        // A load gets a folio too, where it may not have zeroes.
        let is_writable = site.area.flags.prot().contains(Prot::WRITE);
        let pte = if is_writable { pte.writable() } else { pte };
        self.system().sync_code(&folio, pte);
        self.map_new_folio(block_start(site.page), folio, Order::BLOCK.nr_pages());
        pte
    }

    /// Resolves a fault on a page that the block at `slot` maps.
    pub(super) fn fault_block(&self, site: &Site<'_, M>, slot: PteSlot) -> Result<(), FaultError> {
        let Some(mut block) = self.lock_block(slot) else { return Ok(()) };
        let pte = block.pte();
        if !site.is_write() || pte.is_writable() {
            // What hardware did not do, or a TLB entry of this CPU that is out of date.
            block.update(|pte| if site.is_write() { pte.young().dirty() } else { pte.young() });
            self.forget_locally(site.page);
            return Ok(());
        }
        let Some(run) = self.run_of_block(block_start(site.page), pte) else {
            drop(block);
            self.replace_huge_zero_page(site, slot);
            return Ok(());
        };
        let alone = self.system().is_mapped_only_by(run.folio, self.id())
            && run.folio.swap_entry().is_none()
            && run.folio.has_no_other_reference(0);
        if alone {
            block.update(|pte| pte.young().writable().dirty());
            self.forget_locally(site.page);
            self.system().count(MmEvent::CowReuse, 1);
        } else {
            // One page is copied, of a table's.
            block.split(site.page);
        }
        Ok(())
    }

    /// Maps a folio that has the content of the 2 MiB at `start` already (`thp/collapse.rs`) at the entry
    /// `slot`, which is empty. The mmap lock is held alone.
    pub(crate) fn map_collapsed(
        &self,
        (area, start): (&Area<M>, Vpn),
        slot: PteSlot,
        folio: FolioRef<'_, M>,
        spare: SpareTable<'_, M>,
    ) {
        let site = Site { area, page: start, access: Access::Write };
        let empty = self.lock_empty_block(slot).expect("collapse: nobody maps anything meanwhile");
        empty.fill(self.map_new_block(&site, folio), spare);
    }

    /// Gives a store to the huge zero page a folio of 2 MiB in its place, or, if none is to be had,
    /// entries of which the next fault replaces one (Linux: `do_huge_zero_wp_pmd`).
    fn replace_huge_zero_page(&self, site: &Site<'_, M>, slot: PteSlot) {
        // The area may have become smaller than the block: advice about a part does not split it.
        let pages = PageRange::of_len(block_start(site.page), Order::BLOCK.nr_pages().into());
        let fits = site.area.pages().covers(pages);
        let folio = if fits { self.alloc_large(site, Order::BLOCK) } else { None };
        let Some(block) = self.lock_block(slot) else { return };
        if !block.pte().is_special() {
            // Another thread was faster.
            return;
        }
        match folio {
            Some(folio) => block.replace(site.page, self.map_new_block(site, folio)),
            None => block.split(site.page),
        }
    }
}

fn block_start(page: Vpn) -> Vpn {
    page.align_down(Order::BLOCK.nr_pages().into())
}
