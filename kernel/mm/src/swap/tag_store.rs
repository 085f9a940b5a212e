// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file allocates records of 16, 32, 64 and 128 bytes for the tags of swapped pages.
//!
//! A frame holds records of one size. Its first records are its header: words 0 to 3 are a bit map
//! (set: free), as far as there are records, word 4 links it to its neighbours among the frames of
//! that size that have a free record. So the store needs no heap, and a frame that becomes empty is
//! freed at once.

use base::Pfn;
use base::lock_level;
use base::sync::SpinLock;
use hal::Machine;

use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, OutOfMemory};
use crate::system::System;

/// Sizes of records, in 8-byte words.
const CLASS_WORDS: [usize; NR_CLASSES] = [2, 4, 8, 16];
/// How many sizes there are.
pub(super) const NR_CLASSES: usize = 4;
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
    classes: SpinLock<[List; NR_CLASSES], lock_level::TagStore>,
}

/// The records of one size.
#[derive(Clone, Copy)]
struct List {
    /// First frame that has a free record.
    head: u32,
    nr_frames: u64,
    nr_records: u64,
}

/// Shape of a frame of records.
#[derive(Clone, Copy)]
struct Class {
    number: usize,
    words: usize,
}

/// The bit map of a frame. Words beyond those that the class needs are 0.
type Map = [u64; 4];

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

    fn nr_map_words(self) -> usize {
        self.nr_records().div_ceil(64)
    }

    /// The bit map of a frame with nothing in use.
    fn empty_map(self) -> Map {
        let mut map = [0; 4];
        let last = u64::MAX >> (64 - self.nr_records().min(64));
        map[..self.nr_map_words()].fill(last);
        map[0] &= u64::MAX << self.nr_header();
        map
    }

    fn load_map<M: Machine>(self, system: &System<M>, frame: Pfn) -> Map {
        let mut map = [0; 4];
        for (word, bits) in map[..self.nr_map_words()].iter_mut().enumerate() {
            *bits = system.machine().load_word(frame, word);
        }
        map
    }
}

impl TagStore {
    pub fn new() -> Self {
        let list = List { head: NIL, nr_frames: 0, nr_records: 0 };
        Self { classes: SpinLock::new([list; NR_CLASSES]) }
    }

    pub fn nr_frames(&self) -> u64 {
        self.classes.lock().iter().map(|list| list.nr_frames).sum()
    }

    /// Returns the bytes in use by records of 16, 32, 64 and 128 bytes.
    pub fn bytes_in_use(&self) -> [u64; NR_CLASSES] {
        let classes = self.classes.lock();
        core::array::from_fn(|n| classes[n].nr_records * 8 * CLASS_WORDS[n] as u64)
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
        let mut classes = self.classes.lock();
        let list = &mut classes[class.number];
        let frame = match list.head {
            NIL => add_frame(system, list, class)?,
            frame => Pfn::new(frame),
        };
        let mut map = class.load_map(system, frame);
        let word =
            map.iter().position(|bits| *bits != 0).expect("a listed frame has a free record");
        let index = word * 64 + map[word].trailing_zeros() as usize;
        map[word] &= map[word] - 1;
        system.machine().store_word(frame, word, map[word]);
        if map == [0; 4] {
            unlink(system, &mut list.head, frame);
        }
        list.nr_records += 1;
        for (n, word) in record.iter().enumerate() {
            system.machine().store_word(frame, index * class.words + n, *word);
        }
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
        let mut classes = self.classes.lock();
        let list = &mut classes[class.number];
        let mut map = class.load_map(system, at.frame);
        let (word, bit) = (at.index / 64, 1 << (at.index % 64));
        assert!(map[word] & bit == 0, "tag store: {at:?} freed twice");
        let was_full = map == [0; 4];
        map[word] |= bit;
        system.machine().store_word(at.frame, word, map[word]);
        list.nr_records -= 1;
        if was_full {
            link(system, &mut list.head, at.frame);
        }
        if map == class.empty_map() {
            unlink(system, &mut list.head, at.frame);
            system.free_frame(at.frame);
            list.nr_frames -= 1;
        }
    }
}

fn add_frame<M: Machine>(
    system: &System<M>,
    list: &mut List,
    class: Class,
) -> Result<Pfn, OutOfMemory> {
    let frame = system.alloc_frame_as(FrameKind::TagStore, AllocMode::Reserve)?;
    for (word, bits) in class.empty_map().iter().enumerate() {
        system.machine().store_word(frame, word, *bits);
    }
    link(system, &mut list.head, frame);
    list.nr_frames += 1;
    Ok(frame)
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
