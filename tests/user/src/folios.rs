// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes large folios, fills them, and says how they are mapped.

use std::ops::Range;

use crate::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use crate::pageout;
use crate::tags;
use crate::thp::{self, Setting};
use crate::trial::Skip;

/// The sizes that tests use, in KiB: what the contiguous bit spans, and a level-2 entry.
pub const SIZES_KIB: [usize; 2] = [64, 2048];

/// Private memory in large folios of one size.
#[derive(Debug)]
pub struct Folios {
    /// The memory, aligned to a level-2 entry.
    pub mapping: Mapping,
    /// Pages of a folio.
    pub nr_pages: usize,
    /// Whether it has tags.
    pub is_tagged: bool,
    /// Has memory get folios of the size.
    _settings: Vec<Setting>,
}

impl Folios {
    /// Maps room for `nr` folios, with tags where there are any, and touches none of it.
    ///
    /// # Errors
    ///
    /// Where there are no folios of the size.
    ///
    /// # Panics
    ///
    /// When mmap fails.
    pub fn untouched(size_kib: usize, nr: usize) -> Result<Self, Skip> {
        let is_tagged = tags::has_mte() && tags::are_per_granule();
        let protection = if is_tagged { RW | PROT_MTE } else { RW };
        Self::with_protection(size_kib, nr, protection, is_tagged)
    }

    /// As [`Folios::untouched`], without tags.
    ///
    /// # Errors
    ///
    /// Where there are no folios of the size.
    ///
    /// # Panics
    ///
    /// When mmap fails.
    pub fn untagged(size_kib: usize, nr: usize) -> Result<Self, Skip> {
        Self::with_protection(size_kib, nr, RW, false)
    }

    fn with_protection(
        size_kib: usize,
        nr: usize,
        protection: i32,
        is_tagged: bool,
    ) -> Result<Self, Skip> {
        let settings = thp::only(size_kib, "always")?;
        let mapping =
            Mapping::aligned(nr * (size_kib << 10), thp::BLOCK, protection).expect("mmap");
        let nr_pages = (size_kib << 10) / PAGE;
        Ok(Self { mapping, nr_pages, is_tagged, _settings: settings })
    }

    /// Maps `nr` times 2 MiB, with tags where there are any, that are to be touched in single pages.
    ///
    /// # Errors
    ///
    /// Where that cannot be set.
    ///
    /// # Panics
    ///
    /// When mmap fails.
    pub fn of_single_pages(nr: usize) -> Result<Self, Skip> {
        let mut pages = Self::untouched(thp::BLOCK >> 10, nr)?;
        // Each puts back what it found.
        pages._settings.clear();
        pages._settings = thp::only(thp::BLOCK >> 10, "never")?;
        Ok(pages)
    }

    /// Maps `nr` folios and fills them, page by page.
    ///
    /// # Errors
    ///
    /// Where there are no folios of the size.
    ///
    /// # Panics
    ///
    /// When there is no memory for them.
    pub fn filled(size_kib: usize, nr: usize) -> Result<Self, Skip> {
        let folios = Self::untouched(size_kib, nr)?;
        let before = thp::stat(size_kib, "anon_fault_alloc");
        folios.fill();
        let after = thp::stat(size_kib, "anon_fault_alloc");
        let nr_made = before.zip(after).map(|(before, after)| after - before);
        assert_eq!(nr_made, Some(nr as u64), "folios of {size_kib} KiB");
        Ok(folios)
    }

    /// Stores words and tags to all pages, made from their numbers.
    pub fn fill(&self) {
        for (index, page) in self.mapping.pages().enumerate() {
            self.fill_page(page, index as u64);
        }
    }

    /// Stores words and tags made from `seed` to a page.
    pub fn fill_page(&self, page: usize, seed: u64) {
        memory::store_pattern(page, seed);
        if self.is_tagged {
            tags::fill_page(page, seed);
        }
    }

    /// Returns the address of page `page` of folio `folio`.
    pub fn page(&self, folio: usize, page: usize) -> usize {
        self.mapping.page(folio * self.nr_pages + page)
    }

    /// Returns the addresses of folio `folio`.
    pub fn folio(&self, folio: usize) -> Range<usize> {
        self.page(folio, 0)..self.page(folio + 1, 0)
    }

    /// Returns the addresses of `pages` of folio `folio`.
    pub fn part(&self, folio: usize, pages: Range<usize>) -> Range<usize> {
        self.page(folio, pages.start)..self.page(folio, pages.end)
    }

    /// Expects what [`Folios::fill`] stored in all pages but those in `except`.
    ///
    /// # Panics
    ///
    /// When something else is there.
    pub fn check_except(&self, except: &[Range<usize>]) {
        for (index, page) in self.mapping.pages().enumerate() {
            if !except.iter().any(|range| range.contains(&page)) {
                self.check_page(page, index as u64);
            }
        }
    }

    /// Expects what [`Folios::fill`] stored in all pages.
    ///
    /// # Panics
    ///
    /// When something else is there.
    pub fn check(&self) {
        self.check_except(&[]);
    }

    /// Expects words and tags made from `seed` in a page.
    ///
    /// # Panics
    ///
    /// When something else is there.
    pub fn check_page(&self, page: usize, seed: u64) {
        assert_eq!(memory::first_difference(page, seed), None, "words of {page:#x}, seed {seed}");
        if self.is_tagged {
            assert_eq!(tags::first_difference(page, seed), None, "tags of {page:#x}, seed {seed}");
        }
    }

    /// Expects zeroes in a page, and tags that are zero.
    ///
    /// # Panics
    ///
    /// When something else is there.
    pub fn check_zero(&self, page: usize) {
        assert!((page..page + PAGE).step_by(8).all(|at| memory::load(at) == 0), "{page:#x}");
        assert!(!self.is_tagged || tags::page_is(page, 0), "tags of {page:#x}");
    }

    /// Says how memory with tags, or without, is mapped.
    pub fn protection(&self, protection: i32) -> i32 {
        if self.is_tagged { protection | PROT_MTE } else { protection }
    }
}

/// Tells whether the pages of `range` are in memory and in frames that follow each other, the first
/// one aligned as the range is long.
pub fn is_one_run(range: Range<usize>) -> bool {
    let frames = pageout::frames(range);
    let Some(first) = frames[0] else { return false };
    let is_next = |(frame, expected)| frame == Some(expected);
    first % frames.len() as u64 == 0 && frames.into_iter().zip(first..).all(is_next)
}

/// Reserves addresses, aligned to a level-2 entry, that nothing uses.
///
/// # Panics
///
/// When there are none.
pub fn place_for(len_bytes: usize) -> usize {
    let reserved = memory::mmap(0, len_bytes + thp::BLOCK, libc::PROT_NONE, ANON, -1, 0);
    let reserved = reserved.expect("mmap");
    memory::munmap(reserved, len_bytes + thp::BLOCK).expect("munmap");
    reserved.next_multiple_of(thp::BLOCK)
}

/// Runs `test` for each size.
///
/// # Errors
///
/// Where there are no folios of some size.
pub fn for_sizes(test: impl Fn(usize) -> Result<(), Skip>) -> Result<(), Skip> {
    SIZES_KIB.into_iter().try_for_each(test)
}
