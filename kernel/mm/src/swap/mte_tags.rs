// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file saves the allocation tags of pages at swap-out, restores them at swap-in, and drops
//! them with their slots.
//!
//! A block device carries bytes only. Tags are saved when no CPU can reach the page any more and
//! before its bytes are written; restored once, by whoever reads the page back, before the folio is
//! marked up to date; dropped when the slot is freed. A page that is not tagged stores nothing.
//! Saving again replaces what was stored.
//!
//! A slot's word has the shape of the record (`tag_codec.rs`). A record of 8 bytes is the slot's tag
//! word; of a larger one that word is the name (`tag_store.rs`).

use base::Pfn;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::{Machine, PageTags, TraceKind};

use super::area::{ClusterLock, SwapArea};
use super::slot::SlotWord;
use super::slot_table::SlotTable;
use super::tag_codec::{self, Record, Shape};
use super::tag_store::{NR_CLASSES, RecordRef, TagStore};
use crate::events::MmEvent;
use crate::folio::{Folio, FolioLock};
use crate::frame::{MteState, OutOfMemory};
use crate::lab::Fault;
use crate::system::System;

/// Slots whose tags are restored under one lock, so that nobody waits for long.
const NR_LOCKED: usize = 16;

/// The tags of swapped pages, beyond the slots' words.
pub(super) struct SwappedTags {
    nr_inline: AtomicU64,
    store: TagStore,
}

impl SwappedTags {
    pub fn new() -> Self {
        Self { nr_inline: AtomicU64::new(0), store: TagStore::new() }
    }

    pub fn nr_frames(&self) -> u64 {
        self.store.nr_frames()
    }

    /// Returns the bytes in use by records of 8, 16, 32, 64 and 128 bytes.
    pub fn bytes_in_use(&self) -> [u64; 1 + NR_CLASSES] {
        let mut bytes = [8 * self.nr_inline.load(Ordering::Relaxed); 1 + NR_CLASSES];
        bytes[1..].copy_from_slice(&self.store.bytes_in_use());
        bytes
    }
}

/// Why tags are not saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotSaved {
    /// No memory for them.
    OutOfMemory,
    /// The disk does not take them.
    Device,
}

impl From<OutOfMemory> for NotSaved {
    fn from(_: OutOfMemory) -> Self {
        NotSaved::OutOfMemory
    }
}

impl<M: Machine> System<M> {
    /// Saves the tags of all pages of a folio with its slots, or of none.
    ///
    /// # Errors
    ///
    /// [`NotSaved::OutOfMemory`] when storage for some page cannot be had; nothing is stored then.
    /// [`NotSaved::Device`] when they go to the disk and it does not take them.
    pub(super) fn save_tags(
        &self,
        area: &SwapArea,
        folio: &FolioLock<'_, M>,
        first_slot: u32,
    ) -> Result<(), NotSaved> {
        if !self.machine().has_tags() || self.commits(Fault::TagsNotSaved) {
            return Ok(());
        }
        if let Some(pages) = area.tag_pages() {
            return self.save_tags_on_device(area, pages, folio, first_slot);
        }
        // The slot of an untagged page has none to drop.
        let tagged = |n: &u32| has_own_tags(self, folio, *n);
        let mut record = Record::new();
        let mut span = self.machine().span(TraceKind::TagsSave, || [first_slot.into(), 0]);
        let mut nr_saved = 0;
        for n in (0..folio.order().nr_pages()).filter(tagged) {
            record.encode(&self.machine().read_tags(folio.head().add(n)));
            let slot = first_slot + n;
            let stored = store_tags(&mut area.lock_cluster(self, slot), slot, &record);
            if let Err(why) = stored {
                let end = first_slot + folio.order().nr_pages();
                let mut cluster = area.lock_cluster(self, first_slot);
                (first_slot..end).for_each(|slot| drop_tags(&mut cluster, slot));
                return Err(why.into());
            }
            self.count(MmEvent::MteTagsSaved, 1);
            self.count(event_of(record.words().len()), 1);
            nr_saved += 1;
        }
        match nr_saved {
            0 => span.cancel(),
            nr_saved => span.set(|| nr_saved),
        }
        Ok(())
    }

    /// Restores the tags of a new folio's pages, which were read from the slots from `first` on, as far
    /// as these have any. Nobody maps the folio before this is done.
    pub(super) fn restore_all_tags(&self, area: &SwapArea, first: u32, folio: &FolioLock<'_, M>) {
        let slots = first..first + folio.order().nr_pages();
        slots.clone().for_each(|_| self.count_tag_lookup());
        if !self.machine().has_tags() {
            return;
        }
        for start in slots.clone().step_by(NR_LOCKED) {
            let part = start..slots.end.min(start + NR_LOCKED as u32);
            let cluster = area.lock_cluster(self, start);
            for (slot, word) in part.clone().zip(cluster.words(part)) {
                if let Some(tags) = load_tags(&cluster, slot, word) {
                    self.put_tags(slot, folio.head().add(slot - first), &tags);
                }
            }
        }
    }

