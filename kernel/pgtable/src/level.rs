// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names the four levels of a translation table.
//!
//! Linux calls them pgd, pud, pmd and pte; the architecture numbers them 0 to 3 (Arm ARM D8.2).
//! One entry of level 3 maps a page, one of level 2 a 2 MiB block or 512 pages, and so on.

use base::Vpn;

/// Entries in one table of any level.
pub const ENTRIES_PER_TABLE: usize = 512;

/// A level of the translation table; a smaller number is nearer the root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// The root; Linux's pgd. An entry spans 512 GiB.
    L0 = 0,
    /// Linux's pud. An entry spans 1 GiB.
    L1 = 1,
    /// Linux's pmd. An entry spans 2 MiB and may map it as one block.
    L2 = 2,
    /// Linux's pte. An entry maps one page.
    L3 = 3,
}

impl Level {
    /// Returns log2 of the pages one entry of this level spans.
    pub const fn span_order(self) -> u32 {
        9 * (3 - self as u32)
    }

    /// Returns how many pages one entry of this level spans.
    pub const fn span_pages(self) -> u64 {
        1 << self.span_order()
    }

    /// Returns the next level down, `None` below level 3.
    pub const fn below(self) -> Option<Level> {
        match self {
            Level::L0 => Some(Level::L1),
            Level::L1 => Some(Level::L2),
            Level::L2 => Some(Level::L3),
            Level::L3 => None,
        }
    }

    /// Returns the index of `page`'s entry in its table of this level.
    pub const fn index(self, page: Vpn) -> usize {
        ((page.get() >> self.span_order()) % ENTRIES_PER_TABLE as u64) as usize
    }

    /// Returns the first page past the entry of this level that spans `page`.
    pub const fn next_entry(self, page: Vpn) -> Vpn {
        Vpn::new((page.get() | (self.span_pages() - 1)) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_take_nine_bits_each() {
        let page = Vpn::new(0x123 << 27 | 0x045 << 18 | 0x167 << 9 | 0x089);
        assert_eq!(Level::L0.index(page), 0x123);
        assert_eq!(Level::L1.index(page), 0x045);
        assert_eq!(Level::L2.index(page), 0x167);
        assert_eq!(Level::L3.index(page), 0x089);
    }

    #[test]
    fn next_entry_steps_over_the_whole_span() {
        assert_eq!(Level::L2.next_entry(Vpn::new(0x201)), Vpn::new(0x400));
        assert_eq!(Level::L3.next_entry(Vpn::new(0x201)), Vpn::new(0x202));
        assert_eq!(Level::L2.next_entry(Vpn::new(0x1ff)), Vpn::new(0x200));
    }
}
