// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes a swap area out of service: everything on it comes back first.
//!
//! 1. No more slots are handed out; from here on the number in use only falls.
//! 2. Every address space and every shared-memory object is visited, and what it has on the area
//!    is read and put back. Fork may copy entries to an address space that was visited already, so
//!    this repeats until nothing is in use.
//! 3. Folios that only the swap cache still knows are let go.
//! 4. The area leaves the list, and swapoff waits for the last reference that somebody took before
//!    (`area_ref.rs`).

use base::sync::{relax, stop_point};
use hal::{DiskId, Machine};

use pgtable::SwapEntry;

use super::area::SwapArea;
use super::cache::Lookup;
use crate::folio::{FolioFlags, FolioRef};
use crate::frame::OutOfMemory;
use crate::lab::Fault;
use crate::system::System;

/// Why an area stays in service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapOffError {
    /// The disk holds no area in service.
    NotInService,
    /// Memory and the other areas cannot hold what is on it.
    OutOfMemory,
    /// The caller was asked to stop; what has come back stays back.
    Interrupted,
}

impl From<OutOfMemory> for SwapOffError {
    fn from(_: OutOfMemory) -> Self {
        SwapOffError::OutOfMemory
    }
}

impl<M: Machine> System<M> {
    /// Takes the area on `disk` out of service. `should_stop` is asked now and then.
    ///
    /// # Errors
    ///
    /// [`SwapOffError`]; the area is in service as before.
    pub fn swap_off(
        &self,
        disk: DiskId,
        mut should_stop: impl FnMut() -> bool,
    ) -> Result<(), SwapOffError> {
        let area = self.area_on(disk).ok_or(SwapOffError::NotInService)?;
        let (_, free_slots) = self.swap_slots();
        let elsewhere = free_slots.saturating_sub(area.nr_free());
        if area.nr_in_use() > self.reclaimable_frames() + elsewhere {
            return Err(SwapOffError::OutOfMemory);
        }
        if !area.close() {
            return Err(SwapOffError::NotInService);
        }
        loop {
            let before = area.nr_in_use();
            if before == 0 {
                break;
            }
            let back = self.bring_all_back(&area, &mut should_stop);
            if let Err(why) = back {
                area.reopen();
                return Err(why);
            }
            if self.commits(Fault::SwapoffVisitsOnce) {
                break;
            }
            if area.nr_in_use() == before {
                // What is left belongs to processes that are going away on other CPUs.
                relax();
            }
        }
        self.remove_area(&area);
        self.wait_for_users(&area);
        area.give_up_clusters();
        if let Some(pages) = area.tag_pages() {
            self.free_frame(pages.frame());
        }
        Ok(())
    }

    fn bring_all_back(
        &self,
        area: &SwapArea,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<(), SwapOffError> {
        let mut last = 0;
        while let Some(mm) = self.mms().next(last) {
            last = mm.id().get();
            if mm.get_user() {
                stop_point("address space chosen");
                let back = mm.bring_back_from(area.id, should_stop);
                mm.put_user();
                back?;
            }
        }
        let mut last = 0;
        while let Some(object) = self.shmems().next(last) {
            last = object.id();
            object.bring_back_from(self, area.id, should_stop)?;
        }
        self.drop_unused_cache(area);
        self.machine().cond_resched();
        if should_stop() { Err(SwapOffError::Interrupted) } else { Ok(()) }
    }

    /// Takes the folio that caches a slot out of the cache if no entry names any of its slots.
    pub(crate) fn free_unused_slots(&self, entry: SwapEntry) {
        let Some(area) = self.swap_area(entry.area) else { return };
        if let Lookup::Cached(folio) = self.look_up(&area, entry.slot) {
            self.let_go(folio);
        }
    }

    /// Lets go of cached folios whose slots nothing refers to.
    fn drop_unused_cache(&self, area: &SwapArea) {
        let mut slot = 0;
        while slot < area.nr_slots {
            let cached = {
                let cluster = area.lock_cluster(self, slot);
                let found = cluster.next_cached(slot);
                found.inspect(|(_, folio)| self.folio(*folio).get())
            };
            match cached {
                Some((at, folio)) => {
                    self.let_go(FolioRef::adopt(self, folio, self.folio(folio)));
                    slot = at + 1;
                }
                None => {
                    slot = (slot / crate::run_map::BLOCK_UNITS + 1) * crate::run_map::BLOCK_UNITS
                }
            }
        }
    }

    fn let_go(&self, folio: FolioRef<'_, M>) {
        folio.wait_for_writeback();
        let locked = folio.lock();
        debug_assert!(!locked.has(FolioFlags::WRITEBACK) || locked.swap_entry().is_none());
        self.try_free_swap(&locked);
    }
}