    /// Restores the tags of a page that was read from a slot, if the slot has any and the page has
    /// not got them. The folio is locked, and nobody maps the page before this is done.
    #[cfg(feature = "lab")]
    pub(super) fn restore_tags(&self, area: &SwapArea, slot: u32, pfn: Pfn) {
        self.count_tag_lookup();
        let has_tags = self.words().mte_state(pfn) == MteState::Tagged;
        if !self.machine().has_tags() || (has_tags && !self.commits(Fault::TagsRestoredAgain)) {
            return;
        }
        let cluster = area.lock_cluster(self, slot);
        if let Some(tags) = load_tags(&cluster, slot, cluster.load(slot)) {
            self.put_tags(slot, pfn, &tags);
        }
    }

    fn put_tags(&self, slot: u32, pfn: Pfn, tags: &PageTags) {
        let _span = self.machine().span(TraceKind::TagsRestore, || [slot.into(), pfn.get().into()]);
        let write = || self.machine().write_tags(pfn, tags);
        if !self.words().make_tagged(pfn, write) && self.commits(Fault::TagsRestoredAgain) {
            write();
        }
        self.count(MmEvent::MteTagsRestored, 1);
    }
}

/// Tells whether a page of a folio is tagged.
pub(super) fn has_own_tags<M: Machine>(system: &System<M>, folio: &Folio, index: u32) -> bool {
    let index = if system.commits(Fault::TagStateOfHead) { 0 } else { index };
    system.words().mte_state(folio.head().add(index)) == MteState::Tagged
}

/// Returns the event that counts records of so many words.
fn event_of(nr_words: usize) -> MmEvent {
    match nr_words {
        0 => MmEvent::MteTagUniform,
        1 => MmEvent::MteTagInline,
        2 => MmEvent::MteTag16,
        4 => MmEvent::MteTag32,
        8 => MmEvent::MteTag64,
        _ => MmEvent::MteTagRaw,
    }
}

/// Returns the words of the record of this shape, which this kernel has written.
fn nr_words(shape: Shape) -> usize {
    shape.nr_words().unwrap_or_else(|_| panic!("swap slot: tags of {shape:?}"))
}

/// Stores a record with a slot, in place of the one that may be there.
pub(super) fn store_tags<M: Machine>(
    cluster: &mut ClusterLock<'_, M>,
    slot: u32,
    record: &Record,
) -> Result<(), OutOfMemory> {
    drop_tags(cluster, slot);
    let system = cluster.system();
    let tags = &system.swap().tags;
    match record.words() {
        [] => {}
        [word] => {
            cluster.prepare_beside(SlotTable::Tags)?;
            cluster.store_beside(SlotTable::Tags, slot, *word);
            tags.nr_inline.fetch_add(1, Ordering::Relaxed);
        }
        words => {
            // Room for the name first: it is the only thing here that no free undoes.
            cluster.prepare_beside(SlotTable::Tags)?;
            cluster.store_beside(SlotTable::Tags, slot, tags.store.put(system, words)?.pack());
        }
    }
    let word = cluster.load(slot).with_tags(Some(record.shape()));
    cluster.store(slot, word);
    Ok(())
}

/// Returns the tags saved with a slot that has this word.
#[inline(always)]
fn load_tags<M: Machine>(
    cluster: &ClusterLock<'_, M>,
    slot: u32,
    word: SlotWord,
) -> Option<PageTags> {
    let shape = word.tags()?;
    let mut words = [0; PageTags::WORDS];
    match nr_words(shape) {
        0 => {}
        1 => words[0] = cluster.load_beside(SlotTable::Tags, slot),
        nr_words => {
            let system = cluster.system();
            system.swap().tags.store.read(system, name_of(cluster, slot), &mut words[..nr_words]);
        }
    }
    let tags = tag_codec::expand(shape, &words);
    Some(tags.unwrap_or_else(|_| panic!("saved tags of slot {slot}: {shape:?}, {words:#x?}")))
}

/// Drops the tags saved with a slot, if any.
fn drop_tags<M: Machine>(cluster: &mut ClusterLock<'_, M>, slot: u32) {
    let word = cluster.load(slot);
    if word.has_tags() {
        forget_tags(cluster, slot, word);
        cluster.store(slot, word.with_tags(None));
    }
}

/// Frees what the tags take that a slot with this word has, if any. The word goes, or is changed.
pub(super) fn forget_tags<M: Machine>(cluster: &ClusterLock<'_, M>, slot: u32, word: SlotWord) {
    let Some(shape) = word.tags() else { return };
    let system = cluster.system();
    let tags = &system.swap().tags;
    match nr_words(shape) {
        0 => {}
        1 => _ = tags.nr_inline.fetch_sub(1, Ordering::Relaxed),
        nr_words => tags.store.free(system, name_of(cluster, slot), nr_words),
    }
}

fn name_of<M: Machine>(cluster: &ClusterLock<'_, M>, slot: u32) -> RecordRef {
    RecordRef::unpack(cluster.load_beside(SlotTable::Tags, slot))
}
