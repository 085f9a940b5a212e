// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells physical from virtual, and addresses from page numbers, by type.
//!
//! A swapped argument does not compile. Arithmetic that can leave the type's range is checked or
//! says in its name what it does instead.

use core::fmt;
use core::ops::Range;

/// log2 of the translation granule: Granule runs with 4 KiB pages only.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in one page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Bytes under one allocation tag (Arm ARM D10.1: the MTE *granule*).
pub const GRANULE_SIZE: usize = 16;
/// Allocation tags in one page.
pub const GRANULES_PER_PAGE: usize = PAGE_SIZE / GRANULE_SIZE;

/// Bits of a user virtual address (TCR_EL1.T0SZ = 16).
pub const USER_VA_BITS: u32 = 48;
/// First byte that no user mapping reaches: Linux's `TASK_SIZE`.
pub const USER_TOP: VirtAddr = VirtAddr(1 << USER_VA_BITS);

/// A physical byte address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// Wraps a raw physical address.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw address.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the frame that holds this byte.
    pub const fn pfn(self) -> Pfn {
        Pfn((self.0 >> PAGE_SHIFT) as u32)
    }

    /// Returns the offset of this byte within its frame.
    pub const fn page_offset(self) -> usize {
        (self.0 as usize) & (PAGE_SIZE - 1)
    }

    /// Returns the address `bytes` further up.
    ///
    /// # Panics
    ///
    /// When the sum does not fit 64 bits: no machine has such memory.
    #[must_use]
    pub const fn add(self, bytes: u64) -> Self {
        match self.0.checked_add(bytes) {
            Some(sum) => Self(sum),
            None => panic!("physical address overflow"),
        }
    }
}

/// A physical frame number: a physical address in units of [`PAGE_SIZE`].
///
/// 32 bits reach 16 TiB; half-width frame numbers keep folio descriptors in one cache line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Pfn(u32);

impl Pfn {
    /// Wraps a raw frame number.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// Returns the raw frame number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the frame number as an index into a per-frame table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the address of the first byte of the frame.
    pub const fn base(self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }

    /// Returns the address of byte `offset` of the frame.
    pub const fn at(self, offset: usize) -> PhysAddr {
        debug_assert!(offset < PAGE_SIZE);
        PhysAddr(((self.0 as u64) << PAGE_SHIFT) + offset as u64)
    }

    /// Returns the frame `n` further up.
    #[must_use]
    pub const fn add(self, n: u32) -> Self {
        Self(self.0 + n)
    }
}

/// A virtual byte address, as a user program or the kernel writes it: tag bits included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// Wraps a raw virtual address.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw address, tag bits included.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the address with bits 63:56 replaced by copies of bit 55, as the translation
    /// regime sees it with top-byte-ignore on (Arm ARM D8.8, `AArch64.BranchAddr`).
    #[must_use]
    pub const fn untagged(self) -> Self {
        Self((((self.0 << 8) as i64) >> 8) as u64)
    }

    /// Returns the logical tag in bits 59:56.
    pub const fn logical_tag(self) -> u8 {
        ((self.0 >> 56) & 0xf) as u8
    }

    /// Tells whether this untagged address can belong to a user mapping.
    pub const fn is_user(self) -> bool {
        self.0 < USER_TOP.0
    }

    /// Tells whether the address is a multiple of [`PAGE_SIZE`].
    pub const fn is_page_aligned(self) -> bool {
        self.0 & (PAGE_SIZE as u64 - 1) == 0
    }

    /// Returns the page that holds this byte. The address must be an untagged user address.
    pub const fn page(self) -> Vpn {
        debug_assert!(self.0 <= USER_TOP.0);
        Vpn(self.0 >> PAGE_SHIFT)
    }

    /// Returns the offset of this byte within its page.
    pub const fn page_offset(self) -> usize {
        (self.0 as usize) & (PAGE_SIZE - 1)
    }

    /// Returns the address `bytes` further up, or `None` past the end of the address space.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Returns the address `bytes` further up, modulo 2^64, as address arithmetic at EL0 does.
    #[must_use]
    pub const fn wrapping_add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// A user virtual page number: an untagged user address in units of [`PAGE_SIZE`] (36 bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Vpn(u64);

