// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file draws pages as allocators tag them.

use core::ops::Range;

use hal::PageTags;

/// Numbers that follow from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, range: Range<usize>) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        range.start + (self.0 >> 33) as usize % range.len()
    }

    fn tag(&mut self) -> u8 {
        self.roll(0..16) as u8
    }

    /// Returns tags of which no two neighbours are alike, and none is 0.
    pub fn distinct_neighbours(&mut self, nr: usize) -> Vec<u8> {
        let mut tags = vec![1];
        while tags.len() < nr {
            let tag = self.roll(1..16) as u8;
            if tags.last() != Some(&tag) {
                tags.push(tag);
            }
        }
        tags
    }
}

/// Builds a page from the tag of each granule.
pub fn page_of(tag: impl Fn(usize) -> u8) -> PageTags {
    let mut page = PageTags::ZERO;
    (0..256).for_each(|granule| page.set(granule, tag(granule)));
    page
}

/// A way to tag a page.
pub struct Pattern {
    pub name: &'static str,
    pub page: fn(&mut Dice) -> PageTags,
}

/// Objects of `SIZE` bytes, each with its own tag. The page starts anywhere in one, unless the size
/// divides the page.
fn objects<const SIZE: usize>(dice: &mut Dice) -> PageTags {
    let size = SIZE / 16;
    let before = if 256 % size == 0 { 0 } else { dice.roll(0..size) };
    let tags: Vec<u8> = (0..257).map(|_| dice.tag()).collect();
    page_of(|granule| tags[(granule + before) / size])
}

/// Blocks of `SIZE` bytes as Scudo makes them: a header of one granule with tag 0, then the object,
/// whose tag is odd in every second block and even in the others.
fn scudo<const SIZE: usize>(dice: &mut Dice) -> PageTags {
    let size = SIZE / 16;
    let before = if 256 % size == 0 { 0 } else { dice.roll(0..size) };
    let tags: Vec<u8> = (0..257).map(|n| dice.tag() & !1 | (n % 2) as u8).collect();
    page_of(|granule| match (granule + before) % size {
        0 => 0,
        _ => tags[(granule + before) / size],
    })
}

/// Objects of all sizes of `sizes` (in granules), `header` granules of tag 0 before each.
fn mixed(dice: &mut Dice, sizes: Range<usize>, header: usize) -> PageTags {
    let mut tags = Vec::new();
    while tags.len() < 256 {
        let (size, tag) = (dice.roll(sizes.clone()), dice.tag());
        tags.extend((0..size).map(|n| if n < header { 0 } else { tag }));
    }
    page_of(|granule| tags[granule])
}

/// One tag, but for `nr` objects of up to four granules.
fn exceptions(dice: &mut Dice, nr: usize) -> PageTags {
    let mut page = PageTags::uniform(dice.tag());
    for _ in 0..nr {
        let (start, len, tag) = (dice.roll(0..256), dice.roll(1..5), dice.tag());
        (start..256).take(len).for_each(|granule| page.set(granule, tag));
    }
    page
}

/// What is measured.
pub const PATTERNS: &[Pattern] = &[
    Pattern { name: "one tag", page: |dice| PageTags::uniform(dice.tag()) },
    Pattern { name: "objects of 16 bytes", page: objects::<16> },
    Pattern { name: "objects of 32 bytes", page: objects::<32> },
    Pattern { name: "objects of 48 bytes", page: objects::<48> },
    Pattern { name: "objects of 64 bytes", page: objects::<64> },
    Pattern { name: "objects of 80 bytes", page: objects::<80> },
    Pattern { name: "objects of 96 bytes", page: objects::<96> },
    Pattern { name: "objects of 128 bytes", page: objects::<128> },
    Pattern { name: "objects of 160 bytes", page: objects::<160> },
    Pattern { name: "objects of 192 bytes", page: objects::<192> },
    Pattern { name: "objects of 256 bytes", page: objects::<256> },
    Pattern { name: "objects of 320 bytes", page: objects::<320> },
    Pattern { name: "objects of 384 bytes", page: objects::<384> },
    Pattern { name: "objects of 512 bytes", page: objects::<512> },
    Pattern { name: "objects of 1024 bytes", page: objects::<1024> },
    Pattern { name: "Scudo blocks of 32 bytes", page: scudo::<32> },
    Pattern { name: "Scudo blocks of 48 bytes", page: scudo::<48> },
    Pattern { name: "Scudo blocks of 64 bytes", page: scudo::<64> },
    Pattern { name: "Scudo blocks of 96 bytes", page: scudo::<96> },
    Pattern { name: "Scudo blocks of 128 bytes", page: scudo::<128> },
    Pattern { name: "Scudo blocks of 192 bytes", page: scudo::<192> },
    Pattern { name: "Scudo blocks of 256 bytes", page: scudo::<256> },
    Pattern { name: "Scudo blocks of 512 bytes", page: scudo::<512> },
    Pattern { name: "objects of 32 to 512 bytes", page: |dice| mixed(dice, 2..33, 0) },
    Pattern { name: "same, with headers", page: |dice| mixed(dice, 2..33, 1) },
    Pattern { name: "objects of 32 to 128 bytes", page: |dice| mixed(dice, 2..9, 0) },
    Pattern { name: "same, with headers", page: |dice| mixed(dice, 2..9, 1) },
    Pattern {
        name: "two tags in turn, 64 bytes each",
        page: |dice| {
            let (a, b) = (dice.tag(), dice.tag());
            page_of(|granule| if granule / 4 % 2 == 0 { a } else { b })
        },
    },
    Pattern { name: "tags 0 to 15 in turn, 16 bytes each", page: |_| page_of(|n| n as u8) },
    Pattern { name: "one tag, 3 exceptions", page: |dice| exceptions(dice, 3) },
    Pattern { name: "one tag, 10 exceptions", page: |dice| exceptions(dice, 10) },
    Pattern { name: "one tag, 30 exceptions", page: |dice| exceptions(dice, 30) },
];
