// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves pages of objects to swap, and back when an area goes out of service.

use hal::Machine;
use pgtable::{AreaId, SwapEntry};

use super::object::{Shmem, ShmemError, ShmemPlace, Slot};
use crate::folio::{FolioLock, Place};
use crate::swap::{NoSlots, SwapOffError};
use crate::system::System;

impl<M: Machine> System<M> {
    /// Gives a locked folio of an object slots, and makes the object's map name them.
    ///
    /// # Errors
    ///
    /// [`NoSlots`], also when the object is just going away.
    pub(crate) fn move_to_swap(
        &self,
        place: ShmemPlace,
        folio: &FolioLock<'_, M>,
    ) -> Result<(), NoSlots> {
        let object = self.shmems().get(place.object).ok_or(NoSlots::Full)?;
        // Out of the object first: a folio has one place. It is locked, so nobody acts on this.
        folio.set_place(Place::Nowhere);
        if let Err(why) = self.add_to_swap(folio) {
            folio.set_place(Place::Shmem(place));
            return Err(why);
        }
        let entry = folio.swap_entry().expect("it was just added");
        self.give_slot_to_object(entry);
        object.map.lock().set(place.index, Slot::Swap(entry));
        // The map's reference; the swap cache has its own.
        self.put_folio(folio.id());
        Ok(())
    }
}

impl<M: Machine> Shmem<M> {
    /// Brings back every page that is on `area`, and returns how many there were. A page that cannot be
    /// read is lost: reading it is an error, and not zeroes.
    pub(crate) fn bring_back_from(
        &self,
        system: &System<M>,
        area: AreaId,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<usize, SwapOffError> {
        let (mut index, mut nr) = (0, 0);
        loop {
            let next = self.map.lock().next(index);
            let Some((at, slot)) = next else { return Ok(nr) };
            index = at + 1;
            if let Slot::Swap(entry) = slot
                && entry.area == area
            {
                nr += 1;
                match self.bring_back(system, at, entry) {
                    Ok(_) | Err(ShmemError::BeyondEnd | ShmemError::Full) => {}
                    Err(ShmemError::Unreadable) => self.lose(system, at, entry),
                    Err(ShmemError::OutOfMemory) => return Err(SwapOffError::OutOfMemory),
                }
            }
            if should_stop() {
                return Err(SwapOffError::Interrupted);
            }
        }
    }

    /// Gives up a page whose content cannot be read.
    fn lose(&self, system: &System<M>, index: u64, entry: SwapEntry) {
        let mut map = self.map.lock();
        if map.get(index) == Slot::Swap(entry) {
            map.set(index, Slot::Lost);
            drop(map);
            system.drop_slots(entry, 1);
        }
    }
}
