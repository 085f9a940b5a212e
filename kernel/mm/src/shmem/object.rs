// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines the object and its map of pages.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use base::lock_level::Mapping;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Machine;
use pgtable::SwapEntry;

use crate::folio::{FolioFlags, FolioId, FolioRef, Place};
use crate::frame::OutOfMemory;
use crate::system::System;

/// Why a page of an object cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShmemError {
    /// The object ends before it.
    BeyondEnd,
    /// It is on disk, and the disk does not give it back.
    Unreadable,
    /// The pool that the object's pages count in is full: ENOSPC.
    Full,
    /// No memory.
    OutOfMemory,
}

impl From<OutOfMemory> for ShmemError {
    fn from(_: OutOfMemory) -> Self {
        ShmemError::OutOfMemory
    }
}

/// A limit that the pages of several objects share: a tmpfs mount's size.
pub struct PagePool {
    limit: u64,
    used: AtomicU64,
}

impl PagePool {
    /// Builds a pool of `limit` pages.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// Returns the limit and the pages in use.
    pub fn usage(&self) -> (u64, u64) {
        (self.limit, self.used.load(Ordering::Relaxed))
    }

    pub(super) fn take(&self) -> Result<(), ShmemError> {
        let before = self.used.fetch_add(1, Ordering::Relaxed);
        if before < self.limit {
            return Ok(());
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
        Err(ShmemError::Full)
    }

    pub(super) fn give_back(&self, pages: u64) {
        self.used.fetch_sub(pages, Ordering::Relaxed);
    }
}

/// What an object's map has for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    Hole,
    Folio(FolioId),
    Swap(SwapEntry),
    /// It was on a disk that did not give it back, and is lost.
    Lost,
}

const IS_SWAP: u64 = 1 << 63;
const IS_LOST: u64 = 1 << 62;

impl Slot {
    const fn pack(self) -> u64 {
        match self {
            Slot::Hole => 0,
            Slot::Folio(id) => id.get() as u64,
            Slot::Swap(entry) => IS_SWAP | entry.pack(),
            Slot::Lost => IS_LOST,
        }
    }

    const fn unpack(raw: u64) -> Self {
        if raw == 0 {
            Slot::Hole
        } else if raw & IS_SWAP != 0 {
            Slot::Swap(SwapEntry::unpack(raw & !IS_SWAP))
        } else if raw == IS_LOST {
            Slot::Lost
        } else {
            Slot::Folio(FolioId::new(raw as u32))
        }
    }
}

/// Pages in one node of the map.
const NODE: u64 = 64;

/// The map of an object.
#[derive(Default)]
pub(super) struct PageMap {
    nodes: BTreeMap<u64, Box<[u64; NODE as usize]>>,
    pub nr_pages: u64,
    pub nr_swapped: u64,
}

impl PageMap {
    pub fn get(&self, index: u64) -> Slot {
        let node = self.nodes.get(&(index / NODE));
        node.map_or(Slot::Hole, |node| Slot::unpack(node[(index % NODE) as usize]))
    }

    pub fn set(&mut self, index: u64, slot: Slot) {
        let node = self.nodes.entry(index / NODE).or_insert_with(|| Box::new([0; NODE as usize]));
        let old = core::mem::replace(&mut node[(index % NODE) as usize], slot.pack());
        let is_empty = node.iter().all(|raw| *raw == 0);
        self.count(Slot::unpack(old), -1);
        self.count(slot, 1);
        if is_empty {
            self.nodes.remove(&(index / NODE));
        }
    }

    /// Returns the first page from `index` on that is not a hole.
    pub fn next(&self, index: u64) -> Option<(u64, Slot)> {
        self.nodes.range(index / NODE..).find_map(|(number, node)| {
            let first = number * NODE;
            let skip = index.saturating_sub(first) as usize;
            let found = node.iter().enumerate().skip(skip).find(|(_, raw)| **raw != 0)?;
            Some((first + found.0 as u64, Slot::unpack(*found.1)))
        })
    }

    fn count(&mut self, slot: Slot, change: i64) {
        match slot {
            Slot::Hole => {}
            Slot::Folio(_) => self.nr_pages = self.nr_pages.wrapping_add_signed(change),
            Slot::Swap(_) | Slot::Lost => {
                self.nr_swapped = self.nr_swapped.wrapping_add_signed(change)
            }
        }
    }
}

