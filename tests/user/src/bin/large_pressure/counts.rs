// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file judges the counters: what went to swap, with how many requests, and what was split.

use user_tests::thp::{self, SIZES_KIB};
use user_tests::vmstat::Counters;

/// What is counted for each size.
const STATS: [&str; 8] = [
    "anon_fault_alloc",
    "anon_fault_fallback",
    "swpout",
    "swpin",
    "swpout_fallback",
    "split",
    "split_deferred",
    "nr_anon",
];

/// What is counted once.
const COUNTERS: [&str; 8] = [
    "pswpout",
    "pswpin",
    "swpout_zero",
    "swap_requests",
    "swap_merged",
    "cow_copy",
    "cow_reuse",
    "mte_tags_saved",
];

/// What the kernel has counted.
pub struct Counts {
    all: Counters,
    sizes: [[u64; STATS.len()]; SIZES_KIB.len()],
}

/// By how much counts have grown.
pub struct Growth {
    before: Counters,
    now: Counters,
    /// For each size.
    sizes: [[u64; STATS.len()]; SIZES_KIB.len()],
}

impl Counts {
    /// Reads them.
    pub fn read() -> Self {
        let sizes = SIZES_KIB.map(|size| STATS.map(|name| thp::stat(size, name).unwrap_or(0)));
        Self { all: Counters::read(), sizes }
    }

    /// Returns by how much they have grown since `before`.
    pub fn since(self, before: &Self) -> Growth {
        let mut sizes = self.sizes;
        for (now, before) in sizes.iter_mut().zip(before.sizes) {
            now.iter_mut().zip(before).for_each(|(now, before)| *now = now.wrapping_sub(before));
        }
        Growth { before: before.all.clone(), now: self.all, sizes }
    }
}

impl Growth {
    /// Prints what happened, and tells whether it is as it must be. No process has memory any more.
    pub fn report(&self) -> bool {
        for (size_kib, stats) in SIZES_KIB.iter().zip(&self.sizes) {
            if stats.iter().any(|n| *n != 0) {
                let text = STATS.iter().zip(stats).map(|(name, n)| format!("{name} {n}"));
                println!("pressure: {size_kib} KiB: {}", text.collect::<Vec<_>>().join(", "));
            }
        }
        let text = COUNTERS.iter().filter_map(|name| Some(format!("{name} {}", self.of(name)?)));
        println!("pressure: {}", text.collect::<Vec<_>>().join(", "));
        let Some(nr_requests) = self.of("swap_requests") else { return true };
        let at_disk = self.now.sum_since(&self.before, &["blk_reads", "blk_writes"]);
        let unmapped_in_part = self.sum("split_deferred");
        let rows = [
            (
                "requests, one for each folio that went or came, but for those that went with others",
                nr_requests,
                self.nr_swapped() - self.of("swap_merged").unwrap_or(0),
            ),
            ("requests at the disk", at_disk.unwrap_or(0), nr_requests),
            ("folios split for want of slots", self.sum("swpout_fallback"), 0),
            (
                "folios split though no part was unmapped",
                self.sum("split").saturating_sub(unmapped_in_part),
                0,
            ),
            ("large folios left", self.sum("nr_anon"), 0),
            ("bytes of tags left", self.of("mte_tag_bytes_stored").unwrap_or(0), 0),
        ];
        let mut is_right = self.sum("swpout") > 0 && self.sum("swpin") > 0;
        for (what, found, expected) in rows {
            let verdict = if found == expected { "right" } else { "WRONG" };
            println!("pressure: {what}: {found}, expected {expected}: {verdict}");
            is_right &= found == expected;
        }
        is_right
    }

    fn of(&self, name: &str) -> Option<u64> {
        self.now.since(&self.before, name)
    }

    fn sum(&self, name: &str) -> u64 {
        let column = column(name);
        self.sizes.iter().map(|stats| stats[column]).fold(0, u64::wrapping_add)
    }

    /// Returns how many folios went to swap and came back, single pages among them. Those of zeroes, which
    /// need no request, are counted elsewhere.
    fn nr_swapped(&self) -> u64 {
        let large_pages: u64 = SIZES_KIB
            .iter()
            .zip(&self.sizes)
            .map(|(size_kib, stats)| {
                (stats[column("swpout")] + stats[column("swpin")]) * *size_kib as u64 / 4
            })
            .sum();
        let pages = self.of("pswpout").unwrap_or(0) + self.of("pswpin").unwrap_or(0);
        self.sum("swpout") + self.sum("swpin") + pages - large_pages
    }
}

fn column(name: &str) -> usize {
    STATS.iter().position(|stat| *stat == name).expect("a statistic")
}
