// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts folios into the swap cache, finds them there, and takes them out.
//!
//! The cache has no structure of its own: a slot's word names the folio, the folio's `place` names
//! the first slot, and both change together under the folio lock and the cluster's lock. The cache
//! holds one reference to each folio in it.

use base::Order;
use base::sync::stop_point;
use hal::Machine;
use pgtable::SwapEntry;

use super::area::SwapArea;
use super::area_ref::AreaRef;
use super::slot::SlotWord;
use crate::folio::{FolioFlags, FolioId, FolioLock, FolioRef, Place};
use crate::lab::Fault;
use crate::system::System;

/// What a slot has to say to somebody who holds an entry that names it.
pub(super) enum Lookup<'s, M: Machine> {
    /// A folio caches it.
    Cached(FolioRef<'s, M>),
    /// It is in use, and only on disk.
    OnDisk,
    /// It is not in use: the entry is out of date.
    Free,
}

impl<M: Machine> System<M> {
    /// Looks a slot up.
    pub(super) fn look_up(&self, area: &SwapArea, slot: u32) -> Lookup<'_, M> {
        let cluster = area.lock_cluster(self, slot);
        let word = cluster.load(slot);
        match word.folio() {
            // The cache's reference keeps the folio alive while the cluster is locked.
            Some(folio) => Lookup::Cached(self.get_folio(folio)),
            None if word.count() > 0 => Lookup::OnDisk,
            None => Lookup::Free,
        }
    }

    /// Returns the folio that caches a slot, if one does.
    pub(crate) fn find_cached(&self, area: &AreaRef<'_, M>, slot: u32) -> Option<FolioRef<'_, M>> {
        match self.look_up(area, slot) {
            Lookup::Cached(folio) => Some(folio),
            Lookup::OnDisk | Lookup::Free => None,
        }
    }

    /// Puts a new locked folio into the cache, for a slot that is only on disk and those after it, as
    /// many as it has pages, and returns the first one's word. `None` when they are not all only on
    /// disk, or not alike: some written and some marked as zeroes. What sort of folio it is, the slot
    /// says: who found an entry that is out of date by now knows nothing of the slot's new page.
    pub(super) fn add_to_cache(
        &self,
        area: &SwapArea,
        slot: u32,
        folio: &FolioLock<'_, M>,
    ) -> Option<SlotWord> {
        let mut cluster = area.lock_cluster(self, slot);
        let first = cluster.load(slot);
        let slots = slot..slot + folio.order().nr_pages();
        let is_fit = |word: SlotWord| {
            let is_cached = word.folio().is_some() && !self.commits(Fault::CachedTwice);
            !is_cached && word.count() > 0 && word.is_zero_page() == first.is_zero_page()
        };
        if first.is_free() || !cluster.words(slots.clone()).all(is_fit) {
            return None;
        }
        if first.is_object() {
            if folio.order() != Order::PAGE {
                return None;
            }
            folio.set(FolioFlags::SHMEM);
        }
        folio.set_place(Place::Swap(cluster.entry(slot)));
        folio.get();
        cluster.update(slots, |word| word.with_folio(folio.id()));
        Some(first)
    }

    /// Takes a folio out of the cache because nothing but the folio itself has its content any
    /// more: no entry refers to its slots, and they become free. Returns whether it is out of the
    /// cache now; `false` when entries still refer to a slot.
    pub(crate) fn try_free_swap(&self, folio: &FolioLock<'_, M>) -> bool {
        let Some(first) = folio.swap_entry() else { return true };
        if folio.has(FolioFlags::WRITEBACK) {
            return false;
        }
        let area = self.swap_area(first.area).expect("a cached folio's area is in service");
        stop_point("area found");
        let slots = first.slots(folio.order().nr_pages());
        let mut cluster = area.lock_cluster(self, first.slot);
        if cluster.words(slots.clone()).any(|word| word.count() != 0) {
            return false;
        }
        cluster.update(slots, |word| word.with_shadow(0));
        drop(cluster);
        self.leave_cache(folio);
        // The copy on disk is gone: this is the only one.
        folio.set(FolioFlags::DIRTY);
        true
    }

    /// Takes a clean, unmapped folio out of the cache; its content is on disk. The slots that
    /// entries refer to keep a shadow, the others are free.
    pub(crate) fn evict_from_cache(&self, folio: &FolioLock<'_, M>, first: SwapEntry) {
        let area = self.swap_area(first.area).expect("a cached folio's area is in service");
        let shadow = self.next_shadow();
        let mut cluster = area.lock_cluster(self, first.slot);
        let slots = first.slots(folio.order().nr_pages());
        cluster.update(slots, |word| word.with_shadow(shadow));
        drop(cluster);
        self.leave_cache(folio);
    }

    /// Takes a folio that could not be read out of the cache; its slots stay as they were.
    pub(super) fn abandon_cache(&self, area: &SwapArea, slot: u32, folio: &FolioLock<'_, M>) {
        let mut cluster = area.lock_cluster(self, slot);
        let slots = slot..slot + folio.order().nr_pages();
        cluster.update(slots, |word| word.with_shadow(0));
        drop(cluster);
        if self.commits(Fault::ReferenceLeakedOnReadError) {
            folio.get();
        }
        self.leave_cache(folio);
    }

    /// Makes the slots from `first` on, which a folio that is being split caches, name the folios of its
    /// pages.
    pub(crate) fn rename_cached(&self, first: SwapEntry, folios: &[FolioId]) {
        let area = self.swap_area(first.area).expect("a cached folio's area is in service");
        let mut slots = first.slots(folios.len() as u32);
        if self.commits(Fault::OnlyHeadRenamed) {
            slots.end = slots.start + 1;
        }
        if self.commits(Fault::ClearedBeforeRenamed) {
            let mut cluster = area.lock_cluster(self, first.slot);
            cluster.update(slots.clone(), |word| word.with_shadow(0));
        }
        stop_point("slots are renamed");
        let mut cluster = area.lock_cluster(self, first.slot);
        let mut folios = folios.iter();
        cluster
            .update(slots, |word| word.with_folio(*folios.next().expect("a folio for each slot")));
    }

    fn leave_cache(&self, folio: &FolioLock<'_, M>) {
        folio.set_place(Place::Nowhere);
        folio.clear(FolioFlags::BAD_SLOT);
        self.put_folio(folio.id());
    }

    /// Ticks the eviction clock and returns a shadow, never 0.
    fn next_shadow(&self) -> u32 {
        use base::sync::atomic::Ordering::Relaxed;
        self.swap().evictions.fetch_add(1, Relaxed).wrapping_add(1).max(1)
    }

    /// Tells whether a page with this shadow was evicted so recently that it would have stayed had
    /// the active list been shorter (Linux's workingset detection, mm/workingset.c).
    pub(super) fn is_refault(&self, shadow: u32) -> bool {
        use base::sync::atomic::Ordering::Relaxed;
        let distance = self.swap().evictions.load(Relaxed).wrapping_sub(shadow);
        shadow != 0 && (distance as u64) <= self.lru().nr_active()
    }
}
