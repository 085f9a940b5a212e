// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes pages of many runs: a bit for each granule that starts one, and their tags. When
//! every second run has the same tag, as the headers of objects do, the others' suffice.

use hal::PageTags;

use super::bits::{Boundaries, Changes, GranuleMap, put_tag, tag_at};
use super::{Kind, MAX_WORDS, Malformed, Record};

const NR_WORDS: usize = 8;
/// Words of the map, and the room that it takes in tags; they follow.
const MAP_WORDS: usize = 4;
const MAP_TAGS: usize = 16 * MAP_WORDS;
const MAX_TAGS: usize = 64;
/// Most runs that are worth a look.
pub const MAX_RUNS: usize = 2 * MAX_TAGS + 1;
/// Runs 0, 2, 4... have the tag in the low bits.
const EVEN: u8 = 0x10;
/// Runs 1, 3, 5... have it.
const ODD: u8 = 0x20;

/// Which runs have a tag that is not listed.
#[derive(Clone, Copy)]
struct Common {
    parity: usize,
    tag: u8,
}

impl Common {
    fn from_arg(arg: u8) -> Result<Option<Self>, Malformed> {
        match arg & 0xf0 {
            0 if arg == 0 => Ok(None),
            EVEN => Ok(Some(Self { parity: 0, tag: arg & 0xf })),
            ODD => Ok(Some(Self { parity: 1, tag: arg & 0xf })),
            _ => Err(Malformed),
        }
    }

    fn arg(self) -> u8 {
        self.tag | if self.parity == 0 { EVEN } else { ODD }
    }

    fn includes(self, run: usize) -> bool {
        run % 2 == self.parity
    }

    /// Returns how many of `nr_runs` runs are not included.
    fn nr_others(self, nr_runs: usize) -> usize {
        (nr_runs + self.parity) / 2
    }
}

/// Returns the words of a record with this parameter.
pub fn nr_words_of(arg: u8) -> Result<usize, Malformed> {
    Common::from_arg(arg).map(|_| NR_WORDS)
}

/// Encodes a page of at most [`MAX_RUNS`] runs, if it can be done.
pub fn encode(tags: &PageTags, boundaries: &Boundaries, nr_runs: usize, record: &mut Record) {
    let common = [0, 1].into_iter().find_map(|parity| match nr_runs <= MAX_TAGS {
        true => None,
        false => find(tags, boundaries, nr_runs, parity),
    });
    if nr_runs > MAX_TAGS && common.is_none() {
        return;
    }
    record.start(Kind::Mask, common.map_or(0, Common::arg), NR_WORDS);
    record.words[..MAP_WORDS].copy_from_slice(&boundaries.0.0);
    let (mut run, mut index) = (0, MAP_TAGS);
    boundaries.for_each_run(|start| {
        if common.is_none_or(|common| !common.includes(run)) {
            put_tag(&mut record.words, index, tag_at(&tags.0, start));
            index += 1;
        }
        run += 1;
    });
}

/// Returns the tag of all runs of this parity, if they have the same and the others fit.
fn find(tags: &PageTags, boundaries: &Boundaries, nr_runs: usize, parity: usize) -> Option<Common> {
    let (mut run, mut tag, mut is_common) = (0, None, true);
    boundaries.for_each_run(|start| {
        let this = tag_at(&tags.0, start);
        if run % 2 == parity {
            is_common &= *tag.get_or_insert(this) == this;
        }
        run += 1;
    });
    let common = Common { parity, tag: tag? };
    (is_common && common.nr_others(nr_runs) <= MAX_TAGS).then_some(common)
}

/// Returns the page that a record describes.
pub fn expand(arg: u8, words: &[u64; MAX_WORDS]) -> Result<PageTags, Malformed> {
    let common = Common::from_arg(arg)?;
    let map = GranuleMap([words[0], words[1], words[2], words[3]]);
    let nr_runs = map.count() + 1;
    let nr_tags = common.map_or(nr_runs, |common| common.nr_others(nr_runs));
    if map.0[0] & 1 != 0 || nr_tags > MAX_TAGS {
        return Err(Malformed);
    }
    let mut page = Changes::new();
    let (mut run, mut index) = (0, MAP_TAGS);
    Boundaries(map).for_each_run(|start| {
        let tag = match common {
            Some(common) if common.includes(run) => common.tag,
            _ => {
                index += 1;
                tag_at(words, index - 1)
            }
        };
        page.at(start, tag);
        run += 1;
    });
    Ok(page.finish())
}
