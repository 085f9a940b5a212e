// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps the memory that operations are measured on.

use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::tags;
use user_tests::thp::{self, Setting};

use crate::counter::count;
use crate::report::Kind;
use crate::size::Size;

/// Bytes of a region, where nothing else is said.
pub const LEN_BYTES: usize = 64 << 20;

/// Granules of an object of 64 bytes, all of which an allocator gives the same tag.
const OBJECT: usize = 4;

/// How the memory is that operations are measured on.
#[derive(Debug)]
pub struct Region {
    /// Bytes that are mapped at a time.
    pub len_bytes: usize,
    /// Bytes of its folios.
    pub folio_bytes: usize,
    /// Whether it has tags.
    pub is_tagged: bool,
    /// Has memory get folios of one size.
    _size: Vec<Setting>,
}

impl Region {
    /// Makes memory that is mapped from now on be of a kind, until the region is dropped. `None`
    /// where there are no folios of that size, or no tags.
    pub fn new(kind: Kind) -> Option<Self> {
        Self::of_len(kind, LEN_BYTES)
    }

    /// As [`Region::new`], for other lengths.
    pub fn of_len(kind: Kind, len_bytes: usize) -> Option<Self> {
        let Kind { size, is_tagged } = kind;
        let is_possible = !is_tagged || tags::has_mte();
        let folio_bytes = size.kib() << 10;
        let size = is_possible.then(|| size.choose()).flatten()?;
        Some(Self { len_bytes, folio_bytes, is_tagged, _size: size })
    }

    /// Returns the number of its pages.
    pub fn nr_pages(&self) -> usize {
        self.len_bytes / PAGE
    }

    /// Maps a region, aligned for the largest folios.
    pub fn map(&self) -> Mapping {
        let protection = if self.is_tagged { RW | PROT_MTE } else { RW };
        Mapping::aligned(self.len_bytes, thp::BLOCK, protection).expect("mmap")
    }

    /// Maps a region and fills it: a word in each page, and tags as an allocator of objects of 64
    /// bytes sets them.
    pub fn populated(&self) -> Mapping {
        let mapping = self.map();
        store_each(&mapping);
        if self.is_tagged {
            for page in mapping.pages() {
                for granule in 0..tags::GRANULES_PER_PAGE {
                    let tag = tags::pseudo_random(page as u64, granule / OBJECT);
                    tags::store(tags::with_tag(page + granule * tags::GRANULE, tag));
                }
            }
        }
        mapping
    }

    /// Counts the loop of [`store_each`] over so many pages when nothing faults.
    pub fn own_count_of_stores(&self) -> u64 {
        self.own_count_of(store_each)
    }

    /// Counts the loop of [`load_each`] over so many pages when nothing faults.
    pub fn own_count_of_loads(&self) -> u64 {
        self.own_count_of(load_each)
    }

    fn own_count_of(&self, each: fn(&Mapping)) -> u64 {
        let sample = Mapping::new(LEN_BYTES / 4, RW, ANON).expect("mmap");
        store_each(&sample);
        count(|| each(&sample)) * (self.len_bytes / PAGE) as u64 / sample.pages().count() as u64
    }
}

/// Iterates over the kinds of memory, without tags and with them.
pub fn kinds() -> impl Iterator<Item = Kind> {
    let of = |is_tagged| Size::ALL.map(|size| Kind { size, is_tagged });
    [false, true].into_iter().flat_map(of)
}

/// Stores a word to each page.
pub fn store_each(mapping: &Mapping) {
    mapping.pages().for_each(|page| memory::store(page, page as u64));
}

/// Loads a word of each page.
pub fn load_each(mapping: &Mapping) {
    mapping.pages().for_each(memory::touch);
}
