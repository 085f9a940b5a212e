// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes pages of objects of one size that need not be aligned to it: the size, where in
//! an object the page starts, and one tag for each.

use hal::PageTags;

use super::aligned::Aligned;
use super::bits::{Boundaries, Changes, GranuleMap, TagWriter, tag_at};
use super::{GRANULES, Kind, MAX_WORDS, Malformed, Record};

const MAX_SIZE: usize = 0x7f;
const HEADER: u8 = 0x80;
/// The phase takes the room of so many tags.
const PHASE_TAGS: usize = 2;

/// Granules whose number is a multiple of the index.
static MULTIPLES: [GranuleMap; MAX_SIZE + 1] = {
    let mut maps = [GranuleMap([1, 0, 0, 0]); MAX_SIZE + 1];
    let mut size = 1;
    while size <= MAX_SIZE {
        let mut at = size;
        while at < GRANULES {
            maps[size].0[at / 64] |= 1 << (at % 64);
            at += size;
        }
        size += 1;
    }
    maps
};

/// Where the objects of a page are.
#[derive(Clone, Copy)]
struct Slab {
    /// Granules of an object.
    size: usize,
    /// Where the first object starts that starts in the page, below `size`.
    phase: usize,
    /// Each object's first granule has tag 0.
    has_header: bool,
}

/// Returns the words of a record of objects of this size: a page has at most 1 + 255 / size of them,
/// rounded up, and a record 8 bits besides their tags.
fn nr_words(size: usize) -> Option<usize> {
    match size {
        20..=MAX_SIZE => Some(1),
        9..20 => Some(2),
        5..9 => Some(4),
        3..5 => Some(8),
        _ => None,
    }
}

/// Returns the words of a record with this parameter.
pub fn nr_words_of(arg: u8) -> Result<usize, Malformed> {
    nr_words((arg & !HEADER).into()).ok_or(Malformed)
}

/// Returns the most runs of a page whose record has fewer than `limit` words. `aligned` is known of
/// the page.
pub fn max_runs(limit: usize, aligned: Aligned) -> usize {
    let smallest = match limit {
        16 => 3_usize,
        8 => 5,
        4 => 9,
        2 => 20,
        _ => return 0,
    };
    let nr_objects = 1 + (GRANULES - 1).div_ceil(smallest);
    // Where all runs start at even granules, no header is between two objects.
    let is_plain = !aligned.is_any() && !aligned.has_header();
    1 + if is_plain { nr_objects } else { 2 * nr_objects }
}

/// Encodes a page in fewer than `limit` words, without headers if it can be done both ways, and
/// tells whether it can be done.
pub fn encode(tags: &PageTags, starts: &Boundaries, limit: usize, record: &mut Record) -> bool {
    let fits = |slab: &Slab| nr_words(slab.size).is_some_and(|nr| nr < limit);
    let plain = Slab::through(starts.0, false).filter(fits);
    match plain.or_else(|| Slab::with_headers(tags, starts).filter(fits)) {
        Some(slab) => slab.encode(tags, record),
        None => return false,
    }
    true
}

/// Returns the page that a record describes.
pub fn expand(arg: u8, words: &[u64; MAX_WORDS]) -> Result<PageTags, Malformed> {
    let (size, header) = (usize::from(arg & !HEADER), usize::from(arg >> 7));
    let phase = (words[0] & 0xff) as usize;
    if phase >= size {
        return Err(Malformed);
    }
    let mut page = Changes::new();
    let mut index = PHASE_TAGS;
    if phase > 0 {
        page.at(0, tag_at(words, index));
        index += 1;
    }
    let mut at = phase;
    while at + header < GRANULES {
        if header > 0 {
            page.at(at, 0);
        }
        page.at(at + header, tag_at(words, index));
        index += 1;
        at += size;
    }
    if at < GRANULES {
        // A header, and its object beyond the page.
        page.at(at, 0);
    }
    Ok(page.finish())
}

impl Slab {
    fn encode(self, tags: &PageTags, record: &mut Record) {
        let nr_words = nr_words(self.size).expect("it fits");
        let header = if self.has_header { HEADER } else { 0 };
        record.start(Kind::Slab, self.size as u8 | header, nr_words);
        let mut list = TagWriter::new(&mut record.words);
        list.push(self.phase as u64);
        list.push(self.phase as u64 >> 4);
        if self.phase > 0 {
            list.push(tags.0[0]);
        }
        let mut at = self.phase + usize::from(self.has_header);
        while at < GRANULES {
            list.push(tags.0[at / 16 % MAX_WORDS] >> (at % 16 * 4));
            at += self.size;
        }
        list.finish();
    }

    /// Returns the largest objects such that one starts at each granule of `starts`.
    fn through(starts: GranuleMap, has_header: bool) -> Option<Self> {
        let first = starts.first()?;
        let starts = starts.shifted_down(first);
        let mut size = 0;
        while let Some(other) = starts.without(multiples(size)).first() {
            size = greatest_common_divisor(size, other);
        }
        (1..=MAX_SIZE).contains(&size).then(|| Self { size, phase: first % size, has_header })
    }

    /// Returns the largest objects that start with a granule of tag 0 and make up the page.
    fn with_headers(tags: &PageTags, boundaries: &Boundaries) -> Option<Self> {
        let zeroes = GranuleMap::of_zeroes(tags);
        let Boundaries(starts) = *boundaries;
        if !starts.without(zeroes).without(zeroes.shifted_up(1)).is_empty() {
            // Two objects touch.
            return None;
        }
        // The first and the last granule of a run of zeroes are headers; those between may be. What
        // touches an end of the page may belong to an object that lies across it.
        let edges = starts.zip(starts.shifted_down(1), |this, next| this | next);
        let slab = Self::through(zeroes.zip(edges, |zero, edge| zero & edge), true)?;
        let headers = multiples(slab.size).shifted_up(slab.phase);
        headers.without(zeroes).is_empty().then_some(slab)
    }
}

/// Returns the granules whose number is a multiple of `size`, which may be 0 and is below 256.
fn multiples(size: usize) -> GranuleMap {
    MULTIPLES.get(size).copied().unwrap_or_else(|| GranuleMap::of(&[0, size]))
}

fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
