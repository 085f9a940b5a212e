// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file serves orders 0 to 9 in constant time: a cache per CPU over bit maps of 2 MiB blocks.

use arrayvec::ArrayVec;

use base::lock_level::{FrameBlocks, FrameCache};
use base::percpu::{CpuId, PerCpu};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU64, Ordering};
use base::{Order, Pfn};

use super::big::BigBlocks;
use crate::run_map::{BLOCK_UNITS, RunMap};

/// Frames a CPU's cache holds at most.
const CACHE_FRAMES: usize = 64;
/// Frames that move between a cache and the blocks at a time.
pub const BATCH: u32 = 32;

/// Free frames, except those in the buddy allocator's whole blocks.
pub struct FrameFront {
    first: Pfn,
    caches: PerCpu<SpinLock<ArrayVec<Pfn, CACHE_FRAMES>, FrameCache>>,
    blocks: SpinLock<RunMap, FrameBlocks>,
    big: BigBlocks,
    /// Free frames outside the caches. A hint for watermarks, exact when no CPU allocates.
    nr_free: AtomicU64,
}

impl FrameFront {
    /// Builds the front of `big`, whose first frame is `first`.
    pub fn new(first: Pfn, nr_blocks: usize, nr_cpus: usize, big: BigBlocks) -> Self {
        let nr_free = big.nr_free_blocks() * BLOCK_UNITS as u64;
        Self {
            first,
            caches: PerCpu::new(nr_cpus, |_| SpinLock::new(ArrayVec::new())),
            blocks: SpinLock::new(RunMap::new(nr_blocks)),
            big,
            nr_free: AtomicU64::new(nr_free),
        }
    }

    /// Returns the number of free frames outside the CPUs' caches.
    pub fn nr_free(&self) -> u64 {
        self.nr_free.load(Ordering::Relaxed)
    }

    /// Returns the number of free frames in the CPUs' caches.
    pub fn nr_cached(&self) -> u64 {
        self.caches.iter().map(|cache| cache.lock().len() as u64).sum()
    }

    /// Takes a frame from the cache of `cpu`.
    #[inline]
    pub fn pop(&self, cpu: CpuId) -> Option<Pfn> {
        self.caches.of(cpu).lock().pop()
    }

    /// Fills the cache of `cpu` with a batch, of `most` frames at most, as far as frames are left, and
    /// takes one of the cache.
    pub fn refill_and_pop(&self, cpu: CpuId, most: u64) -> Option<Pfn> {
        let mut cache = self.caches.of(cpu).lock();
        let room = cache.remaining_capacity() as u64;
        let want = room.min(BATCH.into()).min(most) as u32;
        let before = cache.len();
        let mut blocks = self.blocks.lock();
        if blocks.nr_free() < want as u64 {
            self.add_block(&mut blocks);
        }
        blocks.alloc_units(want, |unit| cache.push(self.first.add(unit)));
        self.nr_free.fetch_sub((cache.len() - before) as u64, Ordering::Relaxed);
        cache.pop()
    }

    /// Puts a free frame into the cache of `cpu`; a full cache gives a batch back first.
    #[inline]
    pub fn push(&self, cpu: CpuId, pfn: Pfn) {
        let mut cache = self.caches.of(cpu).lock();
        if cache.is_full() {
            self.drain(&mut cache, BATCH as usize);
        }
        cache.push(pfn);
    }

    /// Puts free frames into the cache of `cpu`, under one lock. Evaluates `frames` under it.
    pub fn push_all(&self, cpu: CpuId, frames: impl Iterator<Item = Pfn>) {
        let mut cache = self.caches.of(cpu).lock();
        for pfn in frames {
            if cache.is_full() {
                self.drain(&mut cache, BATCH as usize);
            }
            cache.push(pfn);
        }
    }

    /// Tells whether an aligned run of 2^`order` frames is free.
    pub fn has_run(&self, order: Order) -> bool {
        let mut blocks = self.blocks.lock();
        if !blocks.has_run(order) {
            self.add_block(&mut blocks);
        }
        blocks.has_run(order)
    }

    /// Takes an aligned run of 2^`order` frames.
    pub fn alloc_run(&self, order: Order) -> Option<Pfn> {
        let mut blocks = self.blocks.lock();
        let unit = match blocks.alloc(order) {
            Some(unit) => unit,
            None => {
                self.add_block(&mut blocks);
                blocks.alloc(order)?
            }
        };
        self.nr_free.fetch_sub(order.nr_pages() as u64, Ordering::Relaxed);
        Some(self.first.add(unit))
    }

    /// Gives an aligned run of 2^`order` frames back.
    pub fn free_run(&self, first: Pfn, order: Order) {
        self.blocks.lock().free(first.get() - self.first.get(), order);
        self.nr_free.fetch_add(order.nr_pages() as u64, Ordering::Relaxed);
    }

    /// Empties the caches of all CPUs into the blocks: single frames that sit there may be what a
    /// larger run, or the last allocation before an out-of-memory kill, is missing.
    pub fn drain_all(&self) {
        for cache in self.caches.iter() {
            let mut cache = cache.lock();
            let all = cache.len();
            self.drain(&mut cache, all);
        }
    }

    /// Takes a wholly free 2 MiB block away for good.
    pub fn take_block(&self) -> Option<Pfn> {
        let mut blocks = self.blocks.lock();
        let index = blocks.remove_free_block().or_else(|| self.big.alloc_block())?;
        self.nr_free.fetch_sub(BLOCK_UNITS as u64, Ordering::Relaxed);
        Some(self.first.add(index * BLOCK_UNITS))
    }

    /// Gives back a block that [`FrameFront::take_block`] returned.
    pub fn return_block(&self, first: Pfn) {
        self.blocks.lock().add_block((first.get() - self.first.get()) / BLOCK_UNITS);
        self.nr_free.fetch_add(BLOCK_UNITS as u64, Ordering::Relaxed);
    }

    fn drain(&self, cache: &mut ArrayVec<Pfn, CACHE_FRAMES>, nr: usize) {
        let mut blocks = self.blocks.lock();
        // The oldest go: what was freed last is warm.
        blocks.free_units(cache.drain(..nr).map(|pfn| pfn.get() - self.first.get()));
        self.nr_free.fetch_add(nr as u64, Ordering::Relaxed);
    }

    fn add_block(&self, blocks: &mut RunMap) {
        if let Some(index) = self.big.alloc_block() {
            blocks.add_block(index);
        }
    }
}
