// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts who refers to a slot, and frees slots.

use core::ops::Range;

use arrayvec::ArrayVec;

use base::sync::stop_point;
use hal::Machine;
use pgtable::SwapEntry;

use super::area::SwapArea;
use super::area_ref::AreaRef;
use super::slot::SlotWord;
use crate::folio::{FolioId, FolioRef};
use crate::lab::Fault;
use crate::run_map::BLOCK_UNITS;
use crate::system::System;

impl<M: Machine> System<M> {
    /// Counts one more reference to each of `nr` slots from `entry` on, which entries, whose table is
    /// locked, refer to.
    pub(crate) fn dup_slots(&self, entry: SwapEntry, nr: u32) {
        let Some(area) = self.area_of(entry) else { return };
        for part in parts(entry.slots(nr)) {
            area.lock_cluster(self, part.start).update(part, SlotWord::plus_one);
        }
    }

    /// Counts the one reference that an object has to the slot of its page.
    pub(crate) fn give_slot_to_object(&self, entry: SwapEntry) {
        let area = self.area_of(entry).expect("a cached folio's area is in service");
        let slots = entry.slots(1);
        area.lock_cluster(self, entry.slot).update(slots, |word| word.plus_one().with_object());
    }

    /// Counts `nr` slots from `entry` on one reference less. Slots that nothing refers to any more
    /// are freed, unless a folio still caches them: then the folio's owner decides.
    pub(crate) fn drop_slots(&self, entry: SwapEntry, nr: u32) {
        let Some(area) = self.area_of(entry) else { return };
        self.drop_slots_of(&area, entry.slots(nr));
    }

    /// Does what [`System::drop_slots`] does, for who holds the area.
    pub(crate) fn drop_slots_of(&self, area: &AreaRef<'_, M>, slots: Range<u32>) {
        self.drop_in_area(area, slots, |_| {});
    }

    /// Returns how many entries and objects refer to a slot.
    pub(crate) fn slot_users(&self, entry: SwapEntry) -> u32 {
        let Some(area) = self.area_of(entry) else { return 0 };
        stop_point("area found");
        area.lock_cluster(self, entry.slot).load(entry.slot).count()
    }

    /// Lowers counts; hands the cached folios of slots that reached 0 to `orphaned`, with the cluster
    /// locked.
    #[inline]
    fn drop_in_area(&self, area: &SwapArea, slots: Range<u32>, mut orphaned: impl FnMut(FolioId)) {
        if self.commits(Fault::WrongSlotFreed) {
            return self.free_wrong_slots(area, slots);
        }
        let frees_cached = self.commits(Fault::SlotFreedWhileCached);
        for part in parts(slots) {
            area.lock_cluster(self, part.start).update(part, |word| {
                let Some(word) = word.minus_one() else {
                    log::error!("swap: a slot is given up more often than named: {word:?}");
                    return word;
                };
                match word.folio() {
                    Some(_) if word.count() == 0 && frees_cached => return word.with_shadow(0),
                    Some(folio) if word.count() == 0 => orphaned(folio),
                    _ => {}
                }
                word
            });
        }
    }

    /// What [`Fault::WrongSlotFreed`] does: in place of a slot that becomes free, frees its neighbour.
    #[cold]
    fn free_wrong_slots(&self, area: &SwapArea, slots: Range<u32>) {
        for slot in slots {
            let mut cluster = area.lock_cluster(self, slot);
            let less = cluster.load(slot).minus_one().expect("a slot in use");
            match less.is_unused() {
                true => cluster.update(slot ^ 1..(slot ^ 1) + 1, |word| word.without_users()),
                false => cluster.update(slot..slot + 1, |_| less),
            }
        }
    }

    /// Returns the area of an entry found in a page table. An entry that names no slot was not
    /// written by this kernel: it is reported and otherwise ignored.
    pub(super) fn area_of(&self, entry: SwapEntry) -> Option<AreaRef<'_, M>> {
        let area = self.area_with(entry);
        if area.is_none() {
            log::error!("swap entry {entry:?} names no slot");
        }
        area
    }

    /// Puts the reference of an entry that was taken away. Returns whether it was the last of all:
    /// the caller frees the folio.
    #[inline]
    pub(crate) fn put_unmapped(&self, id: FolioId) -> bool {
        let folio = self.folio(id);
        if folio.is_nowhere() || folio.is_mapped() {
            return folio.put();
        }
        self.free_orphan(FolioRef::adopt(self, id, folio));
        false
    }

    /// Puts a reference to a folio that may be one of those that only the swap cache still knows:
    /// frees its slots, and thereby it, if nothing refers to them, and nobody is using it just now;
    /// reclaim finds it otherwise. Never waits.
    pub(crate) fn free_orphan(&self, folio: FolioRef<'_, M>) {
        if folio.is_mapped() || folio.swap_entry().is_none() {
            return;
        }
        if let Ok(locked) = folio.try_lock()
            && !locked.is_mapped()
        {
            self.try_free_swap(&locked);
        }
    }
}

/// Splits a range of slots at the ends of clusters.
fn parts(slots: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let mut start = slots.start;
    core::iter::from_fn(move || {
        let end = slots.end.min((start / BLOCK_UNITS + 1) * BLOCK_UNITS);
        let part = start..end;
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

/// References to slots that are given up together: neighbouring slots under one lock.
#[must_use = "the last slots are dropped by finish()"]
pub(crate) struct SlotDrops<'s, M: Machine> {
    system: &'s System<M>,
    /// First of a run of neighbours, and how many.
    run: Option<(SwapEntry, u32)>,
}

/// Most slots dropped under one lock, so that their orphaned folios fit on the stack.
const CHUNK: u32 = 64;

impl<'s, M: Machine> SlotDrops<'s, M> {
    pub(crate) fn new(system: &'s System<M>) -> Self {
        Self { system, run: None }
    }

    /// Gives up one reference to each of `more` slots from `entry` on. May be called with a page table
    /// locked.
    pub(crate) fn add(&mut self, entry: SwapEntry, more: u32) {
        match &mut self.run {
            Some((first, nr)) if entry == first.add(*nr) => *nr += more,
            _ => {
                self.flush();
                self.run = Some((entry, more));
            }
        }
    }

    fn flush(&mut self) {
        let Some((first, nr)) = self.run.take() else { return };
        let Some(area) = self.system.area_of(first) else { return };
        stop_point("area found");
        for start in (0..nr).step_by(CHUNK as usize) {
            self.drop_chunk(&area, first.add(start).slots(CHUNK.min(nr - start)));
        }
    }

    fn drop_chunk(&self, area: &SwapArea, slots: Range<u32>) {
        let first = slots.start;
        let mut orphans = ArrayVec::<FolioRef<'_, M>, { CHUNK as usize }>::new();
        self.system.drop_in_area(area, slots, |id| {
            // Neighbours mostly have one folio.
            if orphans.last().is_none_or(|last| last.id() != id) {
                orphans.push(self.system.get_folio(id));
            }
        });
        stop_point("counts lowered");
        if self.system.commits(Fault::AreaNotHeld) && !orphans.is_empty() {
            // As free_swap_and_cache() did until v6.9: once more into the map, to see whether another
            // slot of the folio is in use.
            let _ = area.lock_cluster(self.system, first).load(first);
        }
        for folio in orphans {
            self.system.free_orphan(folio);
        }
    }

    /// Gives up the rest.
    pub(crate) fn finish(mut self) {
        self.flush();
    }
}

impl<M: Machine> Drop for SlotDrops<'_, M> {
    fn drop(&mut self) {
        self.flush();
    }
}
