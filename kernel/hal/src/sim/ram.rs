// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the RAM of a simulated machine: bytes and allocation tags, by frame.
//!
//! A frame costs host memory from its first use on and starts with arbitrary bytes and tags, as RAM
//! does. It is made of atomic words: simulated CPUs, walkers and disks race on it as hardware does,
//! by the word, without undefined behaviour.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::OnceLock;

use base::{Order, PAGE_SIZE, Pfn, PhysAddr};

use super::config::Bank;
use super::rng::mix;
use crate::pte_mem::PteSlot;
use crate::tag_mem::PageTags;

/// 64-bit words in a frame.
pub(super) const WORDS: usize = PAGE_SIZE / 8;
const BLOCK_FRAMES: u32 = Order::BLOCK.nr_pages();

/// One frame.
pub(super) struct Frame {
    words: [AtomicU64; WORDS],
    tags: [AtomicU64; PageTags::WORDS],
    /// No kernel write since the last `sync_instructions`.
    is_synced: AtomicBool,
}

/// 2 MiB of frames.
struct Block {
    frames: OnceLock<Box<[OnceLock<Box<Frame>>]>>,
    /// The kernel took it for its heap: no longer managed.
    is_adopted: AtomicBool,
}

/// All frames of the machine.
pub(super) struct Ram {
    banks: Vec<(Range<Pfn>, Box<[Block]>)>,
    seed: u64,
}

impl Frame {
    fn arbitrary(seed: u64, pfn: Pfn) -> Box<Self> {
        let start = mix(seed ^ (u64::from(pfn.get()) << 20));
        let word = |index: usize| AtomicU64::new(mix(start.wrapping_add(index as u64)));
        Box::new(Self {
            words: core::array::from_fn(word),
            tags: core::array::from_fn(|index| word(WORDS + index)),
            is_synced: AtomicBool::new(false),
        })
    }

    /// Loads word `index`.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.words[index].load(Relaxed)
    }

    /// Stores word `index`.
    pub(super) fn set_word(&self, index: usize, value: u64) {
        self.words[index].store(value, Relaxed);
    }

    /// Copies bytes out, starting at `offset`.
    pub(super) fn read(&self, offset: usize, buf: &mut [u8]) {
        for (at, part) in word_parts(offset, buf.len()) {
            let bytes = self.word(at / 8).to_le_bytes();
            buf[part.clone()].copy_from_slice(&bytes[at % 8..at % 8 + part.len()]);
        }
    }

    /// Copies bytes in, starting at `offset`; each word changes in one step.
    pub(super) fn write(&self, offset: usize, buf: &[u8]) {
        for (at, part) in word_parts(offset, buf.len()) {
            let merged = |word: u64| {
                let mut bytes = word.to_le_bytes();
                bytes[at % 8..at % 8 + part.len()].copy_from_slice(&buf[part.clone()]);
                u64::from_le_bytes(bytes)
            };
            self.update_word(at / 8, merged);
        }
    }

    /// Replaces word `index` by a function of it, in one step, and returns the old one.
    pub(super) fn update_word(&self, index: usize, new: impl Fn(u64) -> u64) -> u64 {
        let update = self.words[index].fetch_update(Relaxed, Relaxed, |word| Some(new(word)));
        update.unwrap_or_else(|word| word)
    }

    /// Returns the tag of granule `index`.
    pub(super) fn tag(&self, index: usize) -> u8 {
        ((self.tags[index / 16].load(Relaxed) >> (index % 16 * 4)) & 0xf) as u8
    }

    /// Sets the tag of granule `index`.
    pub(super) fn set_tag(&self, index: usize, tag: u8) {
        let shift = index % 16 * 4;
        let new = |word: u64| Some(word & !(0xf << shift) | (u64::from(tag & 0xf) << shift));
        let _ = self.tags[index / 16].fetch_update(Relaxed, Relaxed, new);
    }

    /// Returns all tags.
    pub(super) fn tags(&self) -> PageTags {
        PageTags(core::array::from_fn(|index| self.tags[index].load(Relaxed)))
    }

    /// Sets the tags of words `range`.
    pub(super) fn set_tags(&self, tags: &PageTags, range: Range<usize>) {
        for index in range {
            self.tags[index].store(tags.0[index], Relaxed);
        }
    }

    /// Notes whether instruction fetch would see what the kernel wrote last.
    pub(super) fn set_synced(&self, is_synced: bool) {
        self.is_synced.store(is_synced, Relaxed);
    }

    /// Tells whether instruction fetch sees what the kernel wrote last.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced.load(Relaxed)
    }
}

/// Splits a run of bytes at word boundaries: offset in the frame, range in the caller's buffer.
fn word_parts(offset: usize, len: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    assert!(offset + len <= PAGE_SIZE, "bytes {offset:#x}+{len:#x} leave their frame");
    let mut done = 0;
    core::iter::from_fn(move || {
        let part = (8 - (offset + done) % 8).min(len - done);
        let next = (offset + done, done..done + part);
        done += part;
        (part != 0).then_some(next)
    })
}

