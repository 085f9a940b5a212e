// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what a kernel has taken of memory for itself, on kernels that do not count what the
//! rows ask for: from Linux's sums in /proc.

use user_tests::meminfo;
use user_tests::vmstat::Counters;

use user_tests::memory::PAGE;

/// What is in use by others than the kernel, or is counted in rows of its own.
const NOT_ITS_OWN: [&str; 6] =
    ["MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "PageTables"];

/// Returns the bytes that neither are free nor belong to a program, its page tables or the page cache.
/// Pages that CPUs keep to give out soon are free too (/proc/zoneinfo).
pub fn of_kernel() -> Option<u64> {
    let others: Option<u64> = NOT_ITS_OWN.iter().map(|field| meminfo::read(field)).sum();
    meminfo::read("MemTotal")?.checked_sub(others? + kept_by_cpus()?)
}

/// Returns the bytes of the slab allocator: small objects.
pub fn of_slab() -> Option<u64> {
    meminfo::read("Slab")
}

/// Returns the bytes of the frame table (`struct page`), and those of the memory that it is for.
pub fn of_frame_table() -> Option<(u64, u64)> {
    let counters = Counters::read();
    let pages = |names: [&str; 2]| names.iter().find_map(|name| counters.get(name)).unwrap_or(0);
    // The names of Linux 6.11, and those since.
    let at_boot = pages(["nr_memmap_boot_pages", "nr_memmap_boot"]);
    let later = pages(["nr_memmap_pages", "nr_memmap"]);
    let present = sum_of_zones("present")?;
    let bytes = (at_boot + later) * PAGE as u64;
    (bytes > 0).then_some((bytes, present * PAGE as u64))
}

fn kept_by_cpus() -> Option<u64> {
    Some(sum_of_zones("count:")? * PAGE as u64)
}

/// Adds up a number of all zones (and of the CPUs in them).
fn sum_of_zones(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/zoneinfo").ok()?;
    let number = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse::<u64>().ok()).flatten()
    };
    Some(text.lines().filter_map(number).sum())
}
