// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes a folio to swap: slots for it, then its tags and bytes.

use base::Order;
use hal::{BlockOp, Machine, Segment, TraceKind};
use pgtable::SwapEntry;

use super::area_ref::AreaRef;
use super::mte_tags::NotSaved;
use super::slot::SlotWord;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef, Place};
use crate::system::System;
use crate::thp::ThpStat;

/// Why a folio gets no slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoSlots {
    /// No area has a free run of its order.
    Full,
    /// No memory for the words of slots.
    OutOfMemory,
}

impl<M: Machine> System<M> {
    /// Gives a locked folio slots and puts it into the swap cache. Does nothing if it is there.
    ///
    /// # Errors
    ///
    /// [`NoSlots`].
    pub(crate) fn add_to_swap(&self, folio: &FolioLock<'_, M>) -> Result<(), NoSlots> {
        if folio.swap_entry().is_some() {
            return Ok(());
        }
        let entry = self.alloc_slots(folio)?;
        folio.set_place(Place::Swap(entry));
        folio.set(FolioFlags::DIRTY);
        Ok(())
    }

    /// Takes a run of slots for the folio, in the area of highest priority that has one, and makes
    /// their words name it. The cache's reference is taken.
    fn alloc_slots(&self, folio: &FolioLock<'_, M>) -> Result<SwapEntry, NoSlots> {
        let order = folio.order();
        let mut tried = None;
        let mut why = NoSlots::Full;
        while let Some(area) = self.area_after(tried) {
            tried = Some(area.rank());
            let Some(first) = area.take_run(self.machine().cpu(), order) else { continue };
            let mut cluster = area.lock_cluster(self, first);
            if cluster.prepare().is_err() {
                drop(cluster);
                area.return_run(first, order);
                why = NoSlots::OutOfMemory;
                continue;
            }
            cluster.begin_use(first..first + order.nr_pages(), SlotWord::cached(folio.id()));
            folio.get();
            return Ok(cluster.entry(first));
        }
        Err(why)
    }

    /// Saves what goes beside the bytes of a locked, unmapped folio that no CPU can reach any more: tags, the
    /// mark of a page of zeroes, checksums. Tells whether its bytes are to be written now. One that cannot go is
    /// dirty as before.
    pub(super) fn prepare_write_out(&self, folio: &FolioLock<'_, M>) -> bool {
        let Some(entry) = folio.swap_entry() else { return false };
        if !folio.has(FolioFlags::DIRTY) {
            return false;
        }
        let size = || [entry.slot.into(), folio.order().nr_pages().into()];
        let _span = self.machine().span(TraceKind::SwapOut, size);
        let area = self.swap_area(entry.area).expect("a cached folio's area is in service");
        match self.save_tags(&area, folio, entry.slot) {
            Ok(()) => {}
            Err(NotSaved::OutOfMemory) => return false,
            Err(NotSaved::Device) => {
                self.count(MmEvent::SwpOutError, folio.order().nr_pages().into());
                folio.set(FolioFlags::BAD_SLOT);
                return false;
            }
        }
        let is_zero = folio.frames().all(|pfn| self.machine().is_zero_frame(pfn));
        self.mark_zero(&area, entry, folio.order().nr_pages(), is_zero);
        if is_zero {
            // As on Linux, `swpout` of its size is for what is written.
            self.count(MmEvent::SwpOutZero, folio.order().nr_pages() as u64);
            folio.clear(FolioFlags::DIRTY);
            return false;
        }
        let is_ready = self.save_checksums(&area, folio, entry.slot).is_ok();
        if is_ready {
            folio.clear(FolioFlags::DIRTY);
        }
        is_ready
    }

    /// Writes each page of a folio again whose write failed, on its own. One sector that cannot be written
    /// fails all pages of a request, and of those that the disk merged with it (QEMU's does, when
    /// they come in together); only the slots that fail now are bad. With one of them, the folio is
    /// dirty again, and its slots are retired or freed as soon as it leaves them.
    pub(super) fn write_again(&self, folio: &FolioRef<'_, M>) {
        let first = folio.swap_entry().expect("write-back keeps a folio in the swap cache");
        let area = self.swap_area(first.area).expect("a cached folio's area is in service");
        let mut nr_bad = 0;
        for (index, page) in folio.frames().enumerate() {
            let entry = first.add(index as u32);
            let segment = Segment { first: page, nr_frames: 1 };
            self.count(MmEvent::SwapRequest, 1);
            let sector = area.sector(entry.slot);
            let ticket = self.machine().submit(area.disk, BlockOp::Write, sector, &[segment]);
            if let Err(why) = ticket.and_then(|ticket| self.machine().wait(ticket)) {
                log::warn!("swap: writing slot {} of area {:?}: {why:?}", entry.slot, entry.area);
                area.lock_cluster(self, entry.slot).update(entry.slots(1), SlotWord::with_bad);
                nr_bad += 1;
            }
        }
        if nr_bad == 0 {
            return self.end_write_out(folio);
        }
        self.count(MmEvent::SwpOutError, nr_bad);
        folio.set(FolioFlags::DIRTY | FolioFlags::BAD_SLOT);
        folio.end_writeback();
    }

    pub(super) fn end_write_out(&self, folio: &FolioRef<'_, M>) {
        self.count(MmEvent::PswpOut, folio.order().nr_pages() as u64);
        self.count_whole_swap_out(folio.order());
        folio.end_writeback();
    }

    fn count_whole_swap_out(&self, order: Order) {
        self.count_thp(ThpStat::Swpout, order, 1);
        if order == Order::BLOCK {
            self.count(MmEvent::ThpSwpOut, 1);
        }
    }

    fn mark_zero(&self, area: &AreaRef<'_, M>, entry: SwapEntry, nr: u32, is_zero: bool) {
        let mut cluster = area.lock_cluster(self, entry.slot);
        cluster.update(entry.slots(nr), |word| word.with_zero_page(is_zero));
    }
}
