// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes pages of objects of 1, 2, 4, 8 or 16 granules, aligned to their size: one tag
//! for each. Objects of one granule make the page's own 128 bytes.

use hal::PageTags;

use super::bits::{fields, gather, spread};
use super::{Kind, MAX_WORDS, Malformed, Record};

/// The largest objects have 2^4 granules: those whose tags are one word.
const MAX_LOG2: u32 = 4;
const HEADER: u8 = 0x80;

/// What aligned objects a page consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aligned {
    /// Logarithm of an object's granules.
    log2: u32,
    /// Each object's first granule has tag 0.
    has_header: bool,
}

impl Aligned {
    /// Reads the parameter of a record's shape.
    pub fn from_arg(arg: u8) -> Result<Self, Malformed> {
        let (log2, has_header) = (u32::from(arg & !HEADER), arg & HEADER != 0);
        if log2 > MAX_LOG2 || (has_header && log2 == 0) {
            return Err(Malformed);
        }
        Ok(Self { log2, has_header })
    }

    /// Returns the largest objects of which the page consists.
    pub fn of(tags: &PageTags) -> Self {
        // Of each 16 granules: those that differ from the next somewhere, and those not always 0.
        let (mut differ, mut used) = (0, 0);
        for word in tags.0 {
            differ |= word ^ word >> 4;
            used |= word;
        }
        for log2 in (1..=MAX_LOG2).rev() {
            let pitch = 4 << log2;
            let starts = fields(4, pitch);
            let ends = starts << (pitch - 4);
            if differ & !ends == 0 {
                return Self { log2, has_header: false };
            }
            if used & starts == 0 && differ & !ends & !starts == 0 {
                return Self { log2, has_header: true };
            }
        }
        Self { log2: 0, has_header: false }
    }

    /// Tells whether objects start with a granule of tag 0.
    pub fn has_header(self) -> bool {
        self.has_header
    }

    /// Tells whether this says nothing about the page.
    pub fn is_any(self) -> bool {
        self.log2 == 0
    }

    /// Returns the words of a record.
    pub fn nr_words(self) -> usize {
        MAX_WORDS >> self.log2
    }

    /// Encodes the page that consists of such objects.
    pub fn encode(self, tags: &PageTags, record: &mut Record) {
        let header = if self.has_header { HEADER } else { 0 };
        record.start(Kind::Aligned, self.log2 as u8 | header, self.nr_words());
        // An object's second granule tells its tag as well as its first, and when that is a header.
        let shift = if self.has_header { 4 } else { 0 };
        match self.log2 {
            0 => record.words = tags.0,
            1 => collect::<8>(tags, shift, &mut record.words),
            2 => collect::<16>(tags, shift, &mut record.words),
            3 => collect::<32>(tags, shift, &mut record.words),
            _ => collect::<64>(tags, shift, &mut record.words),
        }
    }

    /// Returns the page that a record of this shape describes.
    pub fn expand(self, words: &[u64; MAX_WORDS]) -> PageTags {
        let repeat =
            fields(1, 4) >> (64 - (4 << self.log2)) & if self.has_header { !1 } else { !0 };
        match self.log2 {
            0 => PageTags(*words),
            1 => distribute::<8>(words, repeat),
            2 => distribute::<16>(words, repeat),
            3 => distribute::<32>(words, repeat),
            _ => distribute::<64>(words, repeat),
        }
    }
}

/// Strings together one tag of each `PITCH` bits, `shift` bits into them.
fn collect<const PITCH: u32>(tags: &PageTags, shift: u32, words: &mut [u64; MAX_WORDS]) {
    let per_word = (PITCH / 4) as usize;
    for (word, from) in words.iter_mut().zip(tags.0.chunks_exact(per_word)) {
        for (n, from) in (0u32..).zip(from) {
            let part = gather::<4, PITCH>(from >> shift & fields(4, PITCH));
            *word |= part << (n * 256 / PITCH);
        }
    }
}

/// Makes `PITCH` bits of each tag, as many copies as `repeat` has ones.
fn distribute<const PITCH: u32>(words: &[u64], repeat: u64) -> PageTags {
    let per_word = (PITCH / 4) as usize;
    let mut tags = PageTags::ZERO;
    for (into, word) in tags.0.chunks_exact_mut(per_word).zip(words) {
        for (n, into) in (0u32..).zip(into) {
            *into = spread::<4, PITCH>(word >> (n * 256 / PITCH)) * repeat;
        }
    }
    tags
}
