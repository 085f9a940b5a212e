// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file hands out naturally aligned runs of units from blocks of 512, in constant time.
//!
//! Frames inside 2 MiB blocks and slots inside swap clusters are the same problem, so both use
//! this. A block is a 512-bit map (set: free). Blocks hang on one list per *class*, the largest
//! order they could still hand out; an allocation takes the first block of the smallest class that
//! fits, so large runs are broken only when nothing smaller is left.

use alloc::vec::Vec;
use core::ops::Range;

use base::Order;

/// Units in a block.
pub const BLOCK_UNITS: u32 = 512;

const WORDS: usize = 8;
/// Class of a block with nothing free.
const FULL: u8 = 10;
/// Class of a block that is not ours to hand out.
const ABSENT: u8 = 11;
const NIL: u32 = u32::MAX;

/// Bits at multiples of 2^order within a word, for orders 0 to 6.
const ALIGNED: [u64; 7] = [
    0xffff_ffff_ffff_ffff,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    0x0000_0000_0000_0001,
];

/// 512 bits, one per unit of a block; set means free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FreeBits([u64; WORDS]);

impl FreeBits {
    /// Returns the first unit of an aligned free run of 2^`order`.
    fn find(&self, order: u32) -> Option<u32> {
        if order <= 6 {
            let found = (0..WORDS).find_map(|word| {
                let starts = run_starts(self.0[word], order);
                (starts != 0).then(|| word as u32 * 64 + starts.trailing_zeros())
            });
            return found;
        }
        let words = 1usize << (order - 6);
        (0..WORDS)
            .step_by(words)
            .find(|first| self.0[*first..first + words].iter().all(|word| *word == !0))
            .map(|first| first as u32 * 64)
    }

    /// Returns the largest order, `below` at most, for which [`FreeBits::find`] succeeds.
    fn largest_order(&self, below: u8) -> Option<u8> {
        (0..=below).rev().find(|order| self.find(*order as u32).is_some())
    }

    /// Returns the order of the largest aligned free run around the free run `first`, `order`.
    fn order_around(&self, first: u32, order: u8) -> u8 {
        let grown = |order: &u8| {
            let up = *order as u32 + 1;
            self.is_run_free(first & !((1 << up) - 1), up)
        };
        (order..Order::BLOCK.get()).take_while(grown).count() as u8 + order
    }

    #[inline]
    fn is_run_free(&self, first: u32, order: u32) -> bool {
        match mask_of(first, order) {
            Some(mask) => self.0[word_of(first)] & mask == mask,
            None => self.words(first, order).all(|word| self.0[word] == !0),
        }
    }

    #[inline]
    fn is_run_taken(&self, first: u32, order: u32) -> bool {
        match mask_of(first, order) {
            Some(mask) => self.0[word_of(first)] & mask == 0,
            None => self.words(first, order).all(|word| self.0[word] == 0),
        }
    }

    #[inline]
    fn set_run(&mut self, first: u32, order: u32, free: bool) {
        match mask_of(first, order) {
            Some(mask) if free => self.0[word_of(first)] |= mask,
            Some(mask) => self.0[word_of(first)] &= !mask,
            None => {
                self.words(first, order).for_each(|word| self.0[word] = if free { !0 } else { 0 })
            }
        }
    }

    /// Returns the order of the largest aligned free run that has a unit of `word`, which has one.
    fn order_at_word(&self, word: usize) -> u8 {
        let bits = self.0[word];
        if bits == !0 {
            return self.order_around(word as u32 * 64, 6);
        }
        (1..6).take_while(|order| run_starts(bits, *order) != 0).count() as u8
    }

    /// Iterates over the words of a run of whole words.
    fn words(&self, first: u32, order: u32) -> core::ops::Range<usize> {
        word_of(first)..word_of(first) + (1 << (order - 6))
    }
}

/// Returns the word that a unit of a block is in.
#[inline(always)]
const fn word_of(unit: u32) -> usize {
    (unit / 64) as usize % WORDS
}

/// Returns a run's bits within its word; `None` if it is whole words.
#[inline(always)]
const fn mask_of(first: u32, order: u32) -> Option<u64> {
    if order < 6 { Some(((1 << (1 << order)) - 1) << (first % 64)) } else { None }
}

