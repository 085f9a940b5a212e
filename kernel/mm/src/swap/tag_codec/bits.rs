// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has the bit operations of the tag codec: many granules at a time.

use hal::PageTags;

use super::{GRANULES, Malformed};

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

    /// Calls `visit` with start and end of each run, in order.
    pub fn for_each_run(self, mut visit: impl FnMut(usize, usize)) {
        let mut start = 0;
        for (word, mut bits) in self.0.0.into_iter().enumerate() {
            while bits != 0 {
                let end = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                visit(start, end);
                start = end;
            }
        }
        visit(start, GRANULES);
    }
}

/// Returns tag `index` of a string of tags.
pub fn tag_at(words: &[u64], index: usize) -> u8 {
    (words[index / 16] >> (index % 16 * 4) & 0xf) as u8
}

/// Adds tag `index` to a string of tags, in which it is still 0.
pub fn put_tag(words: &mut [u64], index: usize, tag: u8) {
    words[index / 16] |= u64::from(tag) << (index % 16 * 4);
}

/// Gives the granules from `start` up to `end` their tag, which is still 0.
pub fn paint(page: &mut PageTags, start: usize, end: usize, tag: u8) {
    if start >= end {
        return;
    }
    let pattern = PageTags::uniform(tag).0[0];
    let (first, last) = (start / 16, (end - 1) / 16);
    let head = pattern << (start % 16 * 4);
    let tail = u64::MAX >> (60 - (end - 1) % 16 * 4);
    if first == last {
        page.0[first] |= head & tail;
        return;
    }
    page.0[first] |= head;
    page.0[first + 1..last].fill(pattern);
    page.0[last] |= pattern & tail;
}

/// A position in a little-endian bit string.
pub struct Cursor {
    /// The next bit.
    pub bit: usize,
}

impl Cursor {
    /// Writes the next `width` bits, which are still 0.
    pub fn put(&mut self, words: &mut [u64], value: u64, width: usize) {
        let (word, shift) = (self.bit / 64, self.bit % 64);
        words[word] |= value << shift;
        if shift + width > 64 {
            words[word + 1] |= value >> (64 - shift);
        }
        self.bit += width;
    }

    /// Reads the next `width` bits.
    ///
    /// # Errors
    ///
    /// [`Malformed`] beyond the end.
    pub fn take(&mut self, words: &[u64], width: usize) -> Result<u64, Malformed> {
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
    fn painting_leaves_neighbours_alone() {
        for (start, end) in [(0, 256), (0, 1), (15, 16), (15, 17), (16, 32), (17, 200), (9, 9)] {
            let mut page = PageTags::ZERO;
            paint(&mut page, start, end, 0xb);
            for granule in 0..GRANULES {
                let tag = if (start..end).contains(&granule) { 0xb } else { 0 };
                assert_eq!(page.get(granule), tag, "{start}..{end}: {granule}");
            }
        }
    }

    fn granules(map: GranuleMap) -> Vec<usize> {
        (0..GRANULES).filter(|n| map.0[n / 64] >> (n % 64) & 1 != 0).collect()
    }
}
