// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has the bit operations of the tag codec: many granules at a time.

use hal::PageTags;

use super::{GRANULES, MAX_WORDS};

/// Returns a word with the low `width` bits of each `pitch` bits set.
pub const fn fields(width: u32, pitch: u32) -> u64 {
    let field = (1 << width) - 1;
    if pitch == 64 { field } else { u64::MAX / ((1 << pitch) - 1) * field }
}

/// Moves the low `WIDTH` bits of each `PITCH` bits, where alone there may be ones, together.
#[inline(always)]
pub fn gather<const WIDTH: u32, const PITCH: u32>(mut word: u64) -> u64 {
    let (mut width, mut pitch) = (WIDTH, PITCH);
    while pitch < 64 {
        word |= word >> (pitch - width);
        (width, pitch) = (2 * width, 2 * pitch);
        word &= fields(width, pitch);
    }
    word
}

/// Undoes [`gather`].
#[inline(always)]
pub fn spread<const WIDTH: u32, const PITCH: u32>(mut word: u64) -> u64 {
    let (mut width, mut pitch) = (64 / PITCH * WIDTH, 64);
    word &= fields(width, pitch);
    while pitch > PITCH {
        (width, pitch) = (width / 2, pitch / 2);
        word = (word | word << (pitch - width)) & fields(width, pitch);
    }
    word
}

/// Returns a word with bit 4*n* set when tag *n* of `word` differs from the one before it; before
/// tag 0 comes the last of `previous`.
fn changes(previous: u64, word: u64) -> u64 {
    nonzero(word ^ (word << 4 | previous >> 60))
}

/// Returns a word with bit 4*n* set when tag *n* of `word` is not 0.
fn nonzero(word: u64) -> u64 {
    let pairs = word | word >> 1;
    (pairs | pairs >> 2) & fields(1, 4)
}

/// Counts the runs of equal tags in `words`, of which there is at least one.
pub fn count_runs(words: &[u64]) -> usize {
    let mut previous = words[0] << 60;
    let mut nr = 1;
    for four in words.chunks(4) {
        let mut all = 0;
        for word in four {
            all = all << 1 | changes(previous, *word);
            previous = *word;
        }
        nr += all.count_ones() as usize;
    }
    nr
}

/// A bit for each granule of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GranuleMap(pub [u64; 4]);

impl GranuleMap {
    /// Collects bits 0, 4, 8... of the words that `bits` makes of each 16 tags.
    #[inline(always)]
    fn collect(mut bits: impl FnMut(usize) -> u64) -> Self {
        Self(core::array::from_fn(|quarter| {
            (0..4).fold(0, |map, n| map | gather::<1, 4>(bits(4 * quarter + n)) << (16 * n))
        }))
    }

    /// Returns the granules with tag 0.
    pub fn of_zeroes(tags: &PageTags) -> Self {
        Self::collect(|word| !nonzero(tags.0[word]) & fields(1, 4))
    }

    /// Collects some granules.
    pub fn of(granules: &[usize]) -> Self {
        let mut map = [0; 4];
        granules.iter().for_each(|granule| map[granule / 64] |= 1 << (granule % 64));
        Self(map)
    }

