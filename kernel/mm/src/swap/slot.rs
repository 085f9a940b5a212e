// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines the word of a swap slot.
//!
//! | bits | field |
//! |---|---|
//! | 15:0 | count: entries, and objects, that refer to the slot |
//! | 47:16 | the folio that caches it, or the shadow of the one that did |
//! | 48 | a folio caches it |
//! | 49 | the page is all zeroes and was not written |
//! | 50 | writing to it failed: it is not used again |
//! | 51 | a shared object names it, and nobody else |
//! | 54:52 | kind of its tag record, 0 for "has none", 7 for "on the disk" |
//! | 63:56 | parameter of its tag record |
//!
//! A slot is free when its word is 0. What the states mean, and what leads from one to the next:
//!
//! 1. *free* to *cached, count 0*: allocated for a locked folio.
//! 2. *cached, count n*: unmapping raises n, faults and unmaps lower it. At n = 0 the folio may
//!    leave the cache, and the slot is free.
//! 3. *cached, count n* to *shadow, count n*: the folio was written and dropped; n > 0.
//! 4. *shadow, count n* to *cached, count n*: somebody reads it back.
//! 5. *shadow, count 1* to *free*: its last entry went away.

use super::tag_codec::{Kind, Shape};
use crate::folio::FolioId;

const COUNT: u64 = 0xffff;
const OWNER_SHIFT: u32 = 16;
const OWNER: u64 = 0xffff_ffff << OWNER_SHIFT;
const CACHED: u64 = 1 << 48;
const ZERO: u64 = 1 << 49;
const BAD: u64 = 1 << 50;
const OBJECT: u64 = 1 << 51;
const TAG_SHIFT: u32 = 52;
const TAG: u64 = 0b111 << TAG_SHIFT;
/// Not a kind of record: the tags are on the disk (`device_tags.rs`).
const TAG_ON_DEVICE: u64 = 7 << TAG_SHIFT;
const TAG_ARG_SHIFT: u32 = 56;
const TAG_ARG: u64 = 0xff << TAG_ARG_SHIFT;

/// The word of a swap slot.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct SlotWord(pub u64);

impl SlotWord {
    /// The word of a slot that was just allocated for `folio`.
    pub const fn cached(folio: FolioId) -> Self {
        Self(CACHED | (folio.get() as u64) << OWNER_SHIFT)
    }

    pub const fn is_free(self) -> bool {
        self.0 == 0
    }

    /// Tells whether nothing refers to the slot and nothing caches it.
    pub const fn is_unused(self) -> bool {
        self.0 & (COUNT | CACHED) == 0
    }

    pub const fn count(self) -> u32 {
        (self.0 & COUNT) as u32
    }

    /// Returns the word with one more reference. 65,535 address spaces at most can refer to a slot
    /// once each, so the count cannot overflow.
    #[must_use]
    pub fn plus_one(self) -> Self {
        assert!(self.count() < COUNT as u32, "swap slot: count overflow");
        Self(self.0 + 1)
    }

    /// Returns the word with one reference less; `None` when it has none.
    pub fn minus_one(self) -> Option<Self> {
        (self.count() > 0).then(|| Self(self.0 - 1))
    }

    pub fn folio(self) -> Option<FolioId> {
        (self.0 & CACHED != 0).then(|| FolioId::new(((self.0 & OWNER) >> OWNER_SHIFT) as u32))
    }

    /// Returns the word as if nothing referred to the slot and nothing cached it.
    #[must_use]
    pub const fn without_users(self) -> Self {
        Self(self.0 & !(COUNT | OWNER | CACHED))
    }

    /// Returns the word with `folio` as its cache.
    #[must_use]
    pub const fn with_folio(self, folio: FolioId) -> Self {
        Self(self.0 & !OWNER | CACHED | (folio.get() as u64) << OWNER_SHIFT)
    }

    /// Returns the word without a cache, keeping a shadow.
    #[must_use]
    pub const fn with_shadow(self, shadow: u32) -> Self {
        Self(self.0 & !(OWNER | CACHED) | (shadow as u64) << OWNER_SHIFT)
    }

    /// Returns the shadow of the folio that was cached here, 0 for none.
    pub const fn shadow(self) -> u32 {
        if self.0 & CACHED != 0 { 0 } else { ((self.0 & OWNER) >> OWNER_SHIFT) as u32 }
    }

    pub const fn is_zero_page(self) -> bool {
        self.0 & ZERO != 0
    }

    #[must_use]
    pub const fn with_zero_page(self, on: bool) -> Self {
        if on { Self(self.0 | ZERO) } else { Self(self.0 & !ZERO) }
    }

    pub const fn is_bad(self) -> bool {
        self.0 & BAD != 0
    }

    #[must_use]
    pub const fn with_bad(self) -> Self {
        Self(self.0 | BAD)
    }

    /// Tells whether the slot holds a page of a shared object.
    pub const fn is_object(self) -> bool {
        self.0 & OBJECT != 0
    }

    #[must_use]
    pub const fn with_object(self) -> Self {
        Self(self.0 | OBJECT)
    }

    /// Tells whether the page has tags of its own, wherever they are.
    pub const fn has_tags(self) -> bool {
        self.0 & TAG != 0
    }

    /// Tells whether the page's tags are on the disk.
    pub const fn has_tags_on_device(self) -> bool {
        self.0 & TAG == TAG_ON_DEVICE
    }

    #[must_use]
    pub const fn with_tags_on_device(self) -> Self {
        Self(self.0 & !(TAG | TAG_ARG) | TAG_ON_DEVICE)
    }

    /// Returns the shape of the record of the page's tags, if it has one in memory.
    pub fn tags(self) -> Option<Shape> {
        let kind = ((self.0 & TAG) >> TAG_SHIFT) as u8;
        if kind == 0 || self.has_tags_on_device() {
            return None;
        }
        let kind = Kind::from_number(kind).unwrap_or_else(|_| panic!("swap slot: tag kind {kind}"));
        Some(Shape { kind, arg: (self.0 >> TAG_ARG_SHIFT) as u8 })
    }

    #[must_use]
    pub fn with_tags(self, tags: Option<Shape>) -> Self {
        let bits =
            |shape: Shape| (shape.kind as u64) << TAG_SHIFT | u64::from(shape.arg) << TAG_ARG_SHIFT;
        Self(self.0 & !(TAG | TAG_ARG) | tags.map_or(0, bits))
    }
}

impl core::fmt::Debug for SlotWord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SlotWord({:#018x}: count {}", self.0, self.count())?;
        match self.folio() {
            Some(folio) => write!(f, ", cached {folio:?}")?,
            None => write!(f, ", shadow {:#x}", self.shadow())?,
        }
        write!(f, ", tags {:?})", self.tags())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_disturb_each_other() {
        let word = SlotWord::cached(FolioId::new(u32::MAX)).plus_one().plus_one();
        let tags = Some(Shape { kind: Kind::Mask, arg: 0xff });
        let word = word.with_tags(tags).with_zero_page(true);
        assert_eq!(word.count(), 2);
        assert_eq!(word.folio(), Some(FolioId::new(u32::MAX)));
        let word = word.with_shadow(0xdead_beef).minus_one().unwrap().with_zero_page(false);
        assert_eq!((word.count(), word.folio(), word.shadow()), (1, None, 0xdead_beef));
        assert_eq!(word.tags(), tags);
        let word = word.with_shadow(0).with_tags(None).minus_one().unwrap();
        assert!(word.is_free());
        assert_eq!(word.minus_one(), None);
    }
}
