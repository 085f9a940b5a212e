// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints what memory costs in memory, where the kernel counts it.

use user_tests::meminfo;
use user_tests::memory::PAGE;
use user_tests::pageout;
use user_tests::vmstat::Counters;

use crate::choice::Choice;
use crate::pages::advise_pageout;
use crate::region::Region;
use crate::report::{self, Kind};
use crate::size::Size;

/// The section's name.
pub const SECTION: &str = "metadata";

/// Pages of a MiB.
const PER_MIB: f64 = ((1 << 20) / PAGE) as f64;

/// Rows, the counter of each and the bytes of its unit.
const KINDS: [(&str, &str, u64); 2] = [
    // Descriptors and the reverse map.
    ("bytes_per_mib_folios", "folio_bytes", 1),
    ("bytes_per_mib_page_tables", "nr_page_table_pages", PAGE as u64),
];

/// Prints bytes of metadata per MiB of memory, and of tags per swapped page, where the kernel counts
/// them.
pub fn print(choice: &Choice) {
    if !choice.has(SECTION, SECTION) {
        return;
    }
    let before = Counters::read();
    let frames = meminfo::read("MemTotal").unwrap_or(0) as f64 / PAGE as f64;
    if let Some(bytes) = before.get("frame_word_bytes") {
        report::value("bytes_per_mib_frames", (bytes as f64 / frames * PER_MIB).round());
    }
    // From one baseline, the largest first: descriptors that were needed once are kept, and each size
    // needs more of them than the one before.
    for size in Size::ALL.into_iter().rev() {
        let found = per_mib_of(size, &before);
        for ((row, _, _), bytes) in KINDS.into_iter().zip(found) {
            if let Some(bytes) = bytes {
                report::value(&format!("{row}/{}", size.name()), bytes.round());
            }
        }
    }
    let kind = Kind { size: Size::Page, is_tagged: true };
    if let Some((bytes, nr_pages)) = Region::new(kind).as_ref().and_then(stored_tags) {
        // Of objects of 64 bytes.
        report::value("bytes_per_tagged_swapped_page", bytes as f64 / nr_pages as f64);
    }
}

/// Returns what a MiB of mapped memory costs in folios of `size`, beyond what was in use `before`.
fn per_mib_of(size: Size, before: &Counters) -> [Option<f64>; 2] {
    let Some(region) = Region::new(Kind { size, is_tagged: false }) else { return [None; 2] };
    let mapping = region.populated();
    let after = Counters::read();
    drop(mapping);
    let nr_mib = region.nr_pages() as f64 / PER_MIB;
    KINDS.map(|(_, name, unit)| Some((after.since(before, name)? * unit) as f64 / nr_mib))
}

/// Pushes a region out and returns how many bytes the tags of how many pages take.
fn stored_tags(region: &Region) -> Option<(u64, u64)> {
    const KINDS: [(&str, u64); 4] =
        [("mte_tag_16", 16), ("mte_tag_32", 32), ("mte_tag_64", 64), ("mte_tag_raw", 128)];
    pageout::needed().ok()?;
    let mapping = region.populated();
    let before = Counters::read();
    advise_pageout(&mapping);
    let after = Counters::read();
    let bytes: Option<u64> =
        KINDS.iter().map(|(name, bytes)| Some(after.since(&before, name)? * bytes)).sum();
    bytes.zip(after.since(&before, "mte_tags_saved").filter(|nr_pages| *nr_pages > 0))
}
