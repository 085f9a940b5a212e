// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file allocates records of 16, 32, 64 and 128 bytes for the tags of swapped pages.
//!
//! A frame holds records of one size. Its first records are its header: words 0 to 3 are a bit map
//! (set: free), as many of them as the records need, word 4 links it to its neighbours among the frames of
//! that size that have a free record. So the store needs no heap, and a frame that becomes empty is
//! freed at once.

use base::Pfn;
use base::lock_level;
use base::sync::SpinLock;
use hal::Machine;

use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, OutOfMemory};
use crate::system::System;

/// How many sizes of records there are.
pub(super) const NR_CLASSES: usize = 4;
const HEADER_WORDS: usize = 5;
const LINK_WORD: usize = 4;
const NIL: u32 = 0;
/// The map of a frame with nothing free.
const FULL: Map = [0; 4];

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
    lists: SpinLock<[List; NR_CLASSES], lock_level::TagStore>,
}

/// The records of one size.
#[derive(Clone, Copy)]
struct List {
    /// First frame that has a free record.
    head: u32,
    nr_frames: u64,
    nr_records: u64,
}

/// The bit map of a frame.
type Map = [u64; 4];

/// Shape of a frame of records.
struct Class {
    /// Words of a record.
    words: usize,
    /// Words of the map; those beyond are 0.
    map_words: usize,
    /// The map of a frame with nothing in use.
    empty: Map,
}

static CLASSES: [Class; NR_CLASSES] = [Class::new(2), Class::new(4), Class::new(8), Class::new(16)];

impl Class {
    const fn new(words: usize) -> Self {
        let nr_records = 512 / words;
        let mut empty = [0; 4];
        // The first records are the header.
        let mut record = HEADER_WORDS.div_ceil(words);
        while record < nr_records {
            empty[record / 64] |= 1 << (record % 64);
            record += 1;
        }
        Self { words, map_words: nr_records.div_ceil(64), empty }
    }

    /// Returns the number of the class of records of `words` words.
    fn number_of(words: usize) -> usize {
        match words {
            2 => 0,
            4 => 1,
            8 => 2,
            16 => 3,
            _ => panic!("tag store: a record of {words} words"),
        }
    }

    fn load_map<M: Machine>(&self, system: &System<M>, frame: Pfn) -> Map {
        let mut map = [0; 4];
        system.machine().load_words(frame, 0, &mut map[..self.map_words]);
        map
    }
}

/// Tells whether two maps are the same, without a call: they are short.
fn is_same(a: &Map, b: &Map) -> bool {
    a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl TagStore {
    pub fn new() -> Self {
        let list = List { head: NIL, nr_frames: 0, nr_records: 0 };
        Self { lists: SpinLock::new([list; NR_CLASSES]) }
    }

    pub fn nr_frames(&self) -> u64 {
        self.lists.lock().iter().map(|list| list.nr_frames).sum()
    }

    /// Returns the bytes in use by records of 16, 32, 64 and 128 bytes.
    pub fn bytes_in_use(&self) -> [u64; NR_CLASSES] {
        let lists = self.lists.lock();
        core::array::from_fn(|n| lists[n].nr_records * 8 * CLASSES[n].words as u64)
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
        let number = Class::number_of(record.len());
        let class = &CLASSES[number];
        let mut lists = self.lists.lock();
        let list = &mut lists[number];
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
        if is_same(&map, &FULL) {
            unlink(system, &mut list.head, frame);
        }
        list.nr_records += 1;
        system.machine().store_words(frame, index * record.len(), record);
        Ok(RecordRef { frame, index })
    }

    /// Reads a record.
    pub fn read<M: Machine>(&self, system: &System<M>, at: RecordRef, record: &mut [u64]) {
        system.machine().load_words(at.frame, at.index * record.len(), record);
    }

    /// Frees a record of `words` words.
    pub fn free<M: Machine>(&self, system: &System<M>, at: RecordRef, words: usize) {
        let number = Class::number_of(words);
        let class = &CLASSES[number];
        let mut lists = self.lists.lock();
        let list = &mut lists[number];
        let mut map = class.load_map(system, at.frame);
        let was_full = is_same(&map, &FULL);
        let (word, bit) = (at.index / 64, 1 << (at.index % 64));
        assert!(map[word] & bit == 0, "tag store: {at:?} freed twice");
        map[word] |= bit;
        system.machine().store_word(at.frame, word, map[word]);
        list.nr_records -= 1;
        if was_full {
            link(system, &mut list.head, at.frame);
        }
        if is_same(&map, &class.empty) {
            unlink(system, &mut list.head, at.frame);
            system.free_frame(at.frame);
            list.nr_frames -= 1;
        }
    }
}

fn add_frame<M: Machine>(
    system: &System<M>,
    list: &mut List,
    class: &Class,
) -> Result<Pfn, OutOfMemory> {
    let frame = system.alloc_frame_as(FrameKind::TagStore, AllocMode::Reserve)?;
    system.machine().store_words(frame, 0, &class.empty);
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
