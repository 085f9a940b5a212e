// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init of `cargo xtask bench`: instructions per operation on memory.
//!
//! On that machine (`-icount shift=0`) an instruction takes a nanosecond of virtual time, so that
//! the clock counts instructions, those of the kernel and of the loop that asks for its work; the
//! loop's own are measured and taken off. Memory operations are given per 4 KiB page, over 64 MiB, in
//! folios of each [`Size`].
//! Runs on Linux as well, in the same emulator or anywhere, where it gives nanoseconds.

#![expect(unsafe_code, reason = "loops of known length")]

mod flat;
mod metadata;
mod rows;
mod size;
mod slots;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use rows::{Cost, Region};
use size::Size;
use table::Row;
use user_tests::tags;

/// What is measured per page, in the order of the table.
type Measure = fn(Region) -> Option<Cost>;

/// Name, measurement, Linux 7.2.12 on QEMU 10.0.2 and aim: with folios of 4 KiB, 64 KiB and 2 MiB.
type Operation = (&'static str, Measure, &'static str, &'static str);

const UNTAGGED: [Operation; 9] = [
    ("anonymous fault", rows::fault, "4255/390/63", "500/60/20"),
    ("fork+exit", rows::fork_and_exit, "519-735/149/16", "90/20/1"),
    ("copy-on-write", rows::copy_on_write, "4438/4195/4227", "900/900/900"),
    ("mprotect", rows::protect, "207-267/62/1", "40/8/1"),
    ("MADV_PAGEOUT", rows::pageout, "9884/2081/1537", "1300/200/120"),
    ("refault from the swap cache", rows::refault_from_cache, "2809/396/223", "500/60/20"),
    ("refault from the disk", rows::refault_from_disk, "", ""),
    ("munmap", rows::unmap, "3174/583/501", "250/40/10"),
    ("munmap of swapped pages", rows::unmap_swapped, "", ""),
];

const TAGGED: [Operation; 9] = [
    ("anonymous fault", rows::fault, "4255/485/152", "520/80/40"),
    ("fork+exit", rows::fork_and_exit, "", ""),
    ("copy-on-write", rows::copy_on_write, "", ""),
    ("mprotect", rows::protect, "", ""),
    ("MADV_PAGEOUT", rows::pageout, "10464/2853/2339", "1400/300/220"),
    ("refault from the swap cache", rows::refault_from_cache, "3014/512/340", "520/100/60"),
    ("refault from the disk", rows::refault_from_disk, "", ""),
    ("munmap", rows::unmap, "3646/1041/962", "260/45/12"),
    ("munmap of swapped pages", rows::unmap_swapped, "", ""),
];

fn main() -> ExitCode {
    let since_entry = since_kernel_entry();
    let words: Vec<String> = std::env::args().skip(1).collect();
    table::unit(rows::clock_counts_instructions());
    table::line("kernel entry to first user instruction", &format!("{:?}", since_entry));
    // First, while no operation below has needed more of anything at a time.
    metadata::print();
    let null_call = Cost { each: rows::null_call(), tlbis: None, requests: None };
    table::heading("per call");
    let costs = vec![Some(null_call)];
    Row { name: "null system call", costs, linux: "1254", aim: "120" }.print();
    table::heading("per 4 KiB page");
    print_rows(&UNTAGGED, false, &words);
    if tags::has_mte() {
        table::heading("per 4 KiB page, PROT_MTE");
        print_rows(&TAGGED, true, &words);
    }
    if words.is_empty() {
        flat::print();
    }
    if words.is_empty() || words.iter().any(|word| word == "slots") {
        slots::print();
    }
    ExitCode::SUCCESS
}

/// Measures and prints the operations with one of the words in their names, all if there is none.
fn print_rows(operations: &[Operation], is_tagged: bool, words: &[String]) {
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    for &(name, measure, linux, aim) in operations.iter().filter(|row| is_chosen(row.0)) {
        let cost = |size| Region::new(size, is_tagged).and_then(measure);
        Row { name, costs: Size::ALL.map(cost).into(), linux, aim }.print();
    }
}

/// Returns the monotonic clock, which starts when the kernel is entered.
fn since_kernel_entry() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