impl Vpn {
    /// The first page past every user mapping.
    pub const END: Vpn = Vpn(USER_TOP.0 >> PAGE_SHIFT);

    /// Wraps a raw page number.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw page number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the address of the first byte of the page.
    pub const fn base(self) -> VirtAddr {
        VirtAddr(self.0 << PAGE_SHIFT)
    }

    /// Returns the page `n` further up.
    #[must_use]
    pub const fn add(self, n: u64) -> Self {
        Self(self.0 + n)
    }

    /// Returns the page `n` further down.
    #[must_use]
    pub const fn sub(self, n: u64) -> Self {
        Self(self.0 - n)
    }

    /// Returns the page rounded down to a multiple of `nr_pages` (a power of two).
    #[must_use]
    pub const fn align_down(self, nr_pages: u64) -> Self {
        debug_assert!(nr_pages.is_power_of_two());
        Self(self.0 & !(nr_pages - 1))
    }
}

/// A half-open range of user pages: `start` is in it, `end` is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRange {
    /// First page.
    pub start: Vpn,
    /// First page past the range.
    pub end: Vpn,
}

impl PageRange {
    /// Builds the range `start..end`; `end` below `start` gives an empty range at `start`.
    pub const fn new(start: Vpn, end: Vpn) -> Self {
        let end = if end.0 < start.0 { start } else { end };
        Self { start, end }
    }

    /// Builds the range of `nr_pages` pages from `start`.
    pub const fn of_len(start: Vpn, nr_pages: u64) -> Self {
        Self { start, end: Vpn(start.0 + nr_pages) }
    }

    /// Returns the number of pages.
    pub const fn nr_pages(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Tells whether no page is in the range.
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// Tells whether `page` is in the range.
    pub const fn contains(self, page: Vpn) -> bool {
        self.start.0 <= page.0 && page.0 < self.end.0
    }

    /// Tells whether every page of `other` is in the range.
    pub const fn covers(self, other: PageRange) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// Returns the pages common to both ranges (empty when they do not meet).
    #[must_use]
    pub fn intersect(self, other: PageRange) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Iterates over the pages, lowest first.
    pub fn pages(self) -> impl DoubleEndedIterator<Item = Vpn> + use<> {
        let Range { start, end } = self.start.0..self.end.0;
        (start..end).map(Vpn)
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pa:{:#x}", self.0)
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn:{:#x}", self.0)
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "va:{:#x}", self.0)
    }
}

impl fmt::Debug for Vpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vpn:{:#x}", self.0)
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.base().get(), self.end.base().get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untagged_keeps_bit_55_and_drops_the_top_byte() {
        assert_eq!(VirtAddr::new(0x0b00_7fff_1234_5678).untagged().get(), 0x7fff_1234_5678);
        assert_eq!(
            VirtAddr::new(0x12ff_0000_0000_1000).untagged().get(),
            0xffff_0000_0000_1000,
            "bit 55 selects TTBR1 whatever the tag says"
        );
    }

    #[test]
    fn intersect_of_disjoint_ranges_is_empty() {
        //  a: [1 2 3)      b:          [7 8)
        let a = PageRange::new(Vpn::new(1), Vpn::new(4));
        let b = PageRange::new(Vpn::new(7), Vpn::new(9));
        assert!(a.intersect(b).is_empty());
        assert!(b.intersect(a).is_empty());
        assert_eq!(a.intersect(PageRange::new(Vpn::new(3), Vpn::new(8))).nr_pages(), 1);
    }

    #[test]
    fn frame_and_page_numbers_round_trip() {
        assert_eq!(PhysAddr::new(0x4020_0fff).pfn().base().get(), 0x4020_0000);
        assert_eq!(VirtAddr::new(0x7000_1234).page().base().get(), 0x7000_1000);
        assert_eq!(Vpn::new(0x1ff).align_down(16).get(), 0x1f0);
    }
}
