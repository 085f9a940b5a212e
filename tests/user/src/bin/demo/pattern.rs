// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what each byte and each tag of the demo's memory is, on both sides of the fork.

use std::fmt;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::tags::{self, GRANULE, GRANULES_PER_PAGE};

use crate::progress::Progress;

const SEED: u64 = 0x6772_616e_756c_6521;

/// A process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Parent,
    Child,
}

/// The memory that the demo is about.
#[derive(Debug)]
pub struct Memory<'a> {
    mapping: &'a Mapping,
    has_tags: bool,
    /// What the number of a granule is shifted by to find its tag: 0, or a page's granules.
    tag_shift: u32,
}

/// What a page was made from: its bytes from one seed, its tags from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seeds {
    bytes: u64,
    tags: u64,
}

/// A place that is not as it was written.
#[derive(Debug)]
pub struct Mismatch {
    address: usize,
    what: &'static str,
    expected: u64,
    found: u64,
}

impl Seeds {
    const FIRST: Self = Self { bytes: SEED, tags: !SEED };

    /// Returns what page `index` is made from once `side` has made its changes: of eight
    /// neighbours, five changed by somebody, one of them by both.
    fn of(side: Side, index: usize) -> Self {
        let Self { bytes, tags } = Self::FIRST;
        match (side, index % 8) {
            (Side::Child, 1) => Self { bytes: bytes ^ 0xc1, tags: tags ^ 0xc1 },
            (Side::Child, 3) => Self { bytes, tags: tags ^ 0xc3 },
            (Side::Child, 5) => Self { bytes: bytes ^ 0xc5, tags },
            (Side::Parent, 2) => Self { bytes: bytes ^ 0xa2, tags: tags ^ 0xa2 },
            (Side::Parent, 3) => Self { bytes, tags: tags ^ 0xa3 },
            (Side::Parent, 6) => Self { bytes: bytes ^ 0xa6, tags },
            _ => Self::FIRST,
        }
    }
}

impl<'a> Memory<'a> {
    /// Takes memory for the demo.
    pub fn new(mapping: &'a Mapping, has_tags: bool) -> Self {
        let is_coarse = has_tags && !tags::are_per_granule();
        let tag_shift = if is_coarse { GRANULES_PER_PAGE.ilog2() } else { 0 };
        Self { mapping, has_tags, tag_shift }
    }

    /// Returns how many pages it has.
    pub fn nr_pages(&self) -> usize {
        self.mapping.len_bytes() / PAGE
    }

    /// Returns the pointer to the first granule, with the tag that it has before the fork.
    pub fn pointer(&self, granule: usize) -> usize {
        let address = self.mapping.start() + granule * GRANULE;
        tags::with_tag(address, self.tag(Seeds::FIRST, granule))
    }

    /// Writes all bytes and all tags.
    pub fn fill(&self, progress: &mut Progress) {
        for page in 0..self.nr_pages() {
            self.write_tags(page, Seeds::FIRST);
            self.write_bytes(page, Seeds::FIRST);
            progress.page();
        }
        progress.end();
    }

    /// Writes the bytes and the tags that `side` changes, and nothing else.
    pub fn change(&self, side: Side, progress: &mut Progress) {
        for page in 0..self.nr_pages() {
            let (first, seeds) = (Seeds::FIRST, Seeds::of(side, page));
            if seeds.tags != first.tags {
                self.write_tags(page, seeds);
            }
            if seeds.bytes != first.bytes {
                self.write_bytes(page, seeds);
            }
            progress.page();
        }
        progress.end();
    }

    /// Compares all bytes and all tags with what `side` must see.
    pub fn verify(&self, side: Side, progress: &mut Progress) -> Result<(), Mismatch> {
        for page in 0..self.nr_pages() {
            self.verify_page(page, Seeds::of(side, page))?;
            progress.page();
        }
        progress.end();
        Ok(())
    }

    fn write_tags(&self, page: usize, seeds: Seeds) {
        if self.has_tags {
            for granule in granules(page) {
                let address = self.mapping.start() + granule * GRANULE;
                tags::store(tags::with_tag(address, self.tag(seeds, granule)));
            }
        }
    }

    fn write_bytes(&self, page: usize, seeds: Seeds) {
        for granule in granules(page) {
            let address = self.mapping.start() + granule * GRANULE;
            let pointer = tags::with_tag(address, self.tag(seeds, granule));
            memory::store_pair(pointer, words(seeds, granule));
        }
    }

    fn verify_page(&self, page: usize, seeds: Seeds) -> Result<(), Mismatch> {
        for granule in granules(page) {
            let address = self.mapping.start() + granule * GRANULE;
            let tag = self.tag(seeds, granule);
            if self.has_tags {
                // Before the bytes: a load with the wrong tag would be the end.
                differ("tag", address, u64::from(tag), u64::from(tags::load(address)))?;
            }
            let found = memory::load_pair(tags::with_tag(address, tag));
            let expected = words(seeds, granule);
            differ("word", address, expected[0], found[0])?;
            differ("word", address + size_of::<u64>(), expected[1], found[1])?;
        }
        Ok(())
    }

    fn tag(&self, seeds: Seeds, granule: usize) -> u8 {
        if self.has_tags { tags::pseudo_random(seeds.tags, granule >> self.tag_shift) } else { 0 }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, what, expected, found } = self;
        write!(f, "{what} at {address:#x}: expected {expected:#x}, found {found:#x}")
    }
}

/// Returns the numbers of a page's granules.
fn granules(page: usize) -> std::ops::Range<usize> {
    page * GRANULES_PER_PAGE..(page + 1) * GRANULES_PER_PAGE
}

/// Returns the bytes of a granule as two words.
fn words(seeds: Seeds, granule: usize) -> [u64; 2] {
    let low = (granule as u64 ^ seeds.bytes).wrapping_mul(0xd129_0dba_85d2_d6a5);
    [low, low.rotate_left(23) ^ seeds.bytes]
}

fn differ(what: &'static str, address: usize, expected: u64, found: u64) -> Result<(), Mismatch> {
    if expected == found { Ok(()) } else { Err(Mismatch { address, what, expected, found }) }
}
