// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows what must be in a page: words and tags that its number and its generation decide, all
//! 512 and all 256 of them.

use std::fmt;

use user_tests::dice::mix;
use user_tests::memory;
use user_tests::tags::{self, GRANULE, GRANULES_PER_PAGE};

/// A page: its address, the number that no other page has, and how often it was written since it was a
/// page of zeroes.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub at: usize,
    pub number: u64,
    pub generation: u32,
}

/// A granule that is not as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Mismatch {
    page: Page,
    granule: usize,
    /// Tag and words.
    found: (u8, [u64; 2]),
    expected: (u8, [u64; 2]),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, granule, found, expected } = self;
        write!(f, "{page:x?} granule {granule}: {found:x?}, expected {expected:x?}")
    }
}

impl Page {
    /// Stores the page's content, tag by tag and word by word. The processor compares the tag of each
    /// pointer.
    pub fn store(&self) {
        for granule in 0..GRANULES_PER_PAGE {
            let (tag, words) = self.granule(granule);
            let at = tags::with_tag(self.at + granule * GRANULE, tag);
            tags::store(at);
            memory::store_pair(at, words);
        }
    }

    /// Compares all of the page.
    pub fn check(&self) -> Result<(), Mismatch> {
        for granule in 0..GRANULES_PER_PAGE {
            let expected = self.granule(granule);
            let at = self.at + granule * GRANULE;
            let tag = tags::load(at);
            let found = (tag, memory::load_pair(tags::with_tag(at, tag)));
            if found != expected {
                return Err(Mismatch { page: *self, granule, found, expected });
            }
        }
        Ok(())
    }

    /// Compares the bytes of the page as somebody else has seen them.
    pub fn check_bytes(&self, seen: &[u8]) -> Result<(), Mismatch> {
        for (granule, bytes) in seen.as_chunks::<GRANULE>().0.iter().enumerate() {
            let expected = self.granule(granule);
            let [low, high] = [0, 8].map(|at| {
                u64::from_le_bytes(*bytes[at..].first_chunk().expect("a granule is two words"))
            });
            let found = (expected.0, [low, high]);
            if found != expected {
                return Err(Mismatch { page: *self, granule, found, expected });
            }
        }
        Ok(())
    }

    /// Returns the tag and the words of a granule.
    fn granule(&self, granule: usize) -> (u8, [u64; 2]) {
        if self.generation == 0 {
            return (0, [0; 2]);
        }
        let low = mix(self.number << 40 | u64::from(self.generation) << 8 | granule as u64);
        ((low >> 60) as u8, [low, !low])
    }
}
