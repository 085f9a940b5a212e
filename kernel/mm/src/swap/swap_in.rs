// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings the page of a slot back into the swap cache.

use base::Order;
use base::sync::stop_point;
use hal::{BlockOp, Machine, Segment};
use pgtable::SwapEntry;

use super::area::SwapArea;
use super::cache::Lookup;
use super::slot::SlotWord;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::lab::Restore;
use crate::system::System;
use crate::thp::ThpStat;

/// Why a slot's page cannot be brought back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SwapInError {
    /// The slot is not in use: the entry is out of date.
    Stale,
    /// The disk does not give it back.
    Unreadable,
    /// No frame for it.
    OutOfMemory,
    /// Not all slots of the run are only on disk, or some were written and some not.
    Unfit,
}

impl From<OutOfMemory> for SwapInError {
    fn from(_: OutOfMemory) -> Self {
        SwapInError::OutOfMemory
    }
}

impl<M: Machine> System<M> {
    /// Returns the folio that caches a slot, reading one page if need be, and whether it was read.
    /// Who uses the folio locks it and looks whether it still caches the slot.
    ///
    /// # Errors
    ///
    /// [`SwapInError`].
    pub(crate) fn swap_in(&self, entry: SwapEntry) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        loop {
            match self.swap_in_order(entry, Order::PAGE, AllocMode::MayReclaim) {
                // Somebody was faster while this one waited for memory: look again.
                Err(SwapInError::Unfit) => {}
                result => return result,
            }
        }
    }

    /// Returns the folio that caches a slot, whatever its order; if there is none, reads the aligned
    /// run of 2^`order` slots around it into a new one, in one request. Tells whether it was read.
    ///
    /// # Errors
    ///
    /// [`SwapInError`]; [`SwapInError::Unfit`] when the run has a slot that cannot be part of it.
    pub(crate) fn swap_in_order(
        &self,
        entry: SwapEntry,
        order: Order,
        mode: AllocMode,
    ) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        let area = self.swap_area(entry.area).filter(|area| area.has_slot(entry.slot));
        let area = area.ok_or(SwapInError::Stale)?;
        match self.look_up(&area, entry.slot) {
            Lookup::Cached(folio) => return Ok((folio, false)),
            Lookup::Free => return Err(SwapInError::Stale),
            Lookup::OnDisk => {}
        }
        stop_point("only on disk");
        let folio = self.alloc_folio(order, FolioFlags::empty(), MteState::Untagged, mode)?;
        let folio = FolioLock::of_new(folio);
        let first = entry.slot & !(order.nr_pages() - 1);
        let Some(word) = self.add_to_cache(&area, first, &folio) else {
            return Err(SwapInError::Unfit);
        };
        self.read_slots(&area, first, word, folio).map(|folio| (folio, true))
    }

    fn read_slots<'s>(
        &'s self,
        area: &SwapArea,
        first: u32,
        word: SlotWord,
        folio: FolioLock<'s, M>,
    ) -> Result<FolioRef<'s, M>, SwapInError> {
        let nr = folio.order().nr_pages();
        self.count(MmEvent::PgAlloc, nr.into());
        if word.is_zero_page() {
            self.machine().zero_frames(folio.head(), nr);
            self.count(MmEvent::SwpInZero, nr.into());
        } else {
            if !self.read_written(area, first, &folio) {
                self.abandon_cache(area, first, &folio);
                return Err(SwapInError::Unreadable);
            }
            self.count(MmEvent::PswpIn, nr.into());
            self.count_thp(ThpStat::Swpin, folio.order(), 1);
        }
        if self.restore_tags_from_device(area, first, &folio).is_err() {
            self.count(MmEvent::SwpInError, u64::from(nr == 1));
            self.abandon_cache(area, first, &folio);
            return Err(SwapInError::Unreadable);
        }
        if self.refault().restore == Restore::AtRead {
            for (slot, pfn) in (first..).zip(folio.frames()) {
                self.restore_tags(area, slot, pfn);
            }
        }
        if self.is_refault(word.shadow()) {
            self.count(MmEvent::WorkingsetRefault, nr.into());
            folio.set(FolioFlags::WORKINGSET | FolioFlags::ACTIVE);
        }
        folio.set(FolioFlags::UPTODATE);
        self.lru().add_new(self, folio.id(), &folio);
        Ok(folio.unlock())
    }

    /// Reads what was written to slots. `false`: the disk does not give it back, or not as it was.
    fn read_written(&self, area: &SwapArea, first: u32, folio: &FolioLock<'_, M>) -> bool {
        let nr = folio.order().nr_pages();
        self.count(MmEvent::SwapRequest, 1);
        let segments = [Segment { first: folio.head(), nr_frames: nr }];
        let read = self.machine().transfer(area.disk, BlockOp::Read, area.sector(first), &segments);
        if let Err(why) = read {
            log::warn!("swap: reading {nr} slots from {first} of area {:?}: {why:?}", area.id);
        }
        let is_good = read.is_ok() && self.is_as_written(area, first, folio);
        if !is_good && nr == 1 {
            // Of a large folio, other pages may be readable.
            self.count(MmEvent::SwpInError, 1);
        }
        is_good
    }
}
