// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prints what the demo has cost, from the differences of /proc/vmstat.

use std::time::Duration;

use user_tests::vmstat::Counters;

/// How saved tags are kept, and in how many bytes of the tag store.
const KINDS: [(&str, u64); 6] = [
    ("mte_tag_uniform", 0),
    ("mte_tag_inline", 0),
    ("mte_tag_16", 16),
    ("mte_tag_32", 32),
    ("mte_tag_64", 64),
    ("mte_tag_raw", 128),
];

/// Rows: what, and the counters whose sum it is.
const ROWS: [(&str, &[&str]); 9] = [
    ("page faults", &["pgfault"]),
    ("pages swapped out", &["pswpout"]),
    ("pages swapped in", &["pswpin"]),
    ("swap requests", &["swap_requests"]),
    ("tags saved (pages)", &["mte_tags_saved"]),
    ("tags restored (pages)", &["mte_tags_restored"]),
    ("copies on write", &["cow_copy"]),
    ("TLBIs", &["tlbi_page", "tlbi_range", "tlbi_asid"]),
    ("TLB waits (DSB)", &["tlb_dsb"]),
];

/// Prints the table.
pub fn print(before: &Counters, after: &Counters, time: Duration) {
    println!("demo: {:<28} {:>12}", "what", "count");
    for (what, names) in ROWS {
        row(what, after.sum_since(before, names));
    }
    let bytes = KINDS.iter().map(|(name, bytes)| Some(after.since(before, name)? * bytes)).sum();
    row("bytes of tags stored", bytes);
    println!("demo: {:<28} {:>10.1} s", "time", time.as_secs_f64());
}

/// Prints a row; a kernel that does not count this has none.
fn row(what: &str, count: Option<u64>) {
    match count {
        Some(count) => println!("demo: {what:<28} {count:>12}"),
        None => println!("demo: {what:<28} {:>12}", "not counted"),
    }
}
