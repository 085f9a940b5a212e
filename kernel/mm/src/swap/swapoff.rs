// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes a swap area out of service: everything on it comes back first.
//!
//! 1. No more slots are handed out; from here on the number in use only falls.
//! 2. Every address space that has swapped pages, the oldest first, and every shared-memory object is
//!    visited, and what it has on the area is read and put back, many pages at a time
//!    (`read_ahead.rs`). A child is younger than its parent, so one round finds everything but
//!    what reclaim unmaps meanwhile, and what is just being torn down: this repeats until nothing is in
//!    use.
//! 3. Folios that only the swap cache still knows are let go.
//! 4. The area leaves the list, and swapoff waits for the last reference that somebody took before
//!    (`area_ref.rs`).

use base::sync::{relax, stop_point};
use hal::{DiskId, Machine};

use pgtable::SwapEntry;

use super::area::SwapArea;
use super::cache::Lookup;
use super::read_ahead::ReadAhead;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioRef};
use crate::frame::OutOfMemory;
use crate::lab::Fault;
use crate::mm::LiveMm;
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
        let mut ahead = ReadAhead::new(self, &area)?;
        if !area.close() {
            return Err(SwapOffError::NotInService);
        }
        if let Err(why) = self.empty_area(&area, &mut ahead, &mut should_stop) {
            area.reopen();
            return Err(why);
        }
        drop(ahead);
        self.remove_area(&area);
        self.wait_for_users(&area);
        area.give_up_clusters();
        if let Some(pages) = area.tag_pages() {
            self.free_frame(pages.frame());
        }
        Ok(())
    }

    /// Goes round until no slot is in use.
    fn empty_area(
        &self,
        area: &SwapArea,
        ahead: &mut ReadAhead<'_, M>,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<(), SwapOffError> {
        while area.nr_in_use() != 0 {
            match self.bring_all_back(area, ahead, should_stop)? {
                // What is left belongs to processes that are going away on other CPUs.
                0 if area.nr_in_use() != 0 => relax(),
                // The cache had the last of it.
                0 => {}
                _ => self.count(MmEvent::SwapoffRound, 1),
            }
            if self.commits(Fault::SwapoffVisitsOnce) {
                break;
            }
        }
        Ok(())
    }

    /// Goes round once, and returns how many pages it found.
    fn bring_all_back(
        &self,
        area: &SwapArea,
        ahead: &mut ReadAhead<'_, M>,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<usize, SwapOffError> {
        let (mut nr, mut last) = (0, None);
        let next = |last: Option<&LiveMm<M>>| match self.commits(Fault::SwapoffVisitsOnce) {
            true => self.mms().next_by_number(last),
            false => self.mms().next_younger(last),
        };
        while let Some(mm) = next(last.as_ref()) {
            stop_point("address space chosen");
            if mm.has_swapped_pages() {
                nr += mm.bring_back_from(ahead, should_stop)?;
            }
            last = Some(mm);
        }
        drop(last);
        let mut last = 0;
        while let Some(object) = self.shmems().next(last) {
            last = object.id();
            nr += object.bring_back_from(self, area.id, should_stop)?;
        }
        self.drop_unused_cache(area);
        self.machine().cond_resched();
        if should_stop() { Err(SwapOffError::Interrupted) } else { Ok(nr) }
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
