// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file cuts a range of pages into the operands of range TLBIs (FEAT_TLBIRANGE).
//!
//! One instruction covers `(NUM + 1) << (5 * SCALE + 1)` pages from any page (Arm ARM C5.5.70, TLBI
//! RVALE1IS): an even number, from 2 to 2^21. The pieces cover the range exactly: a neighbour's
//! translation is not forgotten to save an instruction.

use base::{PageRange, Vpn};
use hal::{Asid, LeafLevel};

/// The most pages that one instruction covers: SCALE 3, NUM 31.
pub const MAX_RUN_PAGES: u64 = 1 << 21;

/// One instruction's worth of invalidation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A single page (VAE1 and its kin).
    Page(Vpn),
    /// A run of pages (RVAE1 and its kin).
    Run {
        /// First page.
        start: Vpn,
        /// SCALE, 0 to 3.
        scale: u8,
        /// NUM, 0 to 31.
        num: u8,
    },
}

impl Piece {
    /// Returns the pages that the instruction invalidates.
    pub fn pages(self) -> PageRange {
        match self {
            Piece::Page(page) => PageRange::of_len(page, 1),
            Piece::Run { start, scale, num } => {
                PageRange::of_len(start, (u64::from(num) + 1) << (5 * scale + 1))
            }
        }
    }

    /// Returns the instruction's register operand (Arm ARM C5.5.70 and C5.5.79): ASID in bits 63:48
    /// and the page in the low bits. For a run, TG = 0b01 (4 KiB), SCALE, NUM, and the level in bits
    /// 38:37; for a page, granule and level in bits 47:44, which are RES0 without FEAT_TTL. A level
    /// of 0 is "any".
    pub fn operand(self, asid: Asid, level: LeafLevel, has_levels: bool) -> u64 {
        let asid = u64::from(asid.0) << 48;
        let ttl = match level {
            LeafLevel::Any => 0,
            LeafLevel::Pages => 3,
            LeafLevel::Blocks => 2,
        };
        match self {
            Piece::Page(page) if ttl == 0 || !has_levels => asid | page.get(),
            Piece::Page(page) => asid | (0b01 << 2 | ttl) << 44 | page.get(),
            Piece::Run { start, scale, num } => {
                let (scale, num) = (u64::from(scale), u64::from(num));
                asid | 0b01 << 46 | scale << 44 | num << 39 | ttl << 37 | start.get()
            }
        }
    }
}

/// Returns the pieces of a range: few, disjoint, and together exactly the range.
///
/// A greedy walk from the largest scale down leaves less than 64 pages to scale 0, whose runs are
/// even; a last odd page goes alone. So 512 pages take one instruction and 511 take three.
pub fn pieces(range: PageRange) -> impl Iterator<Item = Piece> {
    let mut at = range.start;
    core::iter::from_fn(move || {
        let left = range.end.get() - at.get();
        let piece = match left {
            0 => return None,
            1 => Piece::Page(at),
            _ => largest_run(at, left),
        };
        at = piece.pages().end;
        Some(piece)
    })
}

/// Returns the longest run of at most `nr_pages` (2 or more) pages.
fn largest_run(start: Vpn, nr_pages: u64) -> Piece {
    let scale = (0..=3).rev().find(|scale| nr_pages >> (5 * scale + 1) > 0).unwrap_or(0);
    let units = (nr_pages >> (5 * scale + 1)).min(32);
    Piece::Run { start, scale: scale as u8, num: (units - 1) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn pieces_of(start: u64, nr_pages: u64) -> Vec<Piece> {
        pieces(PageRange::of_len(Vpn::new(start), nr_pages)).collect()
    }

    #[test]
    fn pieces_cover_the_range_exactly_and_in_order() {
        for start in [0, 1, 0x1234, 0xf_ffff_f000] {
            for nr_pages in (0..5000).chain([1 << 16, (1 << 16) + 1, (1 << 21) - 1]) {
                let range = PageRange::of_len(Vpn::new(start), nr_pages);
                let mut at = range.start;
                for piece in pieces(range) {
                    assert_eq!(piece.pages().start, at, "{nr_pages} pages from {start:#x}");
                    at = piece.pages().end;
                }
                assert_eq!(at, range.end, "{nr_pages} pages from {start:#x}");
            }
        }
    }

    #[test]
    fn two_mebibytes_take_one_instruction() {
        let start = Vpn::new(0x200);
        assert_eq!(pieces_of(0x200, 512), [Piece::Run { start, scale: 1, num: 7 }]);
        assert_eq!(pieces_of(0x200, 16), [Piece::Run { start, scale: 0, num: 7 }]);
    }

    #[test]
    fn pieces_stay_few() {
        // Four scales and one page, as long as the range is below the largest run.
        for nr_pages in 1..1 << 12 {
            assert!(pieces_of(7, nr_pages).len() <= 4, "{nr_pages}");
        }
        assert_eq!(pieces_of(7, 511).len(), 3);
        assert_eq!(pieces_of(0, (1 << 21) + 2).len(), 2, "the largest run, and one more");
    }

    #[test]
    fn operand_has_the_fields_of_the_architecture() {
        let run = Piece::Run { start: Vpn::new(0x7_1234_5678), scale: 1, num: 7 };
        let operand = |level| run.operand(Asid(0xabcd), level, true);
        assert_eq!(operand(LeafLevel::Any), 0xabcd_5387_1234_5678);
        assert_eq!(operand(LeafLevel::Pages), 0xabcd_53e7_1234_5678);
        assert_eq!(operand(LeafLevel::Blocks), 0xabcd_53c7_1234_5678);
        let page = Piece::Page(Vpn::new(0x1f));
        let operand = |level, has_levels| page.operand(Asid(3), level, has_levels);
        assert_eq!(operand(LeafLevel::Any, true), 0x0003_0000_0000_001f);
        assert_eq!(operand(LeafLevel::Pages, true), 0x0003_7000_0000_001f);
        assert_eq!(operand(LeafLevel::Blocks, true), 0x0003_6000_0000_001f);
        assert_eq!(operand(LeafLevel::Pages, false), 0x0003_0000_0000_001f);
    }
}