impl Ram {
    pub(super) fn new(banks: &[Bank], seed: u64) -> Self {
        let build = |bank: &Bank| {
            assert!(bank.first.get().is_multiple_of(BLOCK_FRAMES), "a bank is 2 MiB aligned");
            assert!(bank.first.get() != 0, "frame 0 is not RAM: a zero entry must not name any");
            let block = || Block { frames: OnceLock::new(), is_adopted: AtomicBool::new(false) };
            let blocks = (0..bank.nr_blocks).map(|_| block()).collect();
            (bank.first..bank.first.add(bank.nr_blocks * BLOCK_FRAMES), blocks)
        };
        let banks: Vec<_> = banks.iter().map(build).collect();
        assert!(banks.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start), "banks ascend");
        Self { banks, seed }
    }

    /// Returns a frame.
    ///
    /// # Panics
    ///
    /// When the frame is not managed: the check that every machine owes the kernel.
    pub(super) fn frame(&self, pfn: Pfn) -> &Frame {
        let block = self.block(pfn);
        let block = block.unwrap_or_else(|| panic!("{pfn:?} is not managed memory"));
        let frames =
            block.frames.get_or_init(|| (0..BLOCK_FRAMES).map(|_| OnceLock::new()).collect());
        let index = pfn.get() % BLOCK_FRAMES;
        frames[index as usize].get_or_init(|| Frame::arbitrary(self.seed, pfn))
    }

    /// Tells whether the frame is managed.
    pub(super) fn is_managed(&self, pfn: Pfn) -> bool {
        self.block(pfn).is_some()
    }

    /// Returns the frame and the offset within it of a run of bytes.
    pub(super) fn at(&self, addr: PhysAddr) -> (&Frame, usize) {
        (self.frame(addr.pfn()), addr.page_offset())
    }

    fn block(&self, pfn: Pfn) -> Option<&Block> {
        let (frames, blocks) = self.banks.iter().find(|(frames, _)| frames.contains(&pfn))?;
        let block = &blocks[((pfn.get() - frames.start.get()) / BLOCK_FRAMES) as usize];
        (!block.is_adopted.load(Relaxed)).then_some(block)
    }

    /// Returns the managed ranges.
    pub(super) fn managed(&self) -> Vec<Range<Pfn>> {
        let mut ranges: Vec<Range<Pfn>> = Vec::new();
        for first in self.banks.iter().flat_map(|(bank, blocks)| {
            (0..blocks.len() as u32).map(|block| bank.start.add(block * BLOCK_FRAMES))
        }) {
            match ranges.last_mut() {
                _ if !self.is_managed(first) => {}
                Some(last) if last.end == first => last.end = first.add(BLOCK_FRAMES),
                _ => ranges.push(first..first.add(BLOCK_FRAMES)),
            }
        }
        ranges
    }

    /// Takes a block out of the managed set.
    ///
    /// # Panics
    ///
    /// When it is not a managed block.
    pub(super) fn adopt(&self, first: Pfn) {
        assert!(first.get().is_multiple_of(BLOCK_FRAMES), "{first:?} does not start a block");
        let block = self.block(first);
        let block = block.unwrap_or_else(|| panic!("{first:?} is not managed memory"));
        block.is_adopted.store(true, Relaxed);
    }

    /// Loads an entry.
    pub(super) fn entry(&self, slot: PteSlot) -> u64 {
        self.entry_cell(slot).load(Acquire)
    }

    /// Stores an entry and returns the one it replaced.
    pub(super) fn exchange_entry(&self, slot: PteSlot, value: u64) -> u64 {
        self.entry_cell(slot).swap(value, AcqRel)
    }

    /// Replaces an entry that still is `current`; returns the one found otherwise.
    pub(super) fn update_entry(&self, slot: PteSlot, current: u64, new: u64) -> Result<(), u64> {
        self.entry_cell(slot).compare_exchange(current, new, AcqRel, Acquire).map(|_| ())
    }

    fn entry_cell(&self, slot: PteSlot) -> &AtomicU64 {
        &self.frame(slot.table).words[usize::from(slot.index)]
    }

    /// Folds bytes and tags of every frame ever used into one number.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = 0;
        let mut fold = |word: u64| digest = mix(digest ^ word).wrapping_add(word);
        for (bank, blocks) in &self.banks {
            let frames = blocks.iter().map(|block| block.frames.get());
            for (block, frames) in frames.enumerate().filter_map(|(i, f)| Some((i, f?))) {
                for (index, frame) in frames.iter().enumerate() {
                    let Some(frame) = frame.get() else { continue };
                    fold(u64::from(bank.start.get()) + (block * frames.len() + index) as u64);
                    frame.words.iter().chain(&frame.tags).for_each(|word| fold(word.load(Relaxed)));
                }
            }
        }
        digest
    }
}
