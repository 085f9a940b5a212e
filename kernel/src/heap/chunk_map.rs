// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the chunks of the 2 MiB blocks that the memory manager gave to the heap: one
//! bitmap of 32 chunks a block.
//!
//! Blocks are counted from the start of RAM; those that are not the heap's have no free chunk.

use core::ops::Range;

use super::slab::CHUNK_SIZE;

/// Bytes in a block.
pub const BLOCK_SIZE: usize = 2 << 20;

const CHUNKS_PER_BLOCK: usize = BLOCK_SIZE / CHUNK_SIZE;
const _: () = assert!(CHUNKS_PER_BLOCK == u32::BITS as usize);

/// Free chunks of all blocks.
#[derive(Debug)]
pub struct ChunkMap {
    /// First address of block 0.
    base: usize,
    /// One bit a free chunk.
    free: &'static mut [u32],
    nr_free: usize,
    /// Blocks below this one have no free chunk.
    first_candidate: usize,
}

impl ChunkMap {
    /// Builds a map that has no block yet.
    pub const fn empty() -> Self {
        Self { base: 0, free: &mut [], nr_free: 0, first_candidate: 0 }
    }

    /// Builds a map for the blocks from `base` on, with a cleared word for each.
    pub const fn new(base: usize, free: &'static mut [u32]) -> Self {
        Self { base, free, nr_free: 0, first_candidate: 0 }
    }

    /// Returns how many chunks are free.
    pub const fn nr_free(&self) -> usize {
        self.nr_free
    }

    /// Gives the block at `address` to the heap.
    ///
    /// # Panics
    ///
    /// When it is not a block of RAM.
    pub fn add_block(&mut self, address: usize) {
        self.put(address, CHUNKS_PER_BLOCK);
    }

    /// Takes adjacent chunks of one block, the lowest that are free.
    pub fn take(&mut self, nr_chunks: usize) -> Option<usize> {
        if nr_chunks > CHUNKS_PER_BLOCK || nr_chunks > self.nr_free {
            return None;
        }
        let blocks = self.first_candidate..self.free.len();
        let (block, first) = blocks
            .clone()
            .find_map(|block| Some((block, first_run(self.free[block], nr_chunks)?)))?;
        self.free[block] &= !mask(first..first + nr_chunks);
        self.nr_free -= nr_chunks;
        if nr_chunks == 1 {
            self.first_candidate = block;
        }
        Some(self.base + block * BLOCK_SIZE + first * CHUNK_SIZE)
    }

    /// Returns chunks that [`ChunkMap::take`] gave.
    ///
    /// # Panics
    ///
    /// When one of them is free already.
    pub fn put(&mut self, address: usize, nr_chunks: usize) {
        let offset = address.wrapping_sub(self.base);
        let block = offset / BLOCK_SIZE;
        let first = offset % BLOCK_SIZE / CHUNK_SIZE;
        let word = self.free.get_mut(block).expect("a chunk of the heap is in RAM");
        let mask = mask(first..first + nr_chunks);
        assert!(*word & mask == 0, "heap chunk {address:#x} freed twice");
        *word |= mask;
        self.nr_free += nr_chunks;
        self.first_candidate = self.first_candidate.min(block);
    }
}

/// Returns the lowest run of `len` set bits (1 to 32).
fn first_run(bits: u32, len: usize) -> Option<usize> {
    // After each step a bit says that a run of the length so far starts there.
    let mut starts = bits;
    let mut so_far = 1;
    while so_far < len {
        let step = so_far.min(len - so_far);
        starts &= starts >> step;
        so_far += step;
    }
    (starts != 0).then(|| starts.trailing_zeros() as usize)
}

fn mask(chunks: Range<usize>) -> u32 {
    ((1_u64 << chunks.end) - (1_u64 << chunks.start)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    const BASE: usize = 0x4000_0000;

    fn map_of(nr_blocks: usize) -> ChunkMap {
        ChunkMap::new(BASE, Box::leak(std::vec![0; nr_blocks].into_boxed_slice()))
    }

    #[test]
    fn first_run_agrees_with_looking_at_every_place() {
        let mut random = 0x1234_5678_u32;
        for _ in 0..2000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bits = random | random >> 7 | random << 3;
            for len in 1..=32_usize {
                let expected = (0..=32 - len).find(|&at| {
                    let run = mask(at..at + len);
                    bits & run == run
                });
                assert_eq!(first_run(bits, len), expected, "{bits:#x} {len}");
            }
        }
        assert_eq!(first_run(u32::MAX, 32), Some(0));
    }

    #[test]
    fn chunks_are_taken_low_first_and_never_twice() {
        let mut map = map_of(4);
        assert_eq!(map.take(1), None);
        map.add_block(BASE + BLOCK_SIZE);
        map.add_block(BASE + 3 * BLOCK_SIZE);
        let first = map.take(1).unwrap();
        assert_eq!(first, BASE + BLOCK_SIZE);
        assert_eq!(map.take(32), Some(BASE + 3 * BLOCK_SIZE), "a run stays in one block");
        assert_eq!(map.take(2), Some(first + CHUNK_SIZE));
        map.put(first, 1);
        assert_eq!(map.take(1), Some(first));
        assert_eq!(map.nr_free(), 29);
        assert_eq!(map.take(30), None);
        assert_eq!(map.take(33), None);
    }

    #[test]
    fn chunk_freed_below_the_candidate_is_found_again() {
        let mut map = map_of(2);
        map.add_block(BASE);
        map.add_block(BASE + BLOCK_SIZE);
        let all: std::vec::Vec<_> = core::iter::from_fn(|| map.take(1)).collect();
        assert_eq!(all.len(), 64);
        map.put(all[3], 1);
        assert_eq!(map.take(1), Some(all[3]));
        assert_eq!(map.take(1), None);
    }
}
