// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init of `cargo xtask bench`: instructions per operation on memory.
//!
//! On that machine (`-icount shift=0`) an instruction takes a nanosecond of virtual time, so that
//! the clock counts instructions, those of the kernel and of the loop that asks for its work; the
//! loop's own are measured and taken off. Memory operations are given per 4 KiB page, over 64 MiB.
//! Runs on Linux as well, in the same emulator or anywhere, where it gives nanoseconds.

#![expect(unsafe_code, reason = "loops of known length")]

mod flat;
mod rows;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use rows::{Cost, Region};
use table::Row;
use user_tests::tags;
use user_tests::vmstat::Counters;

/// What is measured per page, in the order of the table.
type Measure = fn(Region) -> Option<Cost>;

/// Name, measurement, Linux 7.2.12 on QEMU 10.0.2 without and with tags, aims without and with.
type Operation = (&'static str, Measure, [&'static str; 2], [&'static str; 2]);

const OPERATIONS: [Operation; 9] = [
    ("anonymous fault", rows::fault, ["4255", "4255"], ["500", "520"]),
    ("fork+exit", rows::fork_and_exit, ["519-735", ""], ["90", ""]),
    ("copy-on-write", rows::copy_on_write, ["4438", ""], ["900", ""]),
    ("mprotect", rows::protect, ["207-267", ""], ["40", ""]),
    ("MADV_PAGEOUT", rows::pageout, ["9884", "10464"], ["1300", "1400"]),
    ("refault from the swap cache", rows::refault_from_cache, ["2809", "3014"], ["500", "520"]),
    ("refault from the disk", rows::refault_from_disk, ["", ""], ["", ""]),
    ("munmap", rows::unmap, ["3174", "3646"], ["250", "260"]),
    ("munmap of swapped pages", rows::unmap_swapped, ["", ""], ["", ""]),
];

fn main() -> ExitCode {
    let since_entry = since_kernel_entry();
    table::unit(rows::clock_counts_instructions());
    table::line("kernel entry to first user instruction", &format!("{:?}", since_entry));
    // First, while no operation below has needed more of anything at a time.
    metadata();
    table::heading();
    Row::of_call("null system call (per call)", rows::null_call(), "1254", "120").print();
    for (name, measure, linux, aim) in OPERATIONS {
        for (is_tagged, (linux, aim)) in linux.into_iter().zip(aim).enumerate() {
            let region = if is_tagged == 1 { Region::Tagged } else { Region::Untagged };
            if region == Region::Untagged || tags::has_mte() {
                let name = if is_tagged == 1 { "same, PROT_MTE" } else { name };
                Row { name, cost: measure(region), linux, aim }.print();
            }
        }
    }
    flat::print();
    ExitCode::SUCCESS
}

/// Returns the monotonic clock, which starts when the kernel is entered.
fn since_kernel_entry() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Prints what a page costs in memory, where the kernel counts it.
fn metadata() {
    let mapping = Region::Tagged.or_untagged().populated();
    let counters = Counters::read();
    let per_page = |name, nr_pages: u64| match counters.get(name) {
        Some(bytes) => format!("{:.1}", bytes as f64 / nr_pages as f64),
        None => String::from("not counted"),
    };
    let nr_frames = user_tests::meminfo::read("MemTotal").unwrap_or(0) / 4096;
    let nr_pages = rows::NR_PAGES as u64;
    table::line("bytes of frame words per frame", &per_page("frame_word_bytes", nr_frames));
    table::line("bytes of folio descriptors per mapped page", &per_page("folio_bytes", nr_pages));
    if let Some((bytes, nr_pages)) = rows::stored_tags(&mapping) {
        let per_page = format!("{:.1}", bytes as f64 / nr_pages as f64);
        table::line("bytes of tags per swapped tagged page (64-byte objects)", &per_page);
    }
}
