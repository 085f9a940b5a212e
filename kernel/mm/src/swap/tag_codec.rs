// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes the 256 tags of a page in as few bytes as their runs need.
//!
//! # Format, version 1
//!
//! A page is a sequence of maximal runs of granules with one tag. The size class follows from the
//! number of runs *n*; a record of *b* bits has *w* = 3, 4, 5, 6 bits for each of its two counters:
//!
//! | runs | class | bits | w |
//! |---|---|---|---|
//! | 1 | uniform: the tag alone, no record | 0 | |
//! | 2 to 6 | inline: *n* is kept apart | 64 | 3 |
//! | 7 to 11 | 16 bytes | 128 | 4 |
//! | 12 to 23 | 32 bytes | 256 | 5 |
//! | 24 to 46 | 64 bytes | 512 | 6 |
//! | 47 and more | raw: the tags as LDGM gives them | 1024 | |
//!
//! A record is a little-endian bit string, fields in this order, low bits first:
//!
//! 1. *n* (w bits), absent in the inline class;
//! 2. which run is the longest, the first if several are (w bits);
//! 3. the *n* tags (4 bits each);
//! 4. the lengths less one of all runs but the longest (7 bits each): at most one run is longer
//!    than 128 granules, so they fit, and the longest follows from the sum of 256.
//!
//! Unused bits are 0. The thresholds are those of the never merged Linux series "MTE tag
//! compression" (11 bits a run); the layout is Granule's own.

use hal::PageTags;

const GRANULES: usize = 256;
/// Most runs that are worth encoding.
const MAX_RUNS: usize = 46;
/// Most runs that fit in 8 bytes beside a count kept elsewhere.
pub const INLINE_RUNS: usize = 6;

/// The encoded tags of one page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encoded {
    /// All granules have this tag.
    Uniform(u8),
    /// This many runs in 8 bytes.
    Inline {
        /// Number of runs, 2 to 6.
        runs: u8,
        /// The record.
        bits: u64,
    },
    /// 7 to 11 runs.
    Bytes16([u64; 2]),
    /// 12 to 23 runs.
    Bytes32([u64; 4]),
    /// 24 to 46 runs.
    Bytes64([u64; 8]),
    /// Anything else.
    Raw([u64; 16]),
}

/// A record that no encoder writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// The runs of a page.
struct Runs {
    nr: usize,
    tags: [u8; MAX_RUNS],
    /// Granules in each.
    lens: [u16; MAX_RUNS],
}

/// Splits a page into runs; `None` when there are more than [`MAX_RUNS`].
fn runs_of(tags: &PageTags) -> Option<Runs> {
    let mut runs = Runs { nr: 0, tags: [0; MAX_RUNS], lens: [0; MAX_RUNS] };
    let mut at = 0;
    while at < GRANULES {
        if runs.nr == MAX_RUNS {
            return None;
        }
        let tag = tags.get(at);
        let len = run_length(tags, at, tag);
        (runs.tags[runs.nr], runs.lens[runs.nr]) = (tag, len as u16);
        runs.nr += 1;
        at += len;
    }
    Some(runs)
}

/// Returns how many granules from `start` on have `tag`, a word at a time.
fn run_length(tags: &PageTags, start: usize, tag: u8) -> usize {
    let pattern = PageTags::uniform(tag).0[0];
    let mut word = start / 16;
    let first_bits = start % 16 * 4;
    let mut differing = (tags.0[word] ^ pattern) >> first_bits << first_bits;
    while differing == 0 {
        word += 1;
        if word == PageTags::WORDS {
            return GRANULES - start;
        }
        differing = tags.0[word] ^ pattern;
    }
    word * 16 + differing.trailing_zeros() as usize / 4 - start
}

/// Encodes the tags of a page.
pub fn encode(tags: &PageTags) -> Encoded {
    let Some(runs) = runs_of(tags) else { return Encoded::Raw(tags.0) };
    match runs.nr {
        1 => Encoded::Uniform(runs.tags[0]),
        2..=INLINE_RUNS => {
            let bits = pack::<1>(&runs, 3, false)[0];
            Encoded::Inline { runs: runs.nr as u8, bits }
        }
        7..=11 => Encoded::Bytes16(pack(&runs, 4, true)),
        12..=23 => Encoded::Bytes32(pack(&runs, 5, true)),
        _ => Encoded::Bytes64(pack(&runs, 6, true)),
    }
}

