// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init of `cargo xtask bench`: instructions per operation on memory.
//!
//! Without arguments it measures everything that the machine permits; arguments name rows or
//! sections, which are the files of this program. Memory operations are given per page of 4 KiB, in
//! folios of each [`size::Size`]. What the program's own loops take is measured and taken off.
//! It runs on Linux as well, in the same emulator or anywhere; where nothing counts instructions it
//! gives nanoseconds.

mod calls;
mod choice;
mod cost;
mod counter;
mod cpus;
mod disk;
mod flat;
mod growth;
mod held;
mod memory_use;
mod metadata;
mod migration;
mod pages;
mod region;
mod report;
mod size;
mod slots;

use std::process::ExitCode;

use choice::Choice;
use user_tests::boot_clock;

/// The file that says which kernel this is.
const VERSION: &str = "/proc/version";

fn main() -> ExitCode {
    let first_user_ns = boot_clock::first_user_ns();
    let choice = Choice::from_args();
    let (unit, source) = counter::describe();
    report::fact("unit", unit);
    report::fact("source", source);
    report::fact("kernel", std::fs::read_to_string(VERSION).unwrap_or_default().trim());
    if choice.has("boot", "boot") {
        report::value("boot", first_user_ns);
    }
    // First, while no operation below has needed more of anything at a time.
    metadata::print(&choice);
    calls::print(&choice);
    pages::print(&choice);
    cpus::print(&choice);
    flat::print(&choice);
    growth::print(&choice);
    slots::print(&choice);
    migration::print(&choice);
    report::fact("end", "1");
    ExitCode::SUCCESS
}
