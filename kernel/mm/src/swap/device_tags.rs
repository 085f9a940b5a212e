// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the tags of swapped pages on the disk beside their bytes: boot option
//! `swap.tags=device`. No memory is spent on them.
//!
//! The last 33rd of an area are *tag pages*: slot `s` has bytes `128 * (s % 32)` and those after of
//! tag page `s / 32`. Tags that are all equal are in the slot's word, as they are without the option.
//! For others the word says that they are on the disk.
//!
//! A tag page is written before the pages that it speaks of. It is read first if another slot has
//! tags there. Both go through one frame, so one at a time does it; the folio is locked meanwhile,
//! and no spin lock is held.

use core::ops::Range;

use base::Pfn;
use base::sync::atomic::{AtomicBool, Ordering};
use hal::{BlockOp, IoError, Machine, PageTags, Segment, TraceKind, WaitChannel};

use super::area::{ClusterLock, SwapArea};
use super::mte_tags::{NotSaved, has_own_tags, store_tags};
use super::slot::SlotWord;
use super::tag_codec::Record;
use crate::events::MmEvent;
use crate::folio::FolioLock;
use crate::system::System;

/// Slots whose tags fill a page.
const SLOTS: u32 = (base::PAGE_SIZE / PageTags::BYTES) as u32;

/// The tag pages of an area.
pub(super) struct TagPages {
    /// The slot that the first is in.
    first: u32,
    /// Through which they are read and written.
    frame: Pfn,
    is_busy: AtomicBool,
}

impl TagPages {
    /// Puts tag pages at the end of an area of `nr_slots`. `frame` is theirs.
    pub fn at_end_of(nr_slots: u32, frame: Pfn) -> Self {
        Self {
            first: nr_slots - nr_slots.div_ceil(SLOTS + 1),
            frame,
            is_busy: AtomicBool::new(false),
        }
    }

    /// Returns the slot that the first is in: there are no pages from there on.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Returns the slots that cannot be used because page `bad` of the disk cannot: itself, or those
    /// that would have their tags there.
    pub fn lost_with(&self, bad: u32) -> Range<u32> {
        match bad.checked_sub(self.first) {
            Some(index) => index * SLOTS..(index + 1) * SLOTS,
            None => bad..bad + 1,
        }
    }

    /// Returns the frame.
    pub fn frame(&self) -> Pfn {
        self.frame
    }
}

/// Shows that the frame of an area's tag pages is the caller's.
struct TagPageLock<'a, M: Machine> {
    system: &'a System<M>,
    area: &'a SwapArea,
    pages: &'a TagPages,
}

impl<M: Machine> Drop for TagPageLock<'_, M> {
    fn drop(&mut self) {
        self.pages.is_busy.store(false, Ordering::SeqCst);
        self.system.machine().wake_all(WaitChannel::of(&self.pages.is_busy));
    }
}

impl<'a, M: Machine> TagPageLock<'a, M> {
    fn new(system: &'a System<M>, area: &'a SwapArea, pages: &'a TagPages) -> Self {
        let is_busy = &pages.is_busy;
        let mut is_mine = || !is_busy.swap(true, Ordering::SeqCst);
        system.machine().sleep_until(WaitChannel::of(is_busy), &mut is_mine);
        Self { system, area, pages }
    }

    /// Reads or writes the tag page of a slot.
    fn transfer(&self, op: BlockOp, slot: u32) -> Result<(), IoError> {
        self.system.count(MmEvent::SwapTagRequest, 1);
        let page = self.pages.first + slot / SLOTS;
        let segment = [Segment::one(self.pages.frame)];
        let result =
            self.system.machine().transfer(self.area.disk, op, self.area.sector(page), &segment);
        if let Err(why) = result {
            log::warn!(
                "swap: {op:?} of the tags of slot {slot} of area {:?}: {why:?}",
                self.area.id
            );
        }
        result
    }

    fn put(&self, slot: u32, tags: &PageTags) {
        self.system.machine().store_words(self.pages.frame, first_word(slot), &tags.0);
    }

    fn get(&self, slot: u32) -> PageTags {
        let first = first_word(slot);
        let mut tags = PageTags::ZERO;
        let words = self.system.machine().words(self.pages.frame, first..first + PageTags::WORDS);
        tags.0.iter_mut().zip(words).for_each(|(to, word)| *to = word);
        tags
    }
}

fn first_word(slot: u32) -> usize {
    (slot % SLOTS) as usize * PageTags::WORDS
}

/// Splits a run of slots by the tag pages that they have their tags in.
fn by_tag_page(slots: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let first = slots.start - slots.start % SLOTS;
    (first..slots.end)
        .step_by(SLOTS as usize)
        .map(move |start| start.max(slots.start)..(start + SLOTS).min(slots.end))
}

/// Tells whether any of the slots has tags on the disk.
fn have_any<M: Machine>(cluster: &ClusterLock<'_, M>, mut slots: Range<u32>) -> bool {
    slots.any(|slot| cluster.load(slot).has_tags_on_device())
}

