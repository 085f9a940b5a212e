// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints what memory costs in memory, where the kernel counts it.

use user_tests::meminfo;
use user_tests::memory::PAGE;
use user_tests::vmstat::Counters;

use crate::rows::{self, Region};
use crate::size::Size;
use crate::table;

/// Pages of a MiB.
const PER_MIB: f64 = ((1 << 20) / PAGE) as f64;

/// Bytes of a counter's unit, and what is counted.
const KINDS: [(&str, &str, u64); 2] = [
    ("folio_bytes", "folio descriptors and reverse map", 1),
    ("nr_page_table_pages", "page tables", PAGE as u64),
];

/// Prints bytes of metadata per MiB of memory, and of tags per swapped page.
pub fn print() {
    let frames = meminfo::read("MemTotal").unwrap_or(0) as f64 / PAGE as f64;
    let words = Counters::read().get("frame_word_bytes");
    let per_mib = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / frames * PER_MIB);
    table::line("bytes per MiB: frame words", &number(per_mib(words)));
    // From one baseline, the largest first: descriptors that were needed once are kept, and each size
    // needs more of them than the one before.
    let before = Counters::read();
    let found: Vec<_> = Size::ALL.into_iter().rev().map(|size| per_mib_of(size, &before)).collect();
    for (index, (_, what, _)) in KINDS.into_iter().enumerate() {
        let of_size = |costs: &[Option<f64>; 2]| number(costs[index]);
        let text: Vec<_> = found.iter().rev().map(of_size).collect();
        table::line(&format!("bytes per MiB: {what}"), &text.join("/"));
    }
    let Some(region) = Region::new(Size::Page, true) else { return };
    if let Some((bytes, nr_pages)) = rows::stored_tags(&region.populated()) {
        let per_page = format!("{:.1}", bytes as f64 / nr_pages as f64);
        table::line("bytes of tags per swapped tagged page (64-byte objects)", &per_page);
    }
}

/// Returns what a MiB of mapped memory costs in folios of `size`, beyond what was in use `before`.
fn per_mib_of(size: Size, before: &Counters) -> [Option<f64>; 2] {
    let Some(region) = Region::new(size, false) else { return [None; 2] };
    let mapping = region.populated();
    let after = Counters::read();
    drop(mapping);
    let nr_mib = rows::NR_PAGES as f64 / PER_MIB;
    KINDS.map(|(name, _, unit)| Some((after.since(before, name)? * unit) as f64 / nr_mib))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| String::from("-"), |value| format!("{value:.0}"))
}
