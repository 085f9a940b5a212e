// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds a page of an object, makes it, or brings it back from swap.

use base::{Order, Pfn};
use hal::Machine;
use pgtable::SwapEntry;

use super::object::{NEW_PAGE, Shmem, ShmemError, ShmemPlace, Slot};
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef, Place};
use crate::frame::{AllocMode, MteState};
use crate::swap::SwapInError;
use crate::system::System;

/// What was found for a page of an object.
enum Found<'s, M: Machine> {
    Hole,
    Folio(FolioRef<'s, M>),
    Swap(SwapEntry),
}

impl<M: Machine> Shmem<M> {
    /// Returns the folio of page `index`, made or read if need be, and whether it was read. Who
    /// uses it locks it and asks [`Shmem::holds`] whether it is still the page.
    ///
    /// # Errors
    ///
    /// [`ShmemError`].
    pub(crate) fn page<'s>(
        &self,
        system: &'s System<M>,
        index: u64,
    ) -> Result<(FolioRef<'s, M>, bool), ShmemError> {
        let mut is_major = false;
        loop {
            match self.find(system, index)? {
                Found::Folio(folio) => return Ok((folio, is_major)),
                Found::Hole => {
                    if let Some(folio) = self.make_page(system, index)? {
                        return Ok((folio, is_major));
                    }
                }
                Found::Swap(entry) => is_major |= self.bring_back(system, index, entry)?,
            }
        }
    }

    /// Runs `read` on the frame of page `index`, or on `None` for a hole. The bytes may change
    /// while it runs, as another program may write them; the frame stays.
    ///
    /// # Errors
    ///
    /// [`ShmemError`].
    pub fn read_page<R>(
        &self,
        index: u64,
        read: impl FnOnce(Option<Pfn>) -> R,
    ) -> Result<R, ShmemError> {
        loop {
            match self.find(&self.system, index)? {
                Found::Hole => return Ok(read(None)),
                Found::Folio(folio) => {
                    self.system.lru().mark_accessed(&self.system, folio.id());
                    return Ok(read(Some(folio.head())));
                }
                Found::Swap(entry) => {
                    self.bring_back(&self.system, index, entry)?;
                }
            }
        }
    }

    /// Runs `write` on the frame of page `index`, which is made if it was a hole. The folio is
    /// locked meanwhile, so `write` must not touch user memory in a way that waits for a fault.
    ///
    /// # Errors
    ///
    /// [`ShmemError`].
    pub fn write_page<R>(&self, index: u64, write: impl FnOnce(Pfn) -> R) -> Result<R, ShmemError> {
        loop {
            let (folio, _) = self.page(&self.system, index)?;
            let locked = folio.lock();
            if self.holds(&locked, index) {
                let written = write(locked.head());
                locked.clear(FolioFlags::CODE_SYNCED);
                locked.set(FolioFlags::DIRTY);
                return Ok(written);
            }
        }
    }

    fn find<'s>(&self, system: &'s System<M>, index: u64) -> Result<Found<'s, M>, ShmemError> {
        if index >= self.end_page() {
            return Err(ShmemError::BeyondEnd);
        }
        let map = self.map.lock();
        Ok(match map.get(index) {
            Slot::Hole => Found::Hole,
            // The map's reference keeps the folio alive while the map is locked.
            Slot::Folio(id) => Found::Folio(system.get_folio(id)),
            Slot::Swap(entry) => Found::Swap(entry),
            Slot::Lost => return Err(ShmemError::Unreadable),
        })
    }

    /// Fills a hole with zeroes; `None` if somebody else was faster.
    fn make_page<'s>(
        &self,
        system: &'s System<M>,
        index: u64,
    ) -> Result<Option<FolioRef<'s, M>>, ShmemError> {
        system.reserve_kernel_heap(4096)?;
        if let Some(pool) = &self.pool {
            pool.take()?;
        }
        let folio = system
            .alloc_folio(Order::PAGE, NEW_PAGE, MteState::Untagged, AllocMode::MayReclaim)
            .inspect_err(|_| self.uncharge(1))?;
        system.machine().zero_frame(folio.head());
        system.count(MmEvent::PgAlloc, 1);
        let mut map = self.map.lock();
        if map.get(index) != Slot::Hole || index >= self.end_page() {
            drop(map);
            self.uncharge(1);
            return Ok(None);
        }
        folio.set_place(Place::Shmem(ShmemPlace { object: self.id, index }));
        folio.get();
        map.set(index, Slot::Folio(folio.id()));
        drop(map);
        system.lru().add_new(system, folio.id(), &folio);
        Ok(Some(folio))
    }

    /// Brings a page back from its swap slot into the object. Returns whether it was read.
    pub(super) fn bring_back(
        &self,
        system: &System<M>,
        index: u64,
        entry: SwapEntry,
    ) -> Result<bool, ShmemError> {
        let (folio, is_major) = match system.swap_in(entry) {
            Ok(found) => found,
            Err(SwapInError::Stale | SwapInError::Unfit) => return Ok(false),
            Err(SwapInError::Unreadable) => return Err(ShmemError::Unreadable),
            Err(SwapInError::OutOfMemory) => return Err(ShmemError::OutOfMemory),
        };
        // Its slot is freed below, which a write in flight forbids.
        folio.wait_for_writeback();
        let locked = folio.lock();
        if locked.swap_entry() == Some(entry) && !locked.has(FolioFlags::WRITEBACK) {
            self.adopt(system, index, entry, &locked);
        }
        Ok(is_major)
    }

    /// Makes a locked folio of the swap cache page `index` again.
    fn adopt(&self, system: &System<M>, index: u64, entry: SwapEntry, folio: &FolioLock<'_, M>) {
        let mut map = self.map.lock();
        if map.get(index) != Slot::Swap(entry) {
            return;
        }
        #[cfg(feature = "lab")]
        system.restore_at_fault(folio, 0..1);
        // The map's count in the slot was the only one.
        system.drop_slots(entry, 1);
        let is_free = system.try_free_swap(folio);
        assert!(is_free, "shmem: slot {entry:?} has another user than its object");
        folio.set_place(Place::Shmem(ShmemPlace { object: self.id, index }));
        folio.get();
        map.set(index, Slot::Folio(folio.id()));
    }

    pub(super) fn uncharge(&self, pages: u64) {
        if let Some(pool) = &self.pool {
            pool.give_back(pages);
        }
    }
}
