// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder defines the folio: a naturally aligned run of frames that is managed as one.
//!
//! # The life of an anonymous folio
//!
//! 1. A fault allocates frames and a descriptor: refcount 1, held by the fault.
//! 2. Mapping it records who maps it and where (`rmap/`). The mappings *together* hold one
//!    reference, taken by the first and passed on by the last. Who unmaps a page holds a reference
//!    until the TLBs have forgotten it.
//! 3. It goes on an LRU list, which holds no reference: a folio that is freed leaves its list first.
//! 4. Reclaim locks it, gives it swap slots (the swap cache holds a reference), unmaps it, writes
//!    it, and drops the cache's reference if nobody has come back for it meanwhile.
//! 5. When the last reference goes, its frames' words are reset and its frames are free.
//!
//! Of step 2 follows the test for "nobody else can see this folio", which copy-on-write and
//! reclaim need: the refcount equals mapped (0 or 1) + in the swap cache or a file (0 or 1) +
//! the references the caller knows of.
//!
//! # Invariants
//!
//! - `mapcount` is the number of last-level entries that map the folio's pages, over all address
//!   spaces; the reverse map's entries sum to it.
//! - A folio on the swap cache or in a file has `place` set; the slot or file names it back.
//! - The lock ([`FolioLock`]) is needed to change `place`, to start or end write-back, and to map a
//!   page from the swap cache or a file.

mod arena;
mod flags;
mod freeze;
mod lock;
mod reference;
mod split;

pub(crate) use arena::FolioArena;
pub use arena::FolioId;
pub(crate) use flags::FolioFlags;
pub(crate) use freeze::Frozen;
pub(crate) use lock::FolioLock;
pub(crate) use reference::FolioRef;

use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use base::{Order, Pfn};
use pgtable::SwapEntry;

use crate::shmem::ShmemPlace;

/// The descriptor of a folio: one cache line, whatever its order.
///
/// Field key: **A** atomic, any time; **C** constant from allocation to free; **L** written under
/// the folio lock; **R** under the reverse-map bit of `flags`; **U** under the LRU shard's lock.
#[repr(C, align(64))]
pub(crate) struct Folio {
    /// A. Flags, order, LRU shard (`flags.rs`).
    flags: AtomicU32,
    /// A. References; 0 while the descriptor is free.
    refcount: AtomicU32,
    /// C. First frame.
    head: AtomicU32,
    /// A. Long- and short-term pins, exact.
    pins: AtomicU32,
    /// U. Neighbours on the LRU list. While the folio is being split, and on no list, the first names
    /// the descriptor that counts its frozen entries.
    pub(crate) lru_prev: AtomicU32,
    /// U.
    pub(crate) lru_next: AtomicU32,
    /// R. Entries that map the folio's pages.
    pub(crate) mapcount: AtomicU32,
    /// R. Index of the table that holds reverse-map entries beyond two, 0 for none.
    pub(crate) rmap_spill: AtomicU32,
    /// R. The first two reverse-map entries (`rmap/entry.rs`), 0 for none.
    pub(crate) rmap: [AtomicU64; 2],
    /// L. Where the content belongs: a swap slot, or a page of a shared-memory object. 0: nowhere.
    place: AtomicU64,
    /// Neighbours on the queue of folios to be split, under its lock.
    pub(crate) split_prev: AtomicU32,
    pub(crate) split_next: AtomicU32,
}

const _: () = assert!(size_of::<Folio>() == 64 || cfg!(shuttle), "one cache line per folio");

/// Where a folio's content belongs beside the folio itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nowhere: anonymous and not in the swap cache.
    Nowhere,
    /// In the swap cache, at this slot and those after it.
    Swap(SwapEntry),
    /// In a shared-memory object.
    Shmem(ShmemPlace),
}

