// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives private anonymous memory its first pages.
//!
//! A load maps the zero page, which every address space shares and no folio owns. A store gets a
//! folio of its own, zeroed, the largest that the area may have and that there is a run of frames
//! for; if the area is tagged, its tags are zeroed in the same pass.

use base::{Order, Pfn, Vpn};
use hal::{Machine, PteCell, PteTable};
use pgtable::{MemType, Pte, index_of};

use super::{FaultError, Site};
use crate::events::MmEvent;
use crate::folio::{Folio, FolioFlags, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::mm::{Mm, Resident};
use crate::system::System;
use crate::thp::{OrderSet, ThpStat};

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
        let orders = self.allowed_orders(site.area);
        if !orders.is_empty()
            && let Some((folio, start)) = self.alloc_largest(site, table, orders)
        {
            let order = folio.order();
            self.map_zeroed(site, table, start, folio, order);
            return Ok(());
        }
        let folio = self.system().alloc_zeroed_page(site.area.flags.mem_type())?;
        self.map_zeroed(site, table, site.page, folio, Order::PAGE);
        Ok(())
    }

    /// Maps a new folio of `order` from `start` on, unless somebody has mapped anything there meanwhile.
    #[inline(always)]
    fn map_zeroed(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        start: Vpn,
        folio: FolioRef<'_, M>,
        order: Order,
    ) {
        let nr = order.nr_pages();
        let mut lock = self.lock_leaf_table(table);
        if !lock.is_empty_run(start, nr) {
            return;
        }
        let pte = site.read_only_pte(folio.head()).writable().dirty();
        self.system().sync_code(&folio, pte);
        self.map_new_folio(lock.place(start, 0), folio, nr);
        match order {
            Order::PAGE => lock.fill(start, pte.alone().raw()),
            _ => lock.fill_run(start, nr, pte),
        }
    }

    /// Allocates the largest folio of one of `orders` that fits here and whose pages nothing maps yet,
    /// if there are frames for one. Returns the page that its first page belongs at, too.
    fn alloc_largest(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        orders: OrderSet,
    ) -> Option<(FolioRef<'_, M>, Vpn)> {
        let entries = self.machine().table(table);
        let is_empty = |start: Vpn, order: Order| {
            let first = index_of(start);
            entries.cells(first..first + order.nr_pages() as usize).all(|cell| cell.load() == 0)
        };
        // A folio of 2 MiB is mapped as a block, and not here.
        let orders = orders.minus(OrderSet::of(Order::BLOCK));
        for order in orders.fitting(site.page, site.area.pages()).iter() {
            let start = site.page.align_down(order.nr_pages().into());
            if !is_empty(start, order) {
                continue;
            }
            if let Some(folio) = self.alloc_large(site, order) {
                return Some((folio, start));
            }
        }
        None
    }

    /// Tells whether the area may have a folio of `order`, and one fits around the page.
    pub(super) fn may_have_order(&self, site: &Site<'_, M>, order: Order) -> bool {
        self.allowed_orders(site.area)
            .intersect(OrderSet::of(order))
            .fitting(site.page, site.area.pages())
            .contains(order)
    }

    /// Allocates a zeroed large folio, or counts that there was none.
    pub(super) fn alloc_large(&self, site: &Site<'_, M>, order: Order) -> Option<FolioRef<'_, M>> {
        let system = self.system();
        let mode = system.thp().settings().alloc_mode(site.area.flags);
        let folio = system.alloc_zeroed_folio(order, site.area.flags.mem_type(), mode).ok();
        let is_block = order == Order::BLOCK;
        let (stat, event) = match folio {
            Some(_) => (ThpStat::AnonFaultAlloc, MmEvent::ThpFaultAlloc),
            None => (ThpStat::AnonFaultFallback, MmEvent::ThpFaultFallback),
        };
        system.count_thp(stat, order, 1);
        if is_block {
            system.count(event, 1);
        }
        folio
    }

    /// Does the bookkeeping for a new anonymous folio that is about to be mapped as a whole, its `nr`
    /// pages, and puts it on the LRU list. The reverse map has it at `base`. The table is locked.
    #[inline(always)]
    pub(super) fn map_new_folio(&self, base: Vpn, folio: FolioRef<'_, M>, nr: u32) {
        let (id, folio) = folio.into_parts();
        self.system().map_new_folio(folio, self.id(), base, nr);
        self.gauges().add_resident(Resident::Anon, nr.into());
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
        self.alloc_zeroed_folio(Order::PAGE, mem, AllocMode::MayReclaim)
    }

    /// Allocates an anonymous folio, zeroed; its tags too if it is for tagged memory.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when `mode` permits no more, or no run of frames is free.
    #[inline(always)]
    pub(crate) fn alloc_zeroed_folio(
        &self,
        order: Order,
        mem: MemType,
        mode: AllocMode,
    ) -> Result<FolioRef<'_, M>, OutOfMemory> {
        let mte = match mem {
            MemType::Normal => MteState::Untagged,
            MemType::Tagged => MteState::Tagged,
        };
        let flags = FolioFlags::UPTODATE | FolioFlags::DIRTY;
        let folio = self.alloc_folio(order, flags, mte, mode)?;
        let (head, nr_pages) = (folio.head(), order.nr_pages());
        match mte {
            MteState::Tagged => {
                self.machine().zero_frames_and_tags(head, nr_pages);
                self.count(MmEvent::MteTagsZeroed, nr_pages.into());
            }
            _ => self.machine().zero_frames(head, nr_pages),
        }
        self.count(MmEvent::PgAlloc, nr_pages.into());
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