/// Returns a word with the bit set at the start of each aligned run of 2^`order` set bits.
fn run_starts(word: u64, order: u32) -> u64 {
    let mut runs = word;
    for step in 0..order {
        runs &= runs >> (1 << step);
    }
    runs & ALIGNED[order as usize]
}

#[derive(Clone, Copy)]
struct Block {
    bits: FreeBits,
    prev: u32,
    next: u32,
    class: u8,
}

/// Free units of a sequence of blocks. Unit `n` is unit `n % 512` of block `n / 512`.
pub struct RunMap {
    blocks: Vec<Block>,
    /// First block of each class.
    heads: [u32; FULL as usize],
    nr_free: u64,
}

impl RunMap {
    /// Builds a map over `nr_blocks` blocks, none of which is there yet.
    pub fn new(nr_blocks: usize) -> Self {
        let absent = Block { bits: FreeBits([0; WORDS]), prev: NIL, next: NIL, class: ABSENT };
        let mut blocks = Vec::new();
        blocks.resize(nr_blocks, absent);
        Self { blocks, heads: [NIL; FULL as usize], nr_free: 0 }
    }

    /// Returns the number of free units.
    pub fn nr_free(&self) -> u64 {
        self.nr_free
    }

    /// Adds a block with all units free.
    ///
    /// # Panics
    ///
    /// When the block is there already.
    pub fn add_block(&mut self, index: u32) {
        let block = &mut self.blocks[index as usize];
        assert!(block.class == ABSENT, "run map: block {index} added twice");
        block.bits = FreeBits([!0; WORDS]);
        self.nr_free += BLOCK_UNITS as u64;
        self.link(index, Order::BLOCK.get());
    }

    /// Takes a wholly free block away and returns its index.
    pub fn remove_free_block(&mut self) -> Option<u32> {
        let index = self.heads[Order::BLOCK.get() as usize];
        if index == NIL {
            return None;
        }
        self.unlink(index);
        self.blocks[index as usize].class = ABSENT;
        self.nr_free -= BLOCK_UNITS as u64;
        Some(index)
    }

    /// Takes all units of a block if all are free.
    pub fn take_block(&mut self, index: u32) -> bool {
        let block = &mut self.blocks[index as usize];
        if block.class != Order::BLOCK.get() {
            return false;
        }
        block.bits = FreeBits([0; WORDS]);
        self.nr_free -= BLOCK_UNITS as u64;
        self.lower_class(index);
        true
    }

    /// Tells whether an aligned run of 2^`order` units is free.
    pub fn has_run(&self, order: Order) -> bool {
        (order.get()..FULL).any(|class| self.heads[class as usize] != NIL)
    }

    /// Takes an aligned run of 2^`order` units and returns the first.
    pub fn alloc(&mut self, order: Order) -> Option<u32> {
        let index =
            (order.get()..FULL).map(|class| self.heads[class as usize]).find(|h| *h != NIL)?;
        let bits = &mut self.blocks[index as usize].bits;
        let first = bits.find(order.get() as u32).expect("run map: class promises a run");
        bits.set_run(first, order.get() as u32, false);
        self.nr_free -= order.nr_pages() as u64;
        self.lower_class(index);
        Some(index * BLOCK_UNITS + first)
    }

    /// Takes up to `want` single units, most from one block, and hands each to `take`.
    pub fn alloc_units(&mut self, want: u32, mut take: impl FnMut(u32)) {
        let mut left = want;
        while left > 0 {
            let Some(index) = self.heads.iter().copied().find(|head| *head != NIL) else { break };
            left -= self.take_units_of(index, left, &mut take);
            self.lower_class(index);
        }
    }

    /// Takes the one unit `unit` if it is free.
    pub fn take_unit(&mut self, unit: u32) -> bool {
        let (index, within) = (unit / BLOCK_UNITS, unit % BLOCK_UNITS);
        let block = &mut self.blocks[index as usize];
        if block.class == ABSENT || !block.bits.is_run_free(within, 0) {
            return false;
        }
        block.bits.set_run(within, 0, false);
        self.nr_free -= 1;
        self.lower_class(index);
        true
    }