impl Folio {
    fn new() -> Self {
        Self {
            flags: AtomicU32::new(0),
            refcount: AtomicU32::new(0),
            head: AtomicU32::new(0),
            pins: AtomicU32::new(0),
            lru_prev: AtomicU32::new(0),
            lru_next: AtomicU32::new(0),
            mapcount: AtomicU32::new(0),
            rmap_spill: AtomicU32::new(0),
            rmap: [AtomicU64::new(0), AtomicU64::new(0)],
            place: AtomicU64::new(0),
            split_prev: AtomicU32::new(0),
            split_next: AtomicU32::new(0),
        }
    }

    /// Returns the first frame.
    #[inline(always)]
    pub(crate) fn head(&self) -> Pfn {
        Pfn::new(self.head.load(Ordering::Relaxed))
    }

    /// Iterates over the frames.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Pfn> + use<> {
        let head = self.head();
        (0..self.order().nr_pages()).map(move |n| head.add(n))
    }

    /// Returns how many entries map the folio's pages.
    #[inline(always)]
    pub(crate) fn mapcount(&self) -> u32 {
        self.mapcount.load(Ordering::Relaxed)
    }

    /// Tells whether any entry maps any of its pages.
    #[inline(always)]
    pub(crate) fn is_mapped(&self) -> bool {
        self.mapcount() != 0
    }

    /// Returns the references held now.
    pub(crate) fn refcount(&self) -> u32 {
        self.refcount.load(Ordering::Acquire)
    }

    /// Returns the pins.
    pub(crate) fn pins(&self) -> &AtomicU32 {
        &self.pins
    }

    /// Tells whether a device or the kernel holds the folio in place.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) != 0
    }

    /// Tells whether the references are exactly those of the mappings, of the swap cache or file,
    /// and `known` more: nobody else can reach the folio.
    pub(crate) fn has_no_other_reference(&self, known: u32) -> bool {
        let mapped = self.is_mapped() as u32;
        let placed = (self.place.load(Ordering::Relaxed) != 0) as u32;
        self.refcount() == mapped + placed + known
    }

    /// Tells whether the content belongs nowhere else.
    #[inline(always)]
    pub(crate) fn is_nowhere(&self) -> bool {
        self.place.load(Ordering::Acquire) == 0
    }

    /// Returns where the content belongs.
    pub(crate) fn place(&self) -> Place {
        Place::unpack(self.place.load(Ordering::Acquire))
    }

    /// Says where the content belongs; the folio is locked or not yet visible.
    pub(crate) fn set_place(&self, place: Place) {
        self.place.store(place.pack(), Ordering::Release);
    }

    /// Returns the swap slot of its first page, if it is in the swap cache.
    pub(crate) fn swap_entry(&self) -> Option<SwapEntry> {
        match self.place() {
            Place::Swap(entry) => Some(entry),
            Place::Nowhere | Place::Shmem(_) => None,
        }
    }

    /// Tells whether the folio is anonymous: not part of a shared-memory object.
    pub(crate) fn is_anon(&self) -> bool {
        !self.has(FolioFlags::SHMEM)
    }

    /// Returns the order.
    #[inline(always)]
    pub(crate) fn order(&self) -> Order {
        flags::order_of(self.flags.load(Ordering::Relaxed))
    }
}

/// Bit 63 of a packed place tells a shared-memory page from a swap slot.
const SHMEM: u64 = 1 << 63;

impl Place {
    const fn pack(self) -> u64 {
        match self {
            Place::Nowhere => 0,
            // Slot 0 of area 0 is the area's header, so no entry packs to 0.
            Place::Swap(entry) => entry.pack(),
            Place::Shmem(place) => SHMEM | place.pack(),
        }
    }

    const fn unpack(packed: u64) -> Self {
        if packed == 0 {
            Place::Nowhere
        } else if packed & SHMEM != 0 {
            Place::Shmem(ShmemPlace::unpack(packed & !SHMEM))
        } else {
            Place::Swap(SwapEntry::unpack(packed))
        }
    }
}
