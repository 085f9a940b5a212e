// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file allocates records of 16, 32, 64 and 128 bytes for the tags of swapped pages.
//!
//! A frame holds records of one size. Its first records are its header: words 0 to 3 are a bit map
//! (set: free), word 4 links it to its neighbours among the frames of that size that have a free
//! record. So the store needs no heap, and a frame that becomes empty is freed at once.

use base::Pfn;
use base::lock_level;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Machine;

use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, OutOfMemory};
use crate::system::System;

/// Sizes of records, in 8-byte words.
const CLASS_WORDS: [usize; 4] = [2, 4, 8, 16];
const HEADER_WORDS: usize = 5;
const LINK_WORD: usize = 4;
const NIL: u32 = 0;

/// Names a record: a frame and a record within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordRef {
    frame: Pfn,
    index: usize,
}

impl RecordRef {
    /// Packs the name into a slot's tag word.
    pub fn pack(self) -> u64 {
        (self.frame.get() as u64) << 8 | self.index as u64
    }

    /// Unpacks [`RecordRef::pack`]'s result.
    pub fn unpack(word: u64) -> Self {
        Self { frame: Pfn::new((word >> 8) as u32), index: (word & 0xff) as usize }
    }
}

/// Records of all sizes.
pub(super) struct TagStore {
    /// First frame of each size that has a free record.
    heads: SpinLock<[u32; CLASS_WORDS.len()], lock_level::TagStore>,
    nr_frames: AtomicU64,
    bytes_in_use: AtomicU64,
}

/// Shape of a frame of records.
#[derive(Clone, Copy)]
struct Class {
    number: usize,
    words: usize,
}

impl Class {
    /// Returns the class of records of `words` words.
    fn of_words(words: usize) -> Self {
        let number = CLASS_WORDS.iter().position(|size| *size == words);
        Self { number: number.expect("tag store: no such record size"), words }
    }

    fn nr_records(self) -> usize {
        512 / self.words
    }

    /// Records at the start of a frame that its header takes up.
    fn nr_header(self) -> usize {
        HEADER_WORDS.div_ceil(self.words)
    }

    /// The bit map of a frame with nothing in use.
    fn empty_map(self) -> [u64; 4] {
        let mut map = [0; 4];
        for record in self.nr_header()..self.nr_records() {
            map[record / 64] |= 1 << (record % 64);
        }
        map
    }
}

impl TagStore {
    pub fn new() -> Self {
        Self {
            heads: SpinLock::new([NIL; CLASS_WORDS.len()]),
            nr_frames: AtomicU64::new(0),
            bytes_in_use: AtomicU64::new(0),
        }
    }

    pub fn nr_frames(&self) -> u64 {
        self.nr_frames.load(Ordering::Relaxed)
    }

    pub fn bytes_in_use(&self) -> u64 {
        self.bytes_in_use.load(Ordering::Relaxed)
    }

    /// Stores a record.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when it needs a frame and there is not even a reserved one.
    pub fn put<M: Machine>(
        &self,
        system: &System<M>,
        record: &[u64],
    ) -> Result<RecordRef, OutOfMemory> {
        let class = Class::of_words(record.len());
        let mut heads = self.heads.lock();
        let frame = match heads[class.number] {
            NIL => self.add_frame(system, &mut heads, class)?,
            frame => Pfn::new(frame),
        };
        let mut map = load_map(system, frame);
        let index = first_free(&map).expect("a listed frame has a free record");
        map[index / 64] &= !(1 << (index % 64));
        store_map(system, frame, &map);
        if map == [0; 4] {
            unlink(system, &mut heads[class.number], frame);
        }
        for (n, word) in record.iter().enumerate() {
            system.machine().store_word(frame, index * class.words + n, *word);
        }
        self.bytes_in_use.fetch_add(8 * class.words as u64, Ordering::Relaxed);
        Ok(RecordRef { frame, index })
    }

    /// Reads a record.
    pub fn read<M: Machine>(&self, system: &System<M>, at: RecordRef, record: &mut [u64]) {
        let first = at.index * record.len();
        for (n, word) in record.iter_mut().enumerate() {
            *word = system.machine().load_word(at.frame, first + n);
        }
    }

    /// Frees a record of `words` words.
    pub fn free<M: Machine>(&self, system: &System<M>, at: RecordRef, words: usize) {
        let class = Class::of_words(words);
        let mut heads = self.heads.lock();
        let mut map = load_map(system, at.frame);
        let bit = 1 << (at.index % 64);
        assert!(map[at.index / 64] & bit == 0, "tag store: {at:?} freed twice");
        let was_full = map == [0; 4];
        map[at.index / 64] |= bit;
        store_map(system, at.frame, &map);
        self.bytes_in_use.fetch_sub(8 * words as u64, Ordering::Relaxed);
        if was_full {
            link(system, &mut heads[class.number], at.frame);
        }
        if map == class.empty_map() {
            unlink(system, &mut heads[class.number], at.frame);
            system.free_frame(at.frame);
            self.nr_frames.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn add_frame<M: Machine>(
        &self,
        system: &System<M>,
        heads: &mut [u32; CLASS_WORDS.len()],
        class: Class,
    ) -> Result<Pfn, OutOfMemory> {
        let frame = system.alloc_frame_as(FrameKind::TagStore, AllocMode::Reserve)?;
        store_map(system, frame, &class.empty_map());
        link(system, &mut heads[class.number], frame);
        self.nr_frames.fetch_add(1, Ordering::Relaxed);
        Ok(frame)
    }
}

fn first_free(map: &[u64; 4]) -> Option<usize> {
    let word = map.iter().position(|bits| *bits != 0)?;
    Some(word * 64 + map[word].trailing_zeros() as usize)
}

fn load_map<M: Machine>(system: &System<M>, frame: Pfn) -> [u64; 4] {
    core::array::from_fn(|word| system.machine().load_word(frame, word))
}

fn store_map<M: Machine>(system: &System<M>, frame: Pfn, map: &[u64; 4]) {
    for (word, bits) in map.iter().enumerate() {
        system.machine().store_word(frame, word, *bits);
    }
}

/// Returns the neighbours of a listed frame: (previous, next).
fn links<M: Machine>(system: &System<M>, frame: u32) -> (u32, u32) {
    let word = system.machine().load_word(Pfn::new(frame), LINK_WORD);
    ((word >> 32) as u32, word as u32)
}

fn set_links<M: Machine>(system: &System<M>, frame: u32, previous: u32, next: u32) {
    let word = (previous as u64) << 32 | next as u64;
    system.machine().store_word(Pfn::new(frame), LINK_WORD, word);
}

fn link<M: Machine>(system: &System<M>, head: &mut u32, frame: Pfn) {
    let next = core::mem::replace(head, frame.get());
    set_links(system, frame.get(), NIL, next);
    if next != NIL {
        let (_, after) = links(system, next);
        set_links(system, next, frame.get(), after);
    }
}

fn unlink<M: Machine>(system: &System<M>, head: &mut u32, frame: Pfn) {
    let (previous, next) = links(system, frame.get());
    match previous {
        NIL => *head = next,
        _ => set_links(system, previous, links(system, previous).0, next),
    }
    if next != NIL {
        set_links(system, next, previous, links(system, next).1);
    }
}
