// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file handles faults where a level-2 entry maps a block, or could map one.

use base::Order;
use hal::{Machine, PteSlot};

use super::{FaultError, Site};
use crate::events::MmEvent;
use crate::mm::{Mm, SpareTable};

impl<M: Machine> Mm<M> {
    /// Maps a new folio of 2 MiB as a block, if the first store to them should have one. Nothing maps
    /// the page, and there is no leaf table for it. Returns whether the fault is resolved.
    pub(super) fn fault_whole_block(&self, site: &Site<'_, M>) -> Result<bool, FaultError> {
        if !self.wants_order(site, Order::BLOCK) {
            return Ok(false);
        }
        let Some(slot) = self.ensure_empty_block(site.page)? else { return Ok(false) };
        let start = site.page.align_down(Order::BLOCK.nr_pages().into());
        let Ok(spare) = SpareTable::new(self) else { return Ok(false) };
        let Some(folio) = self.alloc_large(site, Order::BLOCK) else { return Ok(false) };
        let Some(empty) = self.lock_empty_block(slot) else { return Ok(true) };
        let pte = site.read_only_pte(folio.head()).writable().dirty();
        self.system().sync_code(&folio, pte);
        self.map_new_folio(start, folio, Order::BLOCK.nr_pages());
        empty.fill(pte, spare);
        Ok(true)
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
        let start = site.page.align_down(Order::BLOCK.nr_pages().into());
        let run = self.run_of_block(start, pte);
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
}
