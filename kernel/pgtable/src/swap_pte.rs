// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives meaning to entries that map no frame but are not empty.
//!
//! Bit 0 is clear, so hardware ignores the rest. The layout is the one Linux uses on arm64
//! (arch/arm64/include/asm/pgtable.h), so that a page-table dump reads the same: type in bits 10:6,
//! offset in bits 61:12, bit 2 "exclusive". Types below [`FIRST_SPECIAL`] are swap areas; the
//! offset is a slot. A page that is being moved, or is in the memory of a device, has no such entry:
//! its rights stay in a frozen one (`Pte::frozen`, `Pte::on_device`).

use core::ops::Range;

use crate::pte::{PRESENT_INVALID, Pte};

const TYPE_SHIFT: u32 = 6;
const TYPE_MASK: u64 = 0x1f << TYPE_SHIFT;
const OFFSET_SHIFT: u32 = 12;
const OFFSET_BITS: u32 = 50;
const EXCLUSIVE: u64 = 1 << 2;

/// First type that is not a swap area.
const FIRST_SPECIAL: u8 = 24;
const POISON: u8 = 24;

/// Number of a swap area, below [`AreaId::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AreaId(u8);

impl AreaId {
    /// How many swap areas an entry can name.
    pub const MAX: usize = FIRST_SPECIAL as usize;

    /// Wraps a raw number, `None` at or above [`AreaId::MAX`].
    pub const fn new(raw: usize) -> Option<Self> {
        if raw < Self::MAX { Some(Self(raw as u8)) } else { None }
    }

    /// Returns the raw number.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A slot of a swap area: the value that stands in an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SwapEntry {
    /// Swap area.
    pub area: AreaId,
    /// Slot within the area, in pages.
    pub slot: u32,
}

impl SwapEntry {
    /// Packs the value into 40 bits, never 0 because slot 0 holds the area's header.
    pub const fn pack(self) -> u64 {
        (self.area.0 as u64) << 32 | self.slot as u64
    }

    /// Unpacks [`SwapEntry::pack`]'s result.
    pub const fn unpack(packed: u64) -> Self {
        Self { area: AreaId((packed >> 32) as u8), slot: packed as u32 }
    }

    /// Returns the entry `n` slots further up.
    #[must_use]
    pub const fn add(self, n: u32) -> Self {
        Self { area: self.area, slot: self.slot + n }
    }

    /// Returns the slots of this entry and the `nr` - 1 after it.
    pub const fn slots(self, nr: u32) -> Range<u32> {
        self.slot..self.slot + nr
    }
}

/// What an entry that maps no frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NonPresent {
    /// The page is in a swap slot (or still in the swap cache).
    Swap {
        /// Where.
        entry: SwapEntry,
        /// No other address space referred to the page when it was swapped out.
        exclusive: bool,
    },
    /// The content is lost: touching it is a bus error.
    Poison,
}

/// What the raw bits of swap entries that name neighbouring slots differ by.
pub const NEXT_SLOT: u64 = 1 << OFFSET_SHIFT;

impl NonPresent {
    /// Returns the raw bits.
    pub const fn encode(self) -> u64 {
        let (kind, offset, flags) = match self {
            NonPresent::Swap { entry, exclusive } => {
                (entry.area.0, entry.slot as u64, if exclusive { EXCLUSIVE } else { 0 })
            }
            // The offset is never 0, so that a poisoned entry is not an empty one.
            NonPresent::Poison => (POISON, 1, 0),
        };
        (kind as u64) << TYPE_SHIFT | offset << OFFSET_SHIFT | flags
    }

    const fn decode(raw: u64) -> Option<Self> {
        let kind = ((raw & TYPE_MASK) >> TYPE_SHIFT) as u8;
        let offset = (raw >> OFFSET_SHIFT) & ((1 << OFFSET_BITS) - 1);
        Some(match kind {
            0..FIRST_SPECIAL => {
                if offset > u32::MAX as u64 {
                    return None;
                }
                let entry = SwapEntry { area: AreaId(kind), slot: offset as u32 };
                NonPresent::Swap { entry, exclusive: raw & EXCLUSIVE != 0 }
            }
            POISON => NonPresent::Poison,
            _ => return None,
        })
    }
}

/// What a last-level entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing is here.
    Empty,
    /// A frame is mapped.
    Present(Pte),
    /// No frame is mapped, but the entry says why.
    NonPresent(NonPresent),
    /// Bits that nothing in Granule writes. Holds them.
    Corrupt(u64),
}

impl Entry {
    /// Reads raw bits of a last-level entry.
    pub const fn decode(raw: u64) -> Self {
        if raw == 0 {
            return Entry::Empty;
        }
        if raw & 1 != 0 || raw & PRESENT_INVALID != 0 {
            return Entry::Present(Pte::from_raw(raw));
        }
        match NonPresent::decode(raw) {
            Some(non_present) => Entry::NonPresent(non_present),
            None => Entry::Corrupt(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemType, Prot};
    use base::Pfn;

    fn round_trip(value: NonPresent) {
        let raw = value.encode();
        assert_eq!(raw & 1, 0, "hardware must not see it");
        assert!(!Pte::is_present(raw));
        assert_eq!(Entry::decode(raw), Entry::NonPresent(value));
    }

    #[test]
    fn every_kind_round_trips() {
        for exclusive in [false, true] {
            let entry = SwapEntry { area: AreaId::new(23).unwrap(), slot: u32::MAX };
            round_trip(NonPresent::Swap { entry, exclusive });
        }
        round_trip(NonPresent::Poison);
    }

    #[test]
    fn swap_entry_has_the_layout_of_linux() {
        let entry = SwapEntry { area: AreaId::new(3).unwrap(), slot: 0x1234 };
        let raw = NonPresent::Swap { entry, exclusive: true }.encode();
        assert_eq!(raw, 0x0123_40c4);
        assert_eq!(SwapEntry::unpack(entry.pack()), entry);
    }

    #[test]
    fn empty_present_and_unknown_are_told_apart() {
        assert_eq!(Entry::decode(0), Entry::Empty);
        let pte = Pte::new(Pfn::new(7), Prot::empty(), MemType::Normal);
        assert_eq!(Entry::decode(pte.raw()), Entry::Present(pte));
        let unknown_type = 31 << TYPE_SHIFT;
        assert_eq!(Entry::decode(unknown_type), Entry::Corrupt(unknown_type));
        let slot_too_far = 1 << (OFFSET_SHIFT + 40);
        assert_eq!(Entry::decode(slot_too_far), Entry::Corrupt(slot_too_far));
    }
}
