// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file recomputes what is known of swap slots.

use hal::Machine;
use pgtable::SwapEntry;

use super::slot::SlotWord;
use crate::audit::Observed;
use crate::folio::{FolioFlags, FolioId};
use crate::frame::MteState;
use crate::lab::Restore;
use crate::system::System;

impl<M: Machine> System<M> {
    /// Returns the folio that caches a slot.
    pub(crate) fn cached_folio(&self, entry: SwapEntry) -> Option<FolioId> {
        let area = self.area_of(entry)?;
        area.lock_cluster(self, entry.slot).load(entry.slot).folio()
    }

    /// Compares the words of all slots with what refers to them. Returns the bytes of tag records
    /// and the frames of slot words and records in use.
    pub(crate) fn audit_swap(&self, seen: &Observed) -> (u64, u64) {
        let mut tag_bytes = 0;
        let mut last = None;
        while let Some(area) = self.area_after(last) {
            last = Some(area.rank());
            let mut in_use = 0;
            for slot in 1..area.nr_slots {
                let word = area.lock_cluster(self, slot).load(slot);
                let entry = SwapEntry { area: area.id, slot };
                let users = seen.slots.get(&entry).copied().unwrap_or(0);
                assert_eq!(word.count(), users, "users of {entry:?}: kept, found; {word:?}");
                in_use += !word.is_free() as u64;
                if let Some(folio) = word.folio() {
                    assert!(self.folio(folio).refcount() > 0, "{entry:?} caches a free folio");
                    self.audit_cached_tags(folio, entry, word);
                } else if !word.is_free() {
                    assert!(word.count() > 0, "{entry:?} is in use for nothing: {word:?}");
                }
                let nr_words = word.tags().map_or(Ok(0), |shape| shape.nr_words());
                tag_bytes += 8 * nr_words.expect("a slot's tags have a shape") as u64;
            }
            assert_eq!(area.nr_in_use(), in_use, "slots in use of {:?}: kept, found", area.id);
        }
        for entry in seen.slots.keys() {
            assert!(self.area_of(*entry).is_some(), "{entry:?} names no slot");
        }
        (tag_bytes, self.swap_metadata_frames())
    }

    /// Checks that a page which has been read from a slot with tags is tagged: who saves the tags of
    /// a page that is not can leave the slot alone.
    fn audit_cached_tags(&self, id: FolioId, entry: SwapEntry, word: SlotWord) {
        let folio = self.folio(id);
        if let Some(first) = folio.swap_entry()
            && folio.has(FolioFlags::UPTODATE)
            && word.has_tags()
            && self.refault().restore == Restore::AtRead
        {
            let pfn = folio.head().add(entry.slot - first.slot);
            assert_eq!(self.words().mte_state(pfn), MteState::Tagged, "page of {entry:?}");
        }
    }
}