    /// Combines two maps.
    pub fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(core::array::from_fn(|n| f(self.0[n], other.0[n])))
    }

    /// Returns the granules that `other` has not.
    pub fn without(self, other: Self) -> Self {
        self.zip(other, |this, other| this & !other)
    }

    /// Tells whether no bit is set.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    /// Returns the first granule whose bit is set.
    pub fn first(self) -> Option<usize> {
        let word = self.0.iter().position(|bits| *bits != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// Returns the map of each granule's neighbour `nr` after it.
    pub fn shifted_down(self, nr: usize) -> Self {
        let (words, bits) = (nr / 64, nr % 64);
        let word = |n: usize| self.0.get(n).copied().unwrap_or(0);
        Self(core::array::from_fn(|n| {
            // Two steps: a shift by 64 is none.
            word(n + words) >> bits | word(n + words + 1) << 1 << (63 - bits)
        }))
    }

    /// Returns the map of each granule's neighbour `nr` before it.
    pub fn shifted_up(self, nr: usize) -> Self {
        let (words, bits) = (nr / 64, nr % 64);
        let word = |n: usize, less: usize| n.checked_sub(less).map_or(0, |n| self.0[n]);
        Self(core::array::from_fn(|n| {
            word(n, words) << bits | word(n, words + 1) >> 1 >> (63 - bits)
        }))
    }

    /// Returns how many bits are set.
    pub fn count(self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }
}

/// The granules, granule 0 never among them, that have another tag than the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boundaries(pub GranuleMap);

impl Boundaries {
    /// Returns the boundaries of a page.
    pub fn of(tags: &PageTags) -> Self {
        let mut previous = tags.0[0] << 60;
        Self(GranuleMap::collect(|word| {
            let bits = changes(previous, tags.0[word]);
            previous = tags.0[word];
            bits
        }))
    }

    /// Calls `visit` with the first granule of each run.
    pub fn for_each_run(self, mut visit: impl FnMut(usize)) {
        visit(0);
        for (word, mut bits) in self.0.0.into_iter().enumerate() {
            while bits != 0 {
                visit(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

/// Returns tag `index` of a string of tags.
pub fn tag_at(words: &[u64; MAX_WORDS], index: usize) -> u8 {
    (words[index / 16 % MAX_WORDS] >> (index % 16 * 4) & 0xf) as u8
}

/// Adds tag `index` to a string of tags, in which it is still 0.
pub fn put_tag(words: &mut [u64; MAX_WORDS], index: usize, tag: u8) {
    words[index / 16 % MAX_WORDS] |= u64::from(tag) << (index % 16 * 4);
}

/// Writes a string of tags from its start.
pub struct TagWriter<'a> {
    words: &'a mut [u64; MAX_WORDS],
    nr: usize,
    /// The last tags, the last of them highest.
    last: u64,
}

impl<'a> TagWriter<'a> {
    /// Starts at the first of `words`.
    pub fn new(words: &'a mut [u64; MAX_WORDS]) -> Self {
        Self { words, nr: 0, last: 0 }
    }

    /// Writes the tag in the low bits of `tag`.
    #[inline(always)]
    pub fn push(&mut self, tag: u64) {
        self.last = self.last >> 4 | tag << 60;
        self.nr += 1;
        if self.nr.is_multiple_of(16) {
            self.words[(self.nr / 16 - 1) % MAX_WORDS] = self.last;
        }
    }

    /// Writes what is left.
    pub fn finish(self) {
        if !self.nr.is_multiple_of(16) {
            self.words[self.nr / 16 % MAX_WORDS] = self.last >> (64 - self.nr % 16 * 4);
        }
    }
}

/// A page of which is known where its tags change.
pub struct Changes {
    /// Each granule's tag, exclusive or that of the granule before.
    changes: [u64; MAX_WORDS],
    last: u8,
}

impl Changes {
    /// Starts with a page of tag 0.
    pub fn new() -> Self {
        Self { changes: [0; MAX_WORDS], last: 0 }
    }

    /// Gives the tag to all granules from `granule` on, which is not before that of the last call.
    #[inline(always)]
    pub fn at(&mut self, granule: usize, tag: u8) {
        debug_assert!(granule < GRANULES);
        self.changes[granule / 16 % MAX_WORDS] ^= u64::from(tag ^ self.last) << (granule % 16 * 4);
        self.last = tag;
    }

    /// Returns the page.
    pub fn finish(self) -> PageTags {
        let mut before = 0;
        PageTags(self.changes.map(|changes| {
            let mut tags = changes ^ before;
            for distance in [4, 8, 16, 32] {
                tags ^= tags << distance;
            }
            before = tags >> 60;
            tags
        }))
    }
}

/// A position in a little-endian bit string.
pub struct Cursor {
    /// The next bit.
    pub bit: usize,
}

impl Cursor {
    /// Writes the next `width` bits, which are still 0.
    pub fn put(&mut self, words: &mut [u64; MAX_WORDS], value: u64, width: usize) {
        let (word, shift) = (self.bit / 64, self.bit % 64);
        words[word % MAX_WORDS] |= value << shift;
        // What does not fit; in two steps, because a shift by 64 is none.
        words[(word + 1) % MAX_WORDS] |= value >> 1 >> (63 - shift);
        self.bit += width;
    }

    /// Reads the next `width` bits.
    pub fn take(&mut self, words: &[u64; MAX_WORDS], width: usize) -> u64 {
        let (word, shift) = (self.bit / 64, self.bit % 64);
        let next = words[(word + 1) % MAX_WORDS];
        let value = words[word % MAX_WORDS] >> shift | next << 1 << (63 - shift);
        self.bit += width;
        value & ((1 << width) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn gather_moves_fields_together_and_spread_apart() {
        assert_eq!(gather::<4, 16>(0x000d_000c_000b_000a), 0xdcba);
        assert_eq!(spread::<4, 16>(0xf_dcba), 0x000d_000c_000b_000a);
        assert_eq!(gather::<4, 64>(0x7), 0x7);
        assert_eq!(gather::<1, 4>(0x1000_0000_0000_0011), 0x8003);
    }

    #[test]
    fn runs_are_counted_across_words() {
        assert_eq!(count_runs(&[0x1111_1111_1111_1111]), 1);
        assert_eq!(count_runs(&[0x1111_1111_1111_1111, 0x2222_2222_2222_2111]), 2);
        assert_eq!(count_runs(&[0xf0f0_f0f0_f0f0_f0f0; 16]), 256);
    }

    #[test]
    fn maps_are_shifted_by_whole_words_and_parts() {
        let map = GranuleMap([1 << 63, 2, 0, 1 << 63]);
        for nr in [0, 1, 2, 63, 64, 65, 128, 190, 255] {
            let up: Vec<usize> =
                granules(map).iter().map(|n| n + nr).filter(|n| *n < 256).collect();
            let down: Vec<usize> = granules(map).iter().filter_map(|n| n.checked_sub(nr)).collect();
            assert_eq!(granules(map.shifted_up(nr)), up, "{nr} up");
            assert_eq!(granules(map.shifted_down(nr)), down, "{nr} down");
        }
        assert_eq!(map.first(), Some(63));
        assert_eq!(map.count(), 3);
    }

    #[test]
    fn a_page_follows_from_its_changes() {
        let mut changes = Changes::new();
        let runs = [(0, 3), (1, 4), (15, 0), (16, 4), (17, 5), (200, 5), (255, 0xf)];
        runs.into_iter().for_each(|(granule, tag)| changes.at(granule, tag));
        let page = changes.finish();
        for granule in 0..GRANULES {
            let (_, tag) = runs.into_iter().rfind(|(start, _)| *start <= granule).unwrap();
            assert_eq!(page.get(granule), tag, "{granule}");
        }
    }

    fn granules(map: GranuleMap) -> Vec<usize> {
        (0..GRANULES).filter(|n| map.0[n / 64] >> (n % 64) & 1 != 0).collect()
    }
}
