// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is about swap: areas, slots, the swap cache, and the tags of swapped pages.
//!
//! # The life of a swapped page
//!
//! 1. Reclaim locks the folio and gives it slots (`swap_out.rs`): one naturally aligned run. Each
//!    slot's word says "cached, this folio", count 0. The swap cache is nothing but these words and
//!    the folio's `place`; it holds one reference.
//! 2. Reclaim unmaps it. Each entry that mapped a page now names the page's slot, and counts in it.
//!    A slot with a count of 0 that caches nothing is free.
//! 3. When no CPU can reach the page any more, its tags are saved (`mte_tags.rs`) and its bytes are
//!    written (`writes.rs`); a page of zeroes is only marked. Tags first: the slot holds a page only with both.
//! 4. The folio leaves the cache (`cache.rs`) if nobody has come for it. The word then keeps a
//!    shadow, from which a later swap-in learns how long the page was gone.
//! 5. A fault, or swapoff, finds the folio in the cache or reads it (`swap_in.rs`), restores the
//!    tags once, under the folio lock, and only then lowers the count and maps it.
//! 6. When the count is 0 and the folio leaves the cache, the slot is free: its tags are dropped,
//!    its word is 0 (`slot.rs`).
//!
//! # Locks
//!
//! Folio lock > page-table lock > cluster > the area's free map and the tag store. A slot's word
//! changes under its cluster's lock only. A slot cannot become free while an entry (its table
//! locked) or the swap cache (the folio locked) refers to it. Its area cannot go out of service then,
//! nor while somebody has a reference to it (`area_ref.rs`).

mod area;
mod area_ref;
#[cfg(feature = "audit")]
mod audit;
mod cache;
mod checksum;
mod count;
mod cpu_runs;
mod device_tags;
mod discard;
mod mte_tags;
mod read_ahead;
mod read_together;
mod slot;
mod slot_table;
mod swap_in;
mod swap_out;
#[cfg(feature = "lab")]
mod swap_restore;
mod swapoff;
mod swapon;
pub mod tag_codec;
mod tag_store;
mod writes;

pub(crate) use area_ref::AreaRef;
pub(crate) use count::SlotDrops;
pub(crate) use read_ahead::ReadAhead;
pub(crate) use read_together::Request;
pub(crate) use swap_in::{InCache, SwapInError, Unread};
pub(crate) use swap_out::NoSlots;
pub use swapoff::SwapOffError;
pub use swapon::{AreaInfo, SwapOn, SwapOnError};
pub(crate) use writes::{NR_WRITTEN, Writes};

use alloc::sync::Arc;

use base::lock_level::SwapAreas;
use base::sync::RwSpinLock;
use base::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use hal::Machine;
use pgtable::AreaId;

use crate::system::System;
use area::SwapArea;
use area_ref::NrLeaving;
use mte_tags::SwappedTags;

/// Most pages that a fault may be told to read, as a power of two.
pub const MAX_PAGE_CLUSTER: u32 = 6;

/// Most pages that a fault reads, unless told otherwise, as a power of two. Linux has 3; but what is
/// wasted here is never more than what was right just before.
const PAGE_CLUSTER: u32 = 6;

/// Swap of one machine.
pub(crate) struct Swap {
    areas: RwSpinLock<[Option<Arc<SwapArea>>; AreaId::MAX], SwapAreas>,
    /// How many places of `areas`, from the first on, have ever had an area: nobody need look at the
    /// others. Stored with `areas` locked.
    nr_places: AtomicUsize,
    tags: SwappedTags,
    /// Evictions so far: the clock that shadows are read against.
    evictions: AtomicU32,
    leaving: NrLeaving,
    /// Areas that are put into service keep checksums.
    has_checksums: AtomicBool,
    /// Areas that are put into service have the tags of their pages.
    has_tags_on_device: AtomicBool,
    /// Most pages that a fault reads, as a power of two (Linux: `page_cluster`).
    page_cluster: AtomicU32,
}

impl Swap {
    pub(crate) fn new() -> Self {
        Self {
            areas: RwSpinLock::new([const { None }; AreaId::MAX]),
            nr_places: AtomicUsize::new(0),
            tags: SwappedTags::new(),
            evictions: AtomicU32::new(0),
            leaving: NrLeaving::new(0),
            has_checksums: AtomicBool::new(false),
            has_tags_on_device: AtomicBool::new(false),
            page_cluster: AtomicU32::new(PAGE_CLUSTER),
        }
    }
}

impl<M: Machine> System<M> {
    /// Has areas that are put into service from now on keep a checksum of each page.
    pub fn set_swap_checksums(&self) {
        self.swap().has_checksums.store(true, Ordering::Relaxed);
    }

    /// Has areas that are put into service from now on keep the tags of their pages on the disk.
    pub fn set_swap_tags_on_device(&self) {
        self.swap().has_tags_on_device.store(true, Ordering::Relaxed);
    }

    /// Has faults read up to 2^`order` pages; 0 for the one that is asked for. Above [`MAX_PAGE_CLUSTER`]
    /// is like that.
    pub fn set_page_cluster(&self, order: u32) {
        self.swap().page_cluster.store(order.min(MAX_PAGE_CLUSTER), Ordering::Relaxed);
    }

    /// Returns what [`System::set_page_cluster`] has set.
    pub fn page_cluster(&self) -> u32 {
        self.swap().page_cluster.load(Ordering::Relaxed)
    }

    /// Returns all swap slots and the free ones, over all areas.
    pub fn swap_slots(&self) -> (u64, u64) {
        let areas = self.swap().areas.read();
        areas
            .iter()
            .flatten()
            .fold((0, 0), |(total, free), area| (total + area.nr_usable(), free + area.nr_free()))
    }

    /// Returns the frames that hold slot words and tags of swapped pages.
    pub fn swap_metadata_frames(&self) -> u64 {
        let areas = self.swap().areas.read();
        let tables: u64 = areas.iter().flatten().map(|area| area.nr_table_frames()).sum();
        tables + self.swap().tags.nr_frames()
    }

    /// Returns the bytes of tag records in use for swapped pages, by their size: 8 (in the slot's tag
    /// word), 16, 32, 64 and 128 bytes.
    pub fn tag_bytes_by_size(&self) -> [u64; 5] {
        self.swap().tags.bytes_in_use()
    }

    /// Returns the bytes of tag records in use for swapped pages.
    pub fn tag_bytes_stored(&self) -> u64 {
        self.tag_bytes_by_size().into_iter().sum()
    }
}
