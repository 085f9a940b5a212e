// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps folio descriptors: chunks that are allocated when needed and never move.
//!
//! A descriptor is named by index, so links between folios are 4 bytes and nothing dangles: a
//! stale index finds a descriptor with another owner, never freed memory. Whoever follows an index
//! holds what keeps the folio alive (its reference, an entry that maps it, a slot that caches it).

use alloc::boxed::Box;
use alloc::vec::Vec;

use arrayvec::ArrayVec;

use base::lock_level;
use base::percpu::{CpuId, PerCpu};
use base::sync::{OnceBox, SpinLock};

use super::Folio;

/// Index of a folio's descriptor; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FolioId(u32);

impl FolioId {
    /// Wraps a raw index.
    pub(crate) const fn new(raw: u32) -> Self {
        debug_assert!(raw != 0);
        Self(raw)
    }

    /// Returns the raw index.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Descriptors in a chunk: one page's worth.
const CHUNK: usize = 64;
/// Free descriptors a CPU keeps for itself at most.
const CACHE: usize = 64;

/// All folio descriptors.
pub(crate) struct FolioArena {
    /// A chunk is set once, under `free`, before an index into it is handed out.
    chunks: Box<[OnceBox<[Folio; CHUNK]>]>,
    caches: PerCpu<SpinLock<ArrayVec<FolioId, CACHE>, lock_level::FolioCache>>,
    free: SpinLock<FreeList, lock_level::FolioArena>,
}

struct FreeList {
    ids: Vec<FolioId>,
    nr_chunks: usize,
}

impl FolioArena {
    /// Builds an arena that can hold `max_folios` descriptors and holds none yet.
    pub(crate) fn new(max_folios: usize, nr_cpus: usize) -> Self {
        // One chunk more: index 0 names no folio.
        let nr_chunks = max_folios.div_ceil(CHUNK) + 1;
        Self {
            chunks: (0..nr_chunks).map(|_| OnceBox::new()).collect(),
            caches: PerCpu::new(nr_cpus, |_| SpinLock::new(ArrayVec::new())),
            free: SpinLock::new(FreeList { ids: Vec::new(), nr_chunks: 0 }),
        }
    }

    /// Returns the descriptor named by `id`.
    #[inline(always)]
    pub(crate) fn get(&self, id: FolioId) -> &Folio {
        match self.chunks.get(id.0 as usize / CHUNK).and_then(OnceBox::get) {
            Some(chunk) => &chunk[id.0 as usize % CHUNK],
            None => no_chunk(id),
        }
    }

    /// Takes a free descriptor; `None` when another chunk is needed and the kernel heap `has_room`
    /// for none.
    #[inline]
    pub(crate) fn alloc(&self, cpu: CpuId, has_room: impl FnOnce() -> bool) -> Option<FolioId> {
        let mut cache = self.caches.of(cpu).lock();
        if cache.is_empty() {
            self.refill(&mut cache, has_room);
        }
        cache.pop()
    }

    /// Gives descriptors back.
    pub(crate) fn free_all(&self, cpu: CpuId, ids: &[FolioId]) {
        let mut cache = self.caches.of(cpu).lock();
        for some in ids.chunks(CACHE / 2) {
            if cache.remaining_capacity() < some.len() {
                // Never grows: `refill` reserved room for every descriptor that exists.
                self.free.lock().ids.extend(cache.drain(..CACHE / 2));
            }
            cache.extend(some.iter().copied());
        }
    }

    /// Returns the bytes of all chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.free.lock().nr_chunks * CHUNK * size_of::<Folio>()
    }

    /// Returns the bytes of the chunks that there may yet have to be.
    pub(crate) fn bytes_to_come(&self) -> usize {
        (self.chunks.len() - self.free.lock().nr_chunks) * CHUNK * size_of::<Folio>()
    }

    /// Returns (descriptors there are, those of them that can be allocated). For a moment when nobody
    /// allocates or frees.
    #[cfg(feature = "audit")]
    pub(crate) fn census(&self) -> (usize, usize) {
        let cached: usize = self.caches.iter().map(|cache| cache.lock().len()).sum();
        let free = self.free.lock();
        // Index 0 is none.
        ((free.nr_chunks * CHUNK).saturating_sub(1), cached + free.ids.len())
    }

    /// Iterates over the descriptors in use. For a moment when nobody allocates or frees.
    #[cfg(feature = "audit")]
    pub(crate) fn live(&self) -> impl Iterator<Item = FolioId> {
        let nr = self.free.lock().nr_chunks * CHUNK;
        (1..nr as u32).map(FolioId).filter(|id| self.get(*id).refcount() > 0)
    }

    #[cold]
    fn refill(&self, cache: &mut ArrayVec<FolioId, CACHE>, has_room: impl FnOnce() -> bool) {
        let mut free = self.free.lock();
        if free.ids.is_empty() && has_room() {
            self.add_chunk(&mut free);
        }
        let take = free.ids.len().min(CACHE / 2);
        let from = free.ids.len() - take;
        cache.extend(free.ids.drain(from..));
    }

    fn add_chunk(&self, free: &mut FreeList) {
        if free.nr_chunks == self.chunks.len() {
            return;
        }
        // Room for every descriptor there is then: `free` never allocates.
        let total = (free.nr_chunks + 1) * CHUNK;
        if free.ids.try_reserve(total - free.ids.len()).is_err() {
            return;
        }
        let Some(chunk) = new_chunk() else { return };
        let first = (free.nr_chunks * CHUNK) as u32;
        self.chunks[free.nr_chunks].set(chunk);
        free.nr_chunks += 1;
        // Index 0 is never handed out.
        let ids = (first..first + CHUNK as u32).rev().filter(|id| *id != 0).map(FolioId);
        free.ids.extend(ids);
    }
}

#[cold]
fn no_chunk(id: FolioId) -> ! {
    panic!("folio arena: {id:?} is of a chunk that does not exist");
}

/// Allocates descriptors; `None` when the kernel heap has no room.
fn new_chunk() -> Option<Box<[Folio; CHUNK]>> {
    let mut folios = Vec::new();
    folios.try_reserve_exact(CHUNK).ok()?;
    folios.resize_with(CHUNK, Folio::new);
    folios.into_boxed_slice().try_into().ok()
}
