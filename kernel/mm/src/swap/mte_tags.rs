// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file saves the allocation tags of pages at swap-out, restores them at swap-in, and drops
//! them with their slots.
//!
//! A block device carries bytes only. Tags are saved when no CPU can reach the page any more and
//! before its bytes are written; restored once, by whoever reads the page back, before the folio is
//! marked up to date; dropped when the slot is freed. A page that is not tagged stores nothing.
//! Saving again replaces what was stored.

use base::Pfn;
use hal::{Machine, PageTags};

use super::area::{ClusterLock, SwapArea};
use super::slot::{SlotWord, TagKind};
use super::tag_codec::{Encoded, decode, encode};
use super::tag_store::RecordRef;
use crate::events::MmEvent;
use crate::folio::{Folio, FolioLock};
use crate::frame::{MteState, OutOfMemory};
use crate::lab::Fault;
use crate::system::System;

impl<M: Machine> System<M> {
    /// Saves the tags of all pages of a folio with its slots, or of none.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when storage for some page cannot be had; nothing is stored then.
    pub(super) fn save_tags(
        &self,
        area: &SwapArea,
        folio: &FolioLock<'_, M>,
        first_slot: u32,
    ) -> Result<(), OutOfMemory> {
        if !self.machine().has_tags() || self.commits(Fault::TagsNotSaved) {
            return Ok(());
        }
        // The slot of an untagged page has none to drop.
        let tagged = |n: &u32| self.has_own_tags(folio, *n);
        for n in (0..folio.order().nr_pages()).filter(tagged) {
            let slot = first_slot + n;
            let mut cluster = area.lock_cluster(self, slot);
            drop_tags(&mut cluster, slot);
            if let Err(why) = save_page(&mut cluster, slot, folio.head().add(n)) {
                drop(cluster);
                for slot in (0..n).filter(tagged).map(|n| first_slot + n) {
                    drop_tags(&mut area.lock_cluster(self, slot), slot);
                }
                return Err(why);
            }
        }
        Ok(())
    }

    fn has_own_tags(&self, folio: &Folio, index: u32) -> bool {
        let index = if self.commits(Fault::TagStateOfHead) { 0 } else { index };
        self.words().mte_state(folio.head().add(index)) == MteState::Tagged
    }

    /// Restores the tags of a page that was read from a slot, if the slot has any and the page has
    /// not got them. The folio is locked, and nobody maps the page before this is done.
    pub(super) fn restore_tags(&self, area: &SwapArea, slot: u32, pfn: Pfn) {
        self.count_tag_lookup();
        let has_tags = self.words().mte_state(pfn) == MteState::Tagged;
        if has_tags && !self.commits(Fault::TagsRestoredAgain) {
            return;
        }
        let Some(tags) = load(&area.lock_cluster(self, slot), slot) else { return };
        match has_tags {
            true => self.machine().write_tags(pfn, &tags),
            false => _ = self.words().make_tagged(pfn, || self.machine().write_tags(pfn, &tags)),
        }
        self.count(MmEvent::MteTagsRestored, 1);
    }
}

fn save_page<M: Machine>(
    cluster: &mut ClusterLock<'_, M>,
    slot: u32,
    pfn: Pfn,
) -> Result<(), OutOfMemory> {
    let tags = cluster.system().machine().read_tags(pfn);
    let (kind, arg, event) = match encode(&tags) {
        Encoded::Uniform(tag) => (TagKind::Uniform, tag, MmEvent::MteTagUniform),
        Encoded::Inline { runs, bits } => {
            cluster.store_tag_word(slot, bits)?;
            (TagKind::Inline, runs, MmEvent::MteTagInline)
        }
        Encoded::Bytes16(record) => {
            store_record(cluster, slot, &record)?;
            (TagKind::Bytes16, 0, MmEvent::MteTag16)
        }
        Encoded::Bytes32(record) => {
            store_record(cluster, slot, &record)?;
            (TagKind::Bytes32, 0, MmEvent::MteTag32)
        }
        Encoded::Bytes64(record) => {
            store_record(cluster, slot, &record)?;
            (TagKind::Bytes64, 0, MmEvent::MteTag64)
        }
        Encoded::Raw(record) => {
            store_record(cluster, slot, &record)?;
            (TagKind::Raw, 0, MmEvent::MteTagRaw)
        }
    };
    let word = cluster.load(slot).with_tags(kind, arg);
    cluster.store(slot, word);
    cluster.system().count(MmEvent::MteTagsSaved, 1);
    cluster.system().count(event, 1);
    Ok(())
}

/// Stores a record, and its name in the slot's tag word.
fn store_record<M: Machine>(
    cluster: &mut ClusterLock<'_, M>,
    slot: u32,
    record: &[u64],
) -> Result<(), OutOfMemory> {
    // The tag word first: it is the only thing here that cannot be undone by a free.
    cluster.store_tag_word(slot, 0)?;
    let at = cluster.system().swap().tags.put(cluster.system(), record)?;
    cluster.store_tag_word(slot, at.pack())
}

/// Returns the tags saved with a slot.
fn load<M: Machine>(cluster: &ClusterLock<'_, M>, slot: u32) -> Option<PageTags> {
    let word = cluster.load(slot);
    let encoded = match word.tag_kind() {
        TagKind::None => return None,
        TagKind::Uniform => Encoded::Uniform(word.tag_arg()),
        TagKind::Inline => {
            Encoded::Inline { runs: word.tag_arg(), bits: cluster.load_tag_word(slot) }
        }
        TagKind::Bytes16 => Encoded::Bytes16(read_record(cluster, slot)),
        TagKind::Bytes32 => Encoded::Bytes32(read_record(cluster, slot)),
        TagKind::Bytes64 => Encoded::Bytes64(read_record(cluster, slot)),
        TagKind::Raw => Encoded::Raw(read_record(cluster, slot)),
    };
    let tags = decode(&encoded);
    Some(tags.unwrap_or_else(|why| panic!("saved tags of slot {slot}: {why:?}, {encoded:?}")))
}

fn read_record<M: Machine, const N: usize>(cluster: &ClusterLock<'_, M>, slot: u32) -> [u64; N] {
    let mut record = [0; N];
    let at = RecordRef::unpack(cluster.load_tag_word(slot));
    cluster.system().swap().tags.read(cluster.system(), at, &mut record);
    record
}

/// Drops the tags saved with a slot, if any.
pub(super) fn drop_tags<M: Machine>(cluster: &mut ClusterLock<'_, M>, slot: u32) {
    let word = cluster.load(slot);
    let words = match word.tag_kind() {
        TagKind::None => return,
        TagKind::Uniform | TagKind::Inline => 0,
        TagKind::Bytes16 => 2,
        TagKind::Bytes32 => 4,
        TagKind::Bytes64 => 8,
        TagKind::Raw => 16,
    };
    if words != 0 {
        let at = RecordRef::unpack(cluster.load_tag_word(slot));
        cluster.system().swap().tags.free(cluster.system(), at, words);
    }
    cluster.store(slot, SlotWord(word.0).with_tags(TagKind::None, 0));
}