impl<M: Machine> System<M> {
    /// Saves the tags of a folio's pages: what takes no memory with the slots, the rest on the disk.
    ///
    /// # Errors
    ///
    /// [`NotSaved::Device`] when a tag page cannot be written: the slots that have their tags there are
    /// bad.
    pub(super) fn save_tags_on_device(
        &self,
        area: &SwapArea,
        pages: &TagPages,
        folio: &FolioLock<'_, M>,
        first_slot: u32,
    ) -> Result<(), NotSaved> {
        for slots in by_tag_page(first_slot..first_slot + folio.order().nr_pages()) {
            if !slots.clone().any(|slot| has_own_tags(self, folio, slot - first_slot)) {
                continue;
            }
            let lock = TagPageLock::new(self, area, pages);
            self.save_on_tag_page(&lock, folio, first_slot, slots.clone()).inspect_err(|_| {
                area.lock_cluster(self, slots.start)
                    .update(slots, |word| word.with_tags(None).with_bad());
            })?;
        }
        Ok(())
    }

    /// Saves the tags of the pages that have `slots`, all on one tag page.
    fn save_on_tag_page(
        &self,
        lock: &TagPageLock<'_, M>,
        folio: &FolioLock<'_, M>,
        first_slot: u32,
        slots: Range<u32>,
    ) -> Result<(), NotSaved> {
        let nr_tagged =
            || slots.clone().filter(|slot| has_own_tags(self, folio, slot - first_slot));
        let size = || [slots.start.into(), nr_tagged().count() as u64];
        let _span = self.machine().span(TraceKind::TagsSave, size);
        let start = slots.start - slots.start % SLOTS;
        let is_shared = {
            let cluster = lock.area.lock_cluster(self, start);
            have_any(&cluster, start..slots.start) || have_any(&cluster, slots.end..start + SLOTS)
        };
        let mut is_changed = false;
        for slot in slots.clone() {
            let index = slot - first_slot;
            if !has_own_tags(self, folio, index) {
                continue;
            }
            let tags = self.machine().read_tags(folio.head().add(index));
            if self.save_if_uniform(lock.area, slot, &tags)? {
                continue;
            }
            if is_shared && !is_changed {
                lock.transfer(BlockOp::Read, slot).map_err(|_| NotSaved::Device)?;
            }
            is_changed = true;
            lock.put(slot, &tags);
            let mut cluster = lock.area.lock_cluster(self, slot);
            cluster.update(slot..slot + 1, SlotWord::with_tags_on_device);
            self.count(MmEvent::MteTagsSaved, 1);
            self.count(MmEvent::MteTagDevice, 1);
        }
        if is_changed {
            lock.transfer(BlockOp::Write, slots.start).map_err(|_| NotSaved::Device)?;
        }
        Ok(())
    }

    /// Saves tags with the slot's word if they are all equal. `false` if they are not.
    fn save_if_uniform(
        &self,
        area: &SwapArea,
        slot: u32,
        tags: &PageTags,
    ) -> Result<bool, NotSaved> {
        let mut record = Record::new();
        record.encode(tags);
        if !record.words().is_empty() {
            return Ok(false);
        }
        store_tags(&mut area.lock_cluster(self, slot), slot, &record)?;
        self.count(MmEvent::MteTagsSaved, 1);
        self.count(MmEvent::MteTagUniform, 1);
        Ok(true)
    }

    /// Restores the tags that pages just read have on the disk. Nobody maps them before this is done.
    ///
    /// # Errors
    ///
    /// When a tag page cannot be read.
    pub(super) fn restore_tags_from_device(
        &self,
        area: &SwapArea,
        first_slot: u32,
        folio: &FolioLock<'_, M>,
    ) -> Result<(), IoError> {
        let Some(pages) = area.tag_pages() else { return Ok(()) };
        for slots in by_tag_page(first_slot..first_slot + folio.order().nr_pages()) {
            if !have_any(&area.lock_cluster(self, slots.start), slots.clone()) {
                continue;
            }
            let lock = TagPageLock::new(self, area, pages);
            lock.transfer(BlockOp::Read, slots.start)?;
            for slot in slots {
                if area.lock_cluster(self, slot).load(slot).has_tags_on_device() {
                    let pfn = folio.head().add(slot - first_slot);
                    let page = || [slot.into(), pfn.get().into()];
                    let _span = self.machine().span(TraceKind::TagsRestore, page);
                    self.words()
                        .make_tagged(pfn, || self.machine().write_tags(pfn, &lock.get(slot)));
                    self.count(MmEvent::MteTagsRestored, 1);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_slot_has_its_tags_behind_the_last_slot() {
        for nr_slots in 2..5000 {
            let pages = TagPages::at_end_of(nr_slots, Pfn::new(0));
            let last = pages.first() - 1;
            assert!(pages.first() + last / SLOTS < nr_slots, "{nr_slots} slots");
        }
    }

    #[test]
    fn bad_page_takes_itself_or_the_slots_with_tags_there() {
        let pages = TagPages::at_end_of(33 * 100, Pfn::new(0));
        assert_eq!(pages.first(), 3200);
        assert_eq!(pages.lost_with(77), 77..78);
        assert_eq!(pages.lost_with(3202), 64..96);
    }

    #[test]
    fn runs_are_cut_where_tag_pages_end() {
        let parts: Vec<_> = by_tag_page(40..104).collect();
        assert_eq!(parts, [40..64, 64..96, 96..104]);
        assert!(by_tag_page(8..12).eq(core::iter::once(8..12)));
    }
}
