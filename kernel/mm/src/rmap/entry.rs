// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file packs one reverse-map entry into 8 bytes.
//!
//! | bits | field |
//! |---|---|
//! | 61:46 | address space |
//! | 45:10 | page at which the folio's first page is or would be mapped, modulo 2^36 |
//! | 9:0 | how many of the folio's pages are mapped there, 1 to 512 |

use base::Vpn;

/// Number of an address space, unique among the live ones; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MmId(u16);

impl MmId {
    /// Wraps a raw number.
    pub(crate) const fn new(raw: u16) -> Self {
        debug_assert!(raw != 0);
        Self(raw)
    }

    /// Returns the raw number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

const NR_BITS: u32 = 10;
const PAGE_BITS: u32 = 36;
const PAGE_MASK: u64 = (1 << PAGE_BITS) - 1;

/// One place where an address space maps pages of a folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapping {
    /// Address space.
    pub mm: MmId,
    /// Page of the folio's first page, see [`base_of`].
    pub base: Vpn,
    /// Pages mapped.
    pub nr: u32,
}

/// Returns the page at which a folio's first page would be mapped when its page `index` is mapped
/// at `page`. Wraps modulo 2^36: the tail of a folio may be mapped near address 0.
pub(crate) const fn base_of(page: Vpn, index: u32) -> Vpn {
    Vpn::new(page.get().wrapping_sub(index as u64) & PAGE_MASK)
}

impl Mapping {
    /// Returns the page at which page `index` of the folio is mapped, if it is.
    pub(crate) const fn page(self, index: u32) -> Vpn {
        Vpn::new((self.base.get() + index as u64) & PAGE_MASK)
    }

    pub(super) const fn pack(self) -> u64 {
        self.key() << NR_BITS | self.nr as u64
    }

    pub(super) const fn unpack(raw: u64) -> Option<Self> {
        if raw == 0 {
            return None;
        }
        Some(Self {
            mm: MmId((raw >> (NR_BITS + PAGE_BITS)) as u16),
            base: Vpn::new((raw >> NR_BITS) & PAGE_MASK),
            nr: (raw & ((1 << NR_BITS) - 1)) as u32,
        })
    }

    /// Returns what mappings are ordered by.
    pub(super) const fn key(self) -> u64 {
        (self.mm.0 as u64) << PAGE_BITS | self.base.get()
    }

    pub(super) const fn is_at(self, other: Mapping) -> bool {
        self.key() == other.key()
    }

    /// Tells whether a packed mapping is at the place with this key. Keys are not 0.
    #[inline(always)]
    pub(super) const fn is_packed_at(raw: u64, key: u64) -> bool {
        raw >> NR_BITS == key
    }

    /// Returns a packed mapping of `nr` pages more.
    #[inline(always)]
    pub(super) const fn packed_plus(raw: u64, nr: u32) -> u64 {
        raw + nr as u64
    }

    /// Returns what is left of a packed mapping without `nr` of its pages, 0 for nothing.
    #[inline(always)]
    pub(super) fn packed_minus(raw: u64, nr: u32) -> u64 {
        let had = raw as u32 & ((1 << NR_BITS) - 1);
        assert!(nr <= had, "rmap: more pages unmapped than mapped");
        if nr == had { 0 } else { raw - nr as u64 }
    }

    pub(super) const fn plus(self, nr: u32) -> Self {
        Self { nr: self.nr + nr, ..self }
    }

    /// Returns what is left, `None` for nothing.
    pub(super) fn minus(self, nr: u32) -> Option<Self> {
        assert!(nr <= self.nr, "rmap: {nr} pages unmapped of {self:?}");
        (nr < self.nr).then_some(Self { nr: self.nr - nr, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_extremes_and_is_never_zero() {
        for mm in [1, u16::MAX] {
            for base in [0, PAGE_MASK] {
                for nr in [1, 512] {
                    let mapping = Mapping { mm: MmId::new(mm), base: Vpn::new(base), nr };
                    assert_ne!(mapping.pack(), 0);
                    assert_eq!(Mapping::unpack(mapping.pack()), Some(mapping));
                    assert!(Mapping::is_packed_at(mapping.pack(), mapping.key()));
                    assert!(!Mapping::is_packed_at(0, mapping.key()));
                    let more = Mapping::packed_plus(mapping.pack(), 1);
                    assert_eq!(more, mapping.plus(1).pack());
                    assert_eq!(
                        Mapping::packed_minus(more, nr),
                        mapping.plus(1).minus(nr).unwrap().pack()
                    );
                    assert_eq!(Mapping::packed_minus(mapping.pack(), nr), 0);
                }
            }
        }
        assert_eq!(Mapping::unpack(0), None);
    }

    #[test]
    fn base_wraps_for_a_tail_near_address_zero() {
        let base = base_of(Vpn::new(16), 511);
        let mapping = Mapping { mm: MmId::new(1), base, nr: 1 };
        assert_eq!(mapping.page(511), Vpn::new(16));
    }
}
