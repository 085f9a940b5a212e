// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints what memory costs in memory, as the kernel counts it.

use user_tests::meminfo;
use user_tests::memory::PAGE;
use user_tests::pageout;
use user_tests::vmstat::Counters;

use crate::choice::Choice;
use crate::memory_use;
use crate::region::Region;
use crate::report::{self, Kind};
use crate::size::Size;

/// The section's name.
pub const SECTION: &str = "metadata";

const MIB: f64 = (1 << 20) as f64;

/// Prints bytes of metadata per MiB of memory, and of tags per swapped page.
pub fn print(choice: &Choice) {
    if !choice.has(SECTION, SECTION) {
        return;
    }
    if let Some(bytes) = frame_table_per_mib() {
        report::value("bytes_per_mib_frames", bytes.round());
    }
    // From one baseline, the largest first: descriptors that were needed once are kept, and each size
    // needs more of them than the one before.
    let before = InUse::read();
    for size in Size::ALL.into_iter().rev() {
        let Some((folios, page_tables)) = per_mib_of(size, &before) else { continue };
        report::value(&format!("bytes_per_mib_folios/{}", size.name()), folios.round());
        report::value(&format!("bytes_per_mib_page_tables/{}", size.name()), page_tables.round());
    }
    let kind = Kind { size: Size::Page, is_tagged: true };
    if let Some(bytes) = Region::new(kind).as_ref().and_then(stored_tags) {
        // Of objects of 64 bytes.
        report::value("bytes_per_tagged_swapped_page", format_args!("{bytes:.0}"));
    }
}

/// Returns what describes the frames of a MiB of memory.
fn frame_table_per_mib() -> Option<f64> {
    let own = Counters::read().get("frame_word_bytes");
    let own = own.and_then(|bytes| Some((bytes, meminfo::read("MemTotal")?)));
    let (bytes, memory) = own.or_else(memory_use::of_frame_table)?;
    Some(bytes as f64 / memory as f64 * MIB)
}

/// What is in use, in bytes.
struct InUse {
    /// For descriptors and the reverse map. Linux has descriptors in the frame table, and its reverse
    /// map in small objects.
    folios: u64,
    page_tables: u64,
}

impl InUse {
    fn read() -> Option<Self> {
        let counters = Counters::read();
        let folios = counters.get("folio_bytes").or_else(memory_use::of_slab)?;
        Some(Self { folios, page_tables: counters.get("nr_page_table_pages")? * PAGE as u64 })
    }
}

/// Returns what a MiB of mapped memory costs in folios of `size`, beyond what was in use `before`:
/// descriptors and reverse map; page tables.
fn per_mib_of(size: Size, before: &Option<InUse>) -> Option<(f64, f64)> {
    let before = before.as_ref()?;
    let region = Region::new(Kind { size, is_tagged: false })?;
    let mapping = region.populated();
    let after = InUse::read()?;
    drop(mapping);
    let per_mib = |after: u64, before: u64| {
        after.saturating_sub(before) as f64 / (region.len_bytes as f64 / MIB)
    };
    Some((per_mib(after.folios, before.folios), per_mib(after.page_tables, before.page_tables)))
}

/// Pushes a region out and returns how many bytes the tags of a page take.
fn stored_tags(region: &Region) -> Option<f64> {
    const KINDS: [(&str, u64); 4] =
        [("mte_tag_16", 16), ("mte_tag_32", 32), ("mte_tag_64", 64), ("mte_tag_raw", 128)];
    pageout::needed().ok()?;
    let mapping = region.populated();
    let (before, slab_before) = (Counters::read(), memory_use::of_slab());
    pageout::page_out(mapping.range());
    let after = Counters::read();
    let counted: Option<u64> =
        KINDS.iter().map(|(name, bytes)| Some(after.since(&before, name)? * bytes)).sum();
    // Linux keeps them in small objects (arch/arm64/mm/mteswap.c).
    let slab = || memory_use::of_slab()?.checked_sub(slab_before?);
    Some(counted.or_else(slab)? as f64 / region.nr_pages() as f64)
}
