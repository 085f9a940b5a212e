// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to the bytes of physical frames.
//!
//! No Rust object lives in a managed frame, so nothing here can break Rust's rules whatever the
//! caller does; a frame outside the managed set is a broken kernel invariant and panics.
//! Copies of a frame's *bytes* leave allocation tags alone; [`TagMem`](crate::TagMem) moves those.

use alloc::vec::Vec;
use core::ops::Range;

use base::{Pfn, PhysAddr};

/// Bytes of physical memory, by frame.
pub trait PhysMem {
    /// Returns the ranges of frames the memory manager owns, ascending, each 2 MiB aligned at both
    /// ends. The set shrinks only through [`PhysMem::adopt_block`].
    fn managed_frames(&self) -> Vec<Range<Pfn>>;

    /// Takes the 2 MiB of frames from `first` (2 MiB aligned) away from the memory manager for
    /// good, for the kernel's own heap. Returns `false` when the machine has no use for it.
    fn adopt_block(&self, first: Pfn) -> bool;

    /// Returns the bytes the kernel's own heap can still hand out. Growth of a kernel structure is
    /// refused when it would eat into what paths that must not fail need.
    fn kernel_heap_room(&self) -> usize;

    /// Fills the frame with zero bytes.
    fn zero_frame(&self, pfn: Pfn);

    /// Fills adjacent frames with zero bytes.
    fn zero_frames(&self, first: Pfn, nr_frames: u32) {
        (0..nr_frames).for_each(|n| self.zero_frame(first.add(n)));
    }

    /// Copies all bytes of frame `src` to frame `dst`.
    fn copy_frame(&self, dst: Pfn, src: Pfn);

    /// Tells whether every byte of the frame is zero.
    fn is_zero_frame(&self, pfn: Pfn) -> bool;

    /// Copies bytes out of physical memory; the range stays within one frame.
    fn read_bytes(&self, from: PhysAddr, buf: &mut [u8]);

    /// Copies bytes into physical memory; the range stays within one frame.
    fn write_bytes(&self, to: PhysAddr, buf: &[u8]);

    /// Loads word `index` (below 512) of a frame that holds a kernel table. A lock of the caller's
    /// orders accesses; these do not.
    #[inline]
    fn load_word(&self, pfn: Pfn, index: usize) -> u64 {
        let mut bytes = [0; 8];
        self.read_bytes(pfn.at(index * 8), &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Stores word `index` (below 512) of a frame that holds a kernel table.
    #[inline]
    fn store_word(&self, pfn: Pfn, index: usize, value: u64) {
        self.write_bytes(pfn.at(index * 8), &value.to_le_bytes());
    }

    /// Loads words from `first` on, all of them in the frame, as [`PhysMem::load_word`] does.
    #[inline]
    fn load_words(&self, pfn: Pfn, first: usize, words: &mut [u64]) {
        for (index, word) in (first..).zip(words) {
            *word = self.load_word(pfn, index);
        }
    }

    /// Stores words from `first` on, all of them in the frame, as [`PhysMem::store_word`] does.
    #[inline]
    fn store_words(&self, pfn: Pfn, first: usize, words: &[u64]) {
        for (index, word) in (first..).zip(words) {
            self.store_word(pfn, index, *word);
        }
    }

    /// Loads words `indices` (below 512) of a frame that holds a kernel table, in turn.
    fn words(&self, pfn: Pfn, indices: Range<usize>) -> impl Iterator<Item = u64> {
        indices.map(move |index| self.load_word(pfn, index))
    }

    /// Changes words `indices` (below 512) of a frame that holds a kernel table, in turn.
    fn update_words(&self, pfn: Pfn, indices: Range<usize>, mut change: impl FnMut(u64) -> u64) {
        for index in indices {
            self.store_word(pfn, index, change(self.load_word(pfn, index)));
        }
    }

    /// Makes instructions just written to the frame visible to instruction fetch on every CPU
    /// (clean to the point of unification, invalidate the instruction cache; Arm ARM B2.4.4).
    fn sync_instructions(&self, pfn: Pfn);

    /// Tells whether the allocation that is about to be made should fail: fault injection.
    /// Machines other than the simulated one never ask for it.
    #[inline(always)]
    fn inject_alloc_failure(&self) -> bool {
        false
    }
}
