// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds memory that nobody has cut up yet: whole 2 MiB blocks in a buddy allocator.
//!
//! `buddy_system_allocator` keeps its free lists in ordered sets, so freeing costs a heap
//! allocation and a search. That is no matter here: blocks leave once, when small orders first
//! need them, and never come back; wholly free blocks wait in `front.rs`. It counts in blocks, so
//! the sets stay small, and it can still serve a run of many blocks (a kernel heap, a device).

use core::ops::Range;

use buddy_system_allocator::FrameAllocator;

use base::Pfn;
use base::lock_level::FrameBig;
use base::sync::SpinLock;

use crate::run_map::BLOCK_UNITS;

/// Largest run the buddy allocator can serve: 2^15 blocks, 64 GiB.
const ORDERS: usize = 16;

/// Whole free blocks, numbered from the first managed frame.
pub struct BigBlocks {
    buddy: SpinLock<FrameAllocator<ORDERS>, FrameBig>,
    nr_blocks: u64,
}

impl BigBlocks {
    /// Builds the allocator over `ranges` of frames, numbered from `first`.
    ///
    /// # Panics
    ///
    /// When a range is not made of whole 2 MiB blocks.
    pub fn new(first: Pfn, ranges: &[Range<Pfn>]) -> Self {
        let mut buddy = FrameAllocator::new();
        let mut nr_blocks = 0;
        for range in ranges {
            let (start, end) = (range.start.get() - first.get(), range.end.get() - first.get());
            assert!(
                start % BLOCK_UNITS == 0 && end % BLOCK_UNITS == 0,
                "managed frames {range:?} are not whole blocks"
            );
            let (start, end) = (start / BLOCK_UNITS, end / BLOCK_UNITS);
            buddy.add_frame(start as usize, end as usize);
            nr_blocks += (end - start) as u64;
        }
        Self { buddy: SpinLock::new(buddy), nr_blocks }
    }

    /// Returns how many blocks there were at the start.
    pub fn nr_free_blocks(&self) -> u64 {
        self.nr_blocks
    }

    /// Takes one block and returns its number.
    pub fn alloc_block(&self) -> Option<u32> {
        self.buddy.lock().alloc(1).map(|index| index as u32)
    }
}
