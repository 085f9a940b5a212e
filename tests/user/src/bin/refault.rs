// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is the refault of docs/experiments/000-mte-large-folios.md: folios of 16 tagged pages
//! are out, and their pages are loaded one after the other.
//!
//! It prints what a folio costs: faults, pages whose tags a restore looked for (a lab kernel counts
//! them) and copied, and nanoseconds, which are instructions on a machine with virtual time.

#![expect(unsafe_code, reason = "getrusage")]

use std::process::ExitCode;
use std::time::Instant;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;
use user_tests::{pageout, tags, thp};

/// Pages of a folio.
const NR_PAGES: usize = 16;
const FOLIO: usize = NR_PAGES * PAGE;

/// Folios measured.
const NR_FOLIOS: usize = 64;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Skip(why)) => {
            println!("refault: {why}");
            ExitCode::from(user_tests::SKIP)
        }
    }
}

fn measure() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    pageout::needed()?;
    let _sizes = thp::only(FOLIO / 1024, "always")?;
    // Each folio's own costs are asked for.
    let _read_ahead = pageout::without_read_ahead()?;
    let mapping = Mapping::tagged((NR_FOLIOS + 1) * FOLIO);
    let start = mapping.start().next_multiple_of(FOLIO);
    let folios: Vec<usize> = (0..NR_FOLIOS).map(|n| start + n * FOLIO).collect();
    let range = start..start + NR_FOLIOS * FOLIO;
    let pages = || range.clone().step_by(PAGE);
    for page in pages() {
        memory::store_pattern(page, page as u64);
        tags::fill_page(page, page as u64);
    }
    pageout::page_out(range.clone());
    let mut times = vec![u64::MAX; NR_FOLIOS];
    // So that the program itself is in memory.
    time_of_loads(Mapping::anonymous(FOLIO).start());
    nr_faults();
    let before = (Counters::read(), nr_faults());
    for (time, folio) in times.iter_mut().zip(&folios) {
        *time = time_of_loads(*folio);
    }
    let after = (nr_faults(), Counters::read());
    // The loop's own time, and the clock's.
    let own = folios.iter().map(|folio| time_of_loads(*folio)).min().unwrap_or(0);
    times.sort_unstable();
    let is_right = pages().all(|page| {
        memory::first_difference(page, page as u64).is_none()
            && tags::first_difference(page, page as u64).is_none()
    });
    assert!(is_right, "bytes and tags come back");
    let faults = per_folio(Some(after.0 - before.1));
    let [lookups, copies] = ["lab_tag_lookups", "mte_tags_restored"]
        .map(|name| per_folio(after.1.since(&before.0, name)));
    let time = times[NR_FOLIOS / 2].saturating_sub(own);
    println!("refault: {faults} faults, {lookups} lookups, {copies} copies, {time} ns");
    Ok(())
}

/// Loads a word of each page of a folio and returns how long that takes.
#[inline(never)]
fn time_of_loads(folio: usize) -> u64 {
    let start = Instant::now();
    for page in (folio..folio + FOLIO).step_by(PAGE) {
        memory::load(page);
    }
    start.elapsed().as_nanos() as u64
}

/// Returns how many page faults this process has had.
fn nr_faults() -> u64 {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes the structure.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    assert_eq!(result, 0, "getrusage");
    (usage.ru_minflt + usage.ru_majflt) as u64
}

fn per_folio(count: Option<u64>) -> String {
    let Some(count) = count else { return String::from("uncounted") };
    match count % NR_FOLIOS as u64 {
        0 => (count / NR_FOLIOS as u64).to_string(),
        _ => format!("{count}/{NR_FOLIOS}"),
    }
}
