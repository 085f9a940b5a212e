// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes the 256 allocation tags of a page in as few bytes as their pattern needs.
//!
//! `docs/formats/tag-record.md` defines the records, with examples that a test compares with it. In
//! short: the smallest record that represents the page wins, and among equals the first of these.
//!
//! | kind | the page | bytes |
//! |---|---|---|
//! | uniform | one tag | 0 |
//! | repeat | the same 16 tags, 16 times | 8 |
//! | aligned | objects of 16, 8, 4, 2, 1 granules, aligned to their size | 8, 16, 32, 64, 128 |
//! | runs | up to 6, 11, 23 runs of equal tags | 8, 16, 32 |
//! | slab | objects of one size, at any offset: 20, 9, 5, 3 granules and more | 8, 16, 32, 64 |
//! | mask | up to 64 runs, or 64 runs between runs of one tag | 64 |
//!
//! Aligned objects and those of a slab may each start with a granule of tag 0: an allocator's header,
//! which it reaches through an untagged pointer.

mod aligned;
mod bits;
mod bytes;
mod mask;
mod runs;
mod slab;

use hal::PageTags;

use aligned::Aligned;
use bits::Boundaries;
pub use bytes::{MAX_BYTES, VERSION, decode_bytes};

const GRANULES: usize = 256;
/// Words of the largest record.
const MAX_WORDS: usize = PageTags::WORDS;

/// What a record says about its page. 0 is free for "no tags".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// One tag.
    Uniform = 1,
    /// Sixteen tags, repeated.
    Repeat = 2,
    /// Objects of a power of two of granules, aligned.
    Aligned = 3,
    /// Few runs.
    Runs = 4,
    /// Objects of one size.
    Slab = 5,
    /// Many runs.
    Mask = 6,
}

/// What a record is: its kind, and what else has to be known to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The kind.
    pub kind: Kind,
    /// Its parameter; what it means depends on the kind.
    pub arg: u8,
}

/// The encoded tags of one page.
#[derive(Clone, Debug)]
pub struct Record {
    shape: Shape,
    nr_words: usize,
    words: [u64; MAX_WORDS],
}

/// A record that no encoder writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl Kind {
    /// Returns the kind with this number.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when there is none.
    pub const fn from_number(number: u8) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Kind::Uniform),
            2 => Ok(Kind::Repeat),
            3 => Ok(Kind::Aligned),
            4 => Ok(Kind::Runs),
            5 => Ok(Kind::Slab),
            6 => Ok(Kind::Mask),
            _ => Err(Malformed),
        }
    }
}

impl Shape {
    /// Returns the number of 8-byte words that a record of this shape has.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when no record has this shape.
    pub fn nr_words(self) -> Result<usize, Malformed> {
        match self.kind {
            Kind::Uniform if self.arg < 16 => Ok(0),
            Kind::Repeat if self.arg == 0 => Ok(1),
            Kind::Uniform | Kind::Repeat => Err(Malformed),
            Kind::Aligned => Aligned::from_arg(self.arg).map(Aligned::nr_words),
            Kind::Runs => runs::nr_words(self.arg.into()).ok_or(Malformed),
            Kind::Slab => slab::nr_words_of(self.arg),
            Kind::Mask => mask::nr_words_of(self.arg),
        }
    }
}

impl Record {
    /// Makes the record of a page of tag 0.
    pub(super) fn new() -> Self {
        let shape = Shape { kind: Kind::Uniform, arg: 0 };
        Self { shape, nr_words: 0, words: [0; MAX_WORDS] }
    }

    /// Makes this the record of a page.
    pub(super) fn encode(&mut self, tags: &PageTags) {
        let first = tags.0[0];
        if tags.0.iter().any(|word| *word != first) {
            encode_varied(tags, self);
        } else if first.rotate_left(4) == first {
            self.start(Kind::Uniform, (first & 0xf) as u8, 0);
        } else {
            self.start(Kind::Repeat, 0, 1);
            self.words[0] = first;
        }
    }

    /// Starts a record whose words are 0, or starts it again.
    fn start(&mut self, kind: Kind, arg: u8, nr_words: usize) {
        self.shape = Shape { kind, arg };
        self.words[..self.nr_words].fill(0);
        self.nr_words = nr_words;
    }

    /// Returns the record's shape, which is kept apart from its words.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the record's words: 0, 1, 2, 4, 8 or 16.
    pub fn words(&self) -> &[u64] {
        &self.words[..self.nr_words]
    }
}

/// Encodes the tags of a page.
pub fn encode(tags: &PageTags) -> Record {
    let mut record = Record::new();
    record.encode(tags);
    record
}

/// Encodes a page whose words are not all the same.
fn encode_varied(tags: &PageTags, record: &mut Record) {
    let aligned = Aligned::of(tags);
    aligned.encode(tags, record);
    let limit = record.nr_words;
    if limit == 1 {
        return;
    }
    // Without headers every run starts with an object, so the objects' tags tell how many there are.
    let nr_runs = match aligned.has_header() {
        true => bits::count_runs(&tags.0),
        false => bits::count_runs(record.words()),
    };
    // Objects that are not aligned, or are none, if that takes fewer words.
    let as_runs = runs::nr_words(nr_runs).filter(|nr| *nr < limit);
    let slab_limit = as_runs.unwrap_or(limit);
    let may_be_slab = nr_runs <= slab::max_runs(slab_limit, aligned);
    let may_be_mask = limit == MAX_WORDS && nr_runs <= mask::MAX_RUNS;
    if as_runs.is_none() && !may_be_slab && !may_be_mask {
        return;
    }
    let boundaries = Boundaries::of(tags);
    if may_be_slab && slab::encode(tags, &boundaries, slab_limit, record) {
        return;
    }
    if as_runs.is_some() {
        runs::encode(tags, &boundaries, nr_runs, record);
    } else if may_be_mask {
        mask::encode(tags, &boundaries, nr_runs, record);
    }
}

/// Decodes a record.
///
/// # Errors
///
/// [`Malformed`] for everything that [`encode`] does not write: of all records that would represent
/// a page, one is accepted.
pub fn decode(shape: Shape, words: &[u64]) -> Result<PageTags, Malformed> {
    if shape.nr_words()? != words.len() {
        return Err(Malformed);
    }
    let mut padded = [0; MAX_WORDS];
    padded[..words.len()].copy_from_slice(words);
    let tags = expand(shape, &padded)?;
    let record = encode(&tags);
    if record.shape == shape && record.words() == words { Ok(tags) } else { Err(Malformed) }
}

/// Decodes a record that [`encode`] has written, which is not checked in full: [`decode`] for those
/// from elsewhere. Zeroes follow its words.
///
/// # Errors
///
/// [`Malformed`] for a record that represents no page.
pub(super) fn expand(shape: Shape, words: &[u64; MAX_WORDS]) -> Result<PageTags, Malformed> {
    match shape.kind {
        Kind::Uniform => Ok(PageTags::uniform(shape.arg)),
        Kind::Repeat => Ok(PageTags([words[0]; PageTags::WORDS])),
        Kind::Aligned => Ok(Aligned::from_arg(shape.arg)?.expand(words)),
        Kind::Runs => runs::expand(shape.arg.into(), words),
        Kind::Slab => slab::expand(shape.arg, words),
        Kind::Mask => mask::expand(shape.arg, words),
    }
}