/// Decodes what [`encode`] has encoded.
///
/// # Errors
///
/// [`Malformed`] for a record whose lengths or counters are impossible.
pub fn decode(encoded: &Encoded) -> Result<PageTags, Malformed> {
    match encoded {
        Encoded::Uniform(tag) if *tag < 16 => Ok(PageTags::uniform(*tag)),
        Encoded::Uniform(_) => Err(Malformed),
        Encoded::Inline { runs, bits } => unpack(&[*bits], 3, Some(*runs as usize)),
        Encoded::Bytes16(words) => unpack(words, 4, None),
        Encoded::Bytes32(words) => unpack(words, 5, None),
        Encoded::Bytes64(words) => unpack(words, 6, None),
        Encoded::Raw(words) => Ok(PageTags(*words)),
    }
}

/// A position in a little-endian bit string.
struct Cursor {
    bit: usize,
}

impl Cursor {
    fn put(&mut self, words: &mut [u64], value: u64, width: usize) {
        let (word, shift) = (self.bit / 64, self.bit % 64);
        words[word] |= value << shift;
        if shift + width > 64 {
            words[word + 1] |= value >> (64 - shift);
        }
        self.bit += width;
    }

    fn take(&mut self, words: &[u64], width: usize) -> Result<u64, Malformed> {
        let (word, shift) = (self.bit / 64, self.bit % 64);
        if self.bit + width > words.len() * 64 {
            return Err(Malformed);
        }
        let mut value = words[word] >> shift;
        if shift + width > 64 {
            value |= words[word + 1] << (64 - shift);
        }
        self.bit += width;
        Ok(value & ((1 << width) - 1))
    }
}

fn pack<const N: usize>(runs: &Runs, counter_bits: usize, with_count: bool) -> [u64; N] {
    let lens = &runs.lens[..runs.nr];
    let max = *lens.iter().max().expect("a page has at least one run");
    let longest = lens.iter().position(|len| *len == max).expect("max is one of them");
    let mut words = [0; N];
    let mut cursor = Cursor { bit: 0 };
    if with_count {
        cursor.put(&mut words, runs.nr as u64, counter_bits);
    }
    cursor.put(&mut words, longest as u64, counter_bits);
    for tag in &runs.tags[..runs.nr] {
        cursor.put(&mut words, *tag as u64, 4);
    }
    for (_, len) in lens.iter().enumerate().filter(|(run, _)| *run != longest) {
        cursor.put(&mut words, *len as u64 - 1, 7);
    }
    words
}

fn unpack(words: &[u64], counter_bits: usize, nr: Option<usize>) -> Result<PageTags, Malformed> {
    let mut cursor = Cursor { bit: 0 };
    let nr = match nr {
        Some(nr) => nr,
        None => cursor.take(words, counter_bits)? as usize,
    };
    let longest = cursor.take(words, counter_bits)? as usize;
    if !(2..=MAX_RUNS).contains(&nr) || longest >= nr {
        return Err(Malformed);
    }
    let mut tags = [0; MAX_RUNS];
    for tag in &mut tags[..nr] {
        *tag = cursor.take(words, 4)? as u8;
    }
    let mut lens = [0; MAX_RUNS];
    for run in (0..nr).filter(|run| *run != longest) {
        lens[run] = cursor.take(words, 7)? as usize + 1;
    }
    let known: usize = lens.iter().sum();
    lens[longest] = GRANULES.checked_sub(known).filter(|len| *len > 0).ok_or(Malformed)?;
    Ok(lay_out(&tags[..nr], &lens[..nr]))
}

fn lay_out(tags: &[u8], lens: &[usize]) -> PageTags {
    let mut page = PageTags::ZERO;
    let mut at = 0;
    for (tag, len) in tags.iter().zip(lens) {
        for granule in at..at + len {
            page.set(granule, *tag);
        }
        at += len;
    }
    page
}

#[cfg(test)]
mod tests;
