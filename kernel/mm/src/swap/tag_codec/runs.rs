// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes pages of few runs: tag and length of each.
//!
//! Only one run can be longer than 128 granules, so all but the longest have a length of 7 bits, and
//! the longest follows from the sum: 11 bits a run, as in the never merged Linux series "MTE tag
//! compression", whose thresholds these are.

use hal::PageTags;

use super::bits::{Boundaries, Changes, Cursor, put_tag, tag_at};
use super::{GRANULES, Kind, MAX_WORDS, Malformed, Record};

/// Most runs that are encoded as such.
const MAX_RUNS: usize = 23;
/// Bits of the number of the longest run.
const INDEX_BITS: usize = 5;
const LENGTH_BITS: usize = 7;

/// Returns the words of a record of so many runs, if there is one.
pub fn nr_words(nr_runs: usize) -> Option<usize> {
    match nr_runs {
        2..=6 => Some(1),
        7..=11 => Some(2),
        12..=MAX_RUNS => Some(4),
        _ => None,
    }
}

/// Encodes a page of `nr_runs` runs, for which [`nr_words`] has an answer.
pub fn encode(tags: &PageTags, boundaries: &Boundaries, nr_runs: usize, record: &mut Record) {
    let nr_words = nr_words(nr_runs).expect("no record has so many runs");
    record.start(Kind::Runs, nr_runs as u8, nr_words);
    let mut starts = [GRANULES; MAX_RUNS + 1];
    let mut run = 0;
    boundaries.for_each_run(|start| {
        put_tag(&mut record.words, run, tag_at(&tags.0, start));
        starts[run] = start;
        run += 1;
    });
    let len_of = |run: usize| starts[run + 1] - starts[run];
    let longest = (0..nr_runs).rev().max_by_key(|run| len_of(*run)).unwrap_or(0);
    let mut cursor = Cursor { bit: 4 * nr_runs };
    cursor.put(&mut record.words, longest as u64, INDEX_BITS);
    for run in (0..nr_runs).filter(|run| *run != longest) {
        cursor.put(&mut record.words, len_of(run) as u64 - 1, LENGTH_BITS);
    }
}

/// Returns the page that a record of `nr_runs` runs describes.
pub fn expand(nr_runs: usize, words: &[u64; MAX_WORDS]) -> Result<PageTags, Malformed> {
    let mut cursor = Cursor { bit: 4 * nr_runs };
    let longest = cursor.take(words, INDEX_BITS) as usize;
    let mut lens = [0; MAX_RUNS];
    let lens = lens.get_mut(..nr_runs).ok_or(Malformed)?;
    for (_, len) in lens.iter_mut().enumerate().filter(|(run, _)| *run != longest) {
        *len = cursor.take(words, LENGTH_BITS) as usize + 1;
    }
    let known: usize = lens.iter().sum();
    let rest = GRANULES.checked_sub(known).filter(|len| *len > 0).ok_or(Malformed)?;
    *lens.get_mut(longest).ok_or(Malformed)? = rest;
    let mut page = Changes::new();
    let mut start = 0;
    for (run, len) in lens.iter().enumerate() {
        page.at(start, tag_at(words, run));
        start += len;
    }
    Ok(page.finish())
}