    /// Gives an aligned run of 2^`order` units back.
    ///
    /// # Panics
    ///
    /// When any of them is free already: somebody freed twice.
    pub fn free(&mut self, first: u32, order: Order) {
        let (index, within) = (first / BLOCK_UNITS, first % BLOCK_UNITS);
        let block = &mut self.blocks[index as usize];
        assert!(
            block.class != ABSENT && block.bits.is_run_taken(within, order.get() as u32),
            "run map: double free of unit {first}, {order:?}"
        );
        block.bits.set_run(within, order.get() as u32, true);
        // Only a run around the new one can be larger than what the block had.
        let around = block.bits.order_around(within, order.get());
        self.nr_free += order.nr_pages() as u64;
        self.raise_class(index, around);
    }

    /// Gives neighbouring units back, in as few aligned runs as there are.
    ///
    /// # Panics
    ///
    /// When any of them is free already.
    pub fn free_range(&mut self, units: Range<u32>) {
        let mut first = units.start;
        while first < units.end {
            let by_place = first.trailing_zeros().min(Order::BLOCK.get().into());
            let order = by_place.min((units.end - first).ilog2());
            self.free(first, Order::new(order as u8));
            first += 1 << order;
        }
    }

    /// Gives single units back; those that follow each other within a word, at once.
    ///
    /// # Panics
    ///
    /// When any of them is free already.
    pub fn free_units(&mut self, units: impl Iterator<Item = u32>) {
        let mut units = units.peekable();
        while let Some(first) = units.next() {
            let mut mask = 1u64 << (first % 64);
            let mut nr = 1;
            while let Some(unit) = units.next_if(|unit| unit / 64 == first / 64) {
                let bit = 1 << (unit % 64);
                assert!(mask & bit == 0, "run map: double free of unit {unit}");
                mask |= bit;
                nr += 1;
            }
            self.free_within_word(first, mask);
            self.nr_free += nr;
        }
    }

    fn free_within_word(&mut self, unit: u32, mask: u64) {
        let (index, word) = (unit / BLOCK_UNITS, word_of(unit));
        let block = &mut self.blocks[index as usize];
        assert!(
            block.class != ABSENT && block.bits.0[word] & mask == 0,
            "run map: double free near unit {unit}, {mask:#x}"
        );
        block.bits.0[word] |= mask;
        let order = block.bits.order_at_word(word);
        self.raise_class(index, order);
    }

    fn take_units_of(&mut self, index: u32, want: u32, take: &mut impl FnMut(u32)) -> u32 {
        let mut taken = 0;
        for (word_index, word) in self.blocks[index as usize].bits.0.iter_mut().enumerate() {
            while *word != 0 && taken < want {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                take(index * BLOCK_UNITS + word_index as u32 * 64 + bit);
                taken += 1;
            }
        }
        self.nr_free -= taken as u64;
        taken
    }

    /// Moves a block to the list of its class after units of it were taken.
    fn lower_class(&mut self, index: u32) {
        let block = &self.blocks[index as usize];
        let class = block.bits.largest_order(block.class).unwrap_or(FULL);
        if class != block.class {
            self.move_to_class(index, class);
        }
    }

    /// Moves a block to a higher class if `order`, the largest run around units just freed, says so.
    #[inline]
    fn raise_class(&mut self, index: u32, order: u8) {
        let class = self.blocks[index as usize].class;
        if class == FULL || order > class {
            self.move_to_class(index, order);
        }
    }

    fn move_to_class(&mut self, index: u32, class: u8) {
        self.unlink(index);
        self.link(index, class);
    }

    fn link(&mut self, index: u32, class: u8) {
        let mut next = NIL;
        if class != FULL {
            next = core::mem::replace(&mut self.heads[class as usize], index);
        }
        let block = &mut self.blocks[index as usize];
        (block.class, block.prev, block.next) = (class, NIL, next);
        if next != NIL {
            self.blocks[next as usize].prev = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Block { prev, next, class, .. } = self.blocks[index as usize];
        if class >= FULL {
            return;
        }
        match prev {
            NIL => self.heads[class as usize] = next,
            _ => self.blocks[prev as usize].next = next,
        }
        if next != NIL {
            self.blocks[next as usize].prev = prev;
        }
    }
}

#[cfg(test)]
mod tests;
