// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows what must be in a page: it is computed from the page's number and two
//! generations, one of its words and one of its tags.

use std::fmt;

use user_tests::memory::{self, PAGE};
use user_tests::tags::{self, GRANULE, GRANULES_PER_PAGE};

use user_tests::dice::mix;

/// Words that are stored to a page, one in each sector of the disk.
const NR_WORDS: usize = 8;
const SECTOR: usize = PAGE / NR_WORDS;

/// Granules whose tags are looked at when not all are.
const NR_SAMPLED: usize = 16;

/// What is in a page. The default is what a page has that nobody stored to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Content {
    /// Generation of the words, 0 for zeroes.
    words: u16,
    /// Generation of the tags, 0 for tags that are zero.
    tags: u16,
}

/// What was found wrong: `at`, something that was `found` where something else was `expected`.
#[derive(Clone, Copy, Debug)]
pub enum Mismatch {
    /// A word.
    Word { at: usize, found: u64, expected: u64 },
    /// A tag.
    Tag { at: usize, found: u8, expected: u8 },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word { at, found, expected } => {
                write!(f, "{at:#x}: word {found:#x}, expected {expected:#x}")
            }
            Self::Tag { at, found, expected } => {
                write!(f, "{at:#x}: tag {found:#x}, expected {expected:#x}")
            }
        }
    }
}

/// A page and its number, which is the same wherever the page is moved.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The address.
    pub at: usize,
    /// The number.
    pub number: u64,
}

impl Content {
    /// Tells whether nobody has stored words to the page.
    pub fn is_zero(self) -> bool {
        self.words == 0
    }

    /// Stores words of a new generation to a page.
    pub fn store_words(&mut self, page: Page) {
        self.words = next(self.words);
        for index in 0..NR_WORDS {
            memory::store(page.at + offset(page, index), self.word(page, index));
        }
    }

    /// Gives a page tags of a new generation.
    pub fn store_tags(&mut self, page: Page) {
        self.tags = next(self.tags);
        for granule in 0..GRANULES_PER_PAGE {
            tags::store(tags::with_tag(page.at + granule * GRANULE, self.tag(page, granule)));
        }
    }

    /// Compares a page; all of its tags, or some.
    pub fn check(self, page: Page, all_tags: bool) -> Result<(), Mismatch> {
        for index in 0..NR_WORDS {
            let at = page.at + offset(page, index);
            // Nothing is ever stored to the word behind it.
            let expected = [self.word(page, index), 0];
            let found = memory::load_pair(at);
            let pairs = (at..).step_by(8).zip(found.into_iter().zip(expected));
            for (at, (found, expected)) in pairs {
                if found != expected {
                    return Err(Mismatch::Word { at, found, expected });
                }
            }
        }
        let step = if all_tags { 1 } else { GRANULES_PER_PAGE / NR_SAMPLED };
        let first = page.number as usize % step;
        for granule in (first..GRANULES_PER_PAGE).step_by(step) {
            let at = page.at + granule * GRANULE;
            let (found, expected) = (tags::load(at), self.tag(page, granule));
            if found != expected {
                return Err(Mismatch::Tag { at, found, expected });
            }
        }
        Ok(())
    }

    fn word(self, page: Page, index: usize) -> u64 {
        match self.words {
            0 => 0,
            words => mix(page.number << 20 | u64::from(words) << 4 | index as u64) | 1,
        }
    }

    /// Returns the tag of a granule: of some generations all are alike, of some there are few runs, of
    /// some one for each object of 64 bytes, and some cannot be compressed.
    fn tag(self, page: Page, granule: usize) -> u8 {
        let object = match self.tags {
            0 => return 0,
            tags if tags % 4 == 1 => 0,
            tags if tags % 4 == 2 => granule / 64,
            tags if tags % 4 == 3 => granule / 4,
            _ => granule,
        };
        (mix(page.number << 24 | u64::from(self.tags) << 8 | object as u64) >> 60) as u8
    }
}

/// Returns the generation after `generation`, never 0.
fn next(generation: u16) -> u16 {
    generation.checked_add(1).unwrap_or(1)
}

/// Returns where word `index` of a page is, 16 bytes aligned.
fn offset(page: Page, index: usize) -> usize {
    index * SECTOR + (mix(page.number) as usize >> index & 31) * GRANULE
}
