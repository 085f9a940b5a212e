// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes pages of objects of one size that need not be aligned to it: the size, where in
//! an object the page starts, and one tag for each.

use hal::PageTags;

use super::aligned::Aligned;
use super::bits::{Boundaries, GranuleMap, paint, put_tag, tag_at};
use super::{GRANULES, Kind, MAX_WORDS, Malformed, Record};

/// The smallest object of each size of records, with their words. A page has at most
/// 1 + 255 / size objects, rounded up, and a record 8 bits besides their tags.
const CLASSES: [(usize, usize); 4] = [(20, 1), (9, 2), (5, 4), (3, 8)];
const MAX_SIZE: usize = 0x7f;
const HEADER: u8 = 0x80;
/// The phase takes the room of so many tags.
const PHASE_TAGS: usize = 2;

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

fn nr_words(size: usize) -> Option<usize> {
    let class = CLASSES.iter().find(|(smallest, _)| size >= *smallest)?;
    (size <= MAX_SIZE).then_some(class.1)
}

/// Returns the words of a record with this parameter.
pub fn nr_words_of(arg: u8) -> Result<usize, Malformed> {
    nr_words((arg & !HEADER).into()).ok_or(Malformed)
}

/// Returns the most runs of a page whose record has fewer than `limit` words. `aligned` is known of
/// the page.
pub fn max_runs(limit: usize, aligned: Aligned) -> usize {
    let Some((size, _)) = CLASSES.iter().rev().find(|(_, words)| *words < limit) else { return 0 };
    let nr_objects = 1 + (GRANULES - 1).div_ceil(*size);
    // Where all runs start at even granules, no header is between two objects.
    let is_plain = !aligned.is_any() && !aligned.has_header();
    1 + if is_plain { nr_objects } else { 2 * nr_objects }
}

/// Encodes a page in fewer than `limit` words; without headers if it can be done both ways.
pub fn encode(tags: &PageTags, boundaries: &Boundaries, limit: usize) -> Option<Record> {
    let fits = |slab: &Slab| nr_words(slab.size).is_some_and(|nr| nr < limit);
    let plain = Slab::through(boundaries.0, false).filter(fits);
    let slab = plain.or_else(|| Slab::with_headers(tags, boundaries).filter(fits))?;
    let header = if slab.has_header { HEADER } else { 0 };
    let nr_words = nr_words(slab.size)?;
    debug_assert!(nr_words < MAX_WORDS);
    let mut record = Record::new(Kind::Slab, slab.size as u8 | header, nr_words);
    record.words[0] = slab.phase as u64;
    let mut index = PHASE_TAGS;
    slab.for_each_object(|start, _| {
        put_tag(&mut record.words, index, tags.get(start));
        index += 1;
    });
    Some(record)
}

/// Returns the page that a record describes.
pub fn expand(arg: u8, words: &[u64]) -> Result<PageTags, Malformed> {
    let (size, has_header) = ((arg & !HEADER).into(), arg & HEADER != 0);
    let phase = (words[0] & 0xff) as usize;
    if phase >= size {
        return Err(Malformed);
    }
    let mut page = PageTags::ZERO;
    let mut index = PHASE_TAGS;
    Slab { size, phase, has_header }.for_each_object(|start, end| {
        paint(&mut page, start, end, tag_at(words, index));
        index += 1;
    });
    Ok(page)
}

impl Slab {
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

    /// Calls `visit` with start and end of the part of each object that has its tag.
    fn for_each_object(self, mut visit: impl FnMut(usize, usize)) {
        if self.phase > 0 {
            visit(0, self.phase);
        }
        let header = usize::from(self.has_header);
        for start in (self.phase + header..GRANULES).step_by(self.size) {
            visit(start, GRANULES.min(start - header + self.size));
        }
    }
}

/// Returns the granules whose number is a multiple of `size`, which may be 0.
fn multiples(size: usize) -> GranuleMap {
    let mut map = GranuleMap([1, 0, 0, 0]);
    let mut filled = size;
    while (1..GRANULES).contains(&filled) {
        map = map.zip(map.shifted_up(filled), |these, next| these | next);
        filled *= 2;
    }
    map
}

fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