/// A page of an object, as a folio's `place`: object in bits 62:39, page in 38:0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ShmemPlace {
    pub object: u32,
    pub index: u64,
}

const INDEX_BITS: u32 = 39;

impl ShmemPlace {
    pub(crate) const fn pack(self) -> u64 {
        (self.object as u64) << INDEX_BITS | self.index
    }

    pub(crate) const fn unpack(packed: u64) -> Self {
        Self { object: (packed >> INDEX_BITS) as u32, index: packed & ((1 << INDEX_BITS) - 1) }
    }
}

/// Most pages of an object: 2 PiB.
pub(super) const MAX_PAGES: u64 = 1 << INDEX_BITS;

/// A shared-memory object.
pub struct Shmem<M: Machine> {
    pub(super) system: Arc<System<M>>,
    pub(super) id: u32,
    pub(super) map: SpinLock<PageMap, Mapping>,
    /// Bytes.
    pub(super) len: AtomicU64,
    pub(super) pool: Option<Arc<PagePool>>,
}

impl<M: Machine> Shmem<M> {
    /// Makes an object of `len` bytes, all holes. Its pages count in `pool`, if one is given.
    ///
    /// # Errors
    ///
    /// [`ShmemError::OutOfMemory`] when there are too many objects.
    pub fn new(
        system: &Arc<System<M>>,
        len: u64,
        pool: Option<Arc<PagePool>>,
    ) -> Result<Arc<Self>, ShmemError> {
        let id = system.shmems().take_id()?;
        let object = Arc::new(Self {
            system: Arc::clone(system),
            id,
            map: SpinLock::new(PageMap::default()),
            len: AtomicU64::new(len),
            pool,
        });
        system.shmems().publish(&object);
        Ok(object)
    }

    /// Returns the memory manager the object belongs to.
    pub fn system(&self) -> &Arc<System<M>> {
        &self.system
    }

    /// Returns the number of the object: its inode number for /proc/self/maps.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns the length in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Returns the pages in memory and those on disk, with those that a disk has lost.
    pub fn nr_pages(&self) -> (u64, u64) {
        let map = self.map.lock();
        (map.nr_pages, map.nr_swapped)
    }

    /// Tells whether page `index` has never been written, or was given up.
    pub fn is_hole(&self, index: u64) -> bool {
        self.map.lock().get(index) == Slot::Hole
    }

    /// Tells whether a locked folio is page `index` of this object.
    pub(crate) fn holds(&self, folio: &FolioRef<'_, M>, index: u64) -> bool {
        folio.place() == Place::Shmem(ShmemPlace { object: self.id, index })
    }

    /// Calls back with every folio and every swap slot that the map names.
    #[cfg(feature = "audit")]
    pub(crate) fn for_each_slot(
        &self,
        mut folio: impl FnMut(FolioId),
        mut swapped: impl FnMut(SwapEntry),
    ) {
        let map = self.map.lock();
        let mut index = 0;
        while let Some((at, slot)) = map.next(index) {
            match slot {
                Slot::Hole | Slot::Lost => {}
                Slot::Folio(id) => folio(id),
                Slot::Swap(entry) => swapped(entry),
            }
            index = at + 1;
        }
    }

    /// Tells whether the map names `folio` as page `index`.
    #[cfg(feature = "audit")]
    pub(crate) fn names(&self, index: u64, folio: FolioId) -> bool {
        self.map.lock().get(index) == Slot::Folio(folio)
    }

    pub(super) fn end_page(&self) -> u64 {
        self.len_bytes().div_ceil(base::PAGE_SIZE as u64)
    }
}

impl<M: Machine> Drop for Shmem<M> {
    fn drop(&mut self) {
        let system = Arc::clone(&self.system);
        self.remove_pages(&system, 0);
        system.shmems().free_id(self.id);
    }
}

/// Flags of a new folio of an object.
pub(super) const NEW_PAGE: FolioFlags =
    FolioFlags::SHMEM.union(FolioFlags::UPTODATE).union(FolioFlags::DIRTY);
