// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings the page of a slot back into the swap cache.

use base::Order;
use hal::{BlockOp, Machine, Segment};
use pgtable::SwapEntry;

use super::area::SwapArea;
use super::cache::Lookup;
use super::slot::SlotWord;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::system::System;

/// Why a slot's page cannot be brought back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SwapInError {
    /// The slot is not in use: the entry is out of date.
    Stale,
    /// The disk does not give it back.
    Unreadable,
    /// No frame for it.
    OutOfMemory,
}

impl From<OutOfMemory> for SwapInError {
    fn from(_: OutOfMemory) -> Self {
        SwapInError::OutOfMemory
    }
}

impl<M: Machine> System<M> {
    /// Returns the folio that caches a slot, reading it if need be, and whether it was read.
    /// `kind` tells what sort of folio to make. Who uses the folio locks it and looks whether it
    /// still caches the slot.
    ///
    /// # Errors
    ///
    /// [`SwapInError`].
    pub(crate) fn swap_in(
        &self,
        entry: SwapEntry,
        kind: FolioFlags,
    ) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        let area = self.swap().area(entry.area).filter(|area| area.has_slot(entry.slot));
        let area = area.ok_or(SwapInError::Stale)?;
        loop {
            match self.look_up(&area, entry.slot) {
                Lookup::Cached(folio) => return Ok((folio, false)),
                Lookup::Free => return Err(SwapInError::Stale),
                Lookup::OnDisk => {}
            }
            let folio =
                self.alloc_folio(Order::PAGE, kind, MteState::Untagged, AllocMode::MayReclaim)?;
            let folio = FolioLock::of_new(folio);
            // Somebody may have been faster while this one waited for memory.
            if let Some(word) = self.add_to_cache(&area, entry.slot, &folio) {
                return self.read_slot(&area, entry.slot, word, folio).map(|folio| (folio, true));
            }
        }
    }

    fn read_slot<'s>(
        &'s self,
        area: &SwapArea,
        slot: u32,
        word: SlotWord,
        folio: FolioLock<'s, M>,
    ) -> Result<FolioRef<'s, M>, SwapInError> {
        self.count(MmEvent::PgAlloc, 1);
        if word.is_zero_page() {
            self.machine().zero_frame(folio.head());
            self.count(MmEvent::SwpInZero, 1);
        } else {
            self.count(MmEvent::SwapRequest, 1);
            let segments = [Segment::one(folio.head())];
            let read =
                self.machine().transfer(area.disk, BlockOp::Read, area.sector(slot), &segments);
            if let Err(why) = read {
                log::warn!("swap: reading slot {slot} of area {:?}: {why:?}", area.id);
                self.count(MmEvent::SwpInError, 1);
                self.abandon_cache(area, slot, &folio);
                return Err(SwapInError::Unreadable);
            }
            self.count(MmEvent::PswpIn, 1);
        }
        self.restore_tags(area, slot, folio.head());
        if self.is_refault(word.shadow()) {
            self.count(MmEvent::WorkingsetRefault, 1);
            folio.set(FolioFlags::WORKINGSET | FolioFlags::ACTIVE);
        }
        folio.set(FolioFlags::UPTODATE);
        self.lru().add_new(self, folio.id(), &folio);
        Ok(folio.unlock())
    }
}
