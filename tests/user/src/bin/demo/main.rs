// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init of `cargo xtask run`: more tagged memory than RAM, and nothing lost.
//!
//! It fills memory with bytes and allocation tags made from a seed and forks. Then both sides
//! change pages, bytes or tags or both, and verify every byte and every tag of their own. The first
//! difference ends it with a status that is not 0. `--mib N` maps another amount than 512 MiB.

mod pattern;
mod progress;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use pattern::{Memory, Mismatch, Side};
use progress::Progress;
use user_tests::fault::{self, Fault, SEGV_MTESERR};
use user_tests::memory::{self, ANON, Mapping, PAGE, RW};
use user_tests::process::{self, Ended};
use user_tests::tags;
use user_tests::vmstat::Counters;

const MIB: usize = 1 << 20;
const DEFAULT_MIB: usize = 512;

fn main() -> ExitCode {
    let Some(len_mib) = asked_for() else {
        eprintln!("demo: usage: demo [--mib N]");
        return ExitCode::FAILURE;
    };
    let (before, start) = (Counters::read(), Instant::now());
    match run(len_mib) {
        Ok(()) => {
            table::print(&before, &Counters::read(), start.elapsed());
            println!("demo: all bytes and all tags are as they were written");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("demo: FAILED: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many MiB to map; nothing when the arguments make no sense.
fn asked_for() -> Option<usize> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => Some(DEFAULT_MIB),
        ["--mib", number] => number.parse().ok().filter(|mib| (1..=1 << 20).contains(mib)),
        _ => None,
    }
}

fn run(len_mib: usize) -> Result<(), String> {
    let has_tags = tags::has_mte();
    let protection = if has_tags { RW | memory::PROT_MTE } else { RW };
    let mapping = Mapping::new(len_mib * MIB, protection, ANON)
        .map_err(|error| format!("mmap of {len_mib} MiB: error {error}"))?;
    if has_tags {
        tags::check_at_once();
        let share = if tags::are_per_granule() { "16 bytes" } else { "a page (this emulator)" };
        println!("demo: {len_mib} MiB of PROT_MTE memory, a tag for {share}");
    } else {
        println!("demo: {len_mib} MiB of memory; this machine has no tags (HWCAP2_MTE)");
    }
    let memory = Memory::new(&mapping, has_tags);
    memory.fill(&mut Progress::new("fill", len_mib));
    if has_tags {
        wrong_tag_faults(&memory)?;
    }
    let child = process::try_fork(|| match side(&memory, Side::Child, "child") {
        Ok(()) => 0,
        Err(mismatch) => {
            println!("demo: child: {mismatch}");
            1
        }
    })
    .map_err(|error| format!("fork: error {error}"))?;
    let parent = side(&memory, Side::Parent, "parent");
    let child = child.wait();
    parent.map_err(|mismatch| format!("parent: {mismatch}"))?;
    match child {
        Ended::Exited(0) => Ok(()),
        ended => Err(format!("the child ended with {ended:?}")),
    }
}

/// Changes the pages of one side of the fork and verifies all.
fn side(memory: &Memory, side: Side, name: &'static str) -> Result<(), Mismatch> {
    let mib = memory.nr_pages() * PAGE / MIB;
    memory.change(side, &mut Progress::new(&format!("{name}: change"), mib));
    memory.verify(side, &mut Progress::new(&format!("{name}: verify"), mib))
}

/// Loads through a pointer with a wrong tag and expects to be caught.
fn wrong_tag_faults(memory: &Memory) -> Result<(), String> {
    let right = memory.pointer(0);
    let wrong = tags::with_tag(right, tags::of_pointer(right) ^ 1);
    let fault = fault::catch(|| {
        memory::load(wrong);
    });
    let address = tags::with_tag(right, 0);
    // Whether the address shows its tag is not the demo's business.
    let fault = fault.map(Fault::without_tag);
    let expected = Fault { signal: libc::SIGSEGV, code: SEGV_MTESERR, address };
    if fault != Some(expected) {
        return Err(format!("wrong tag at {wrong:#x}: expected {expected:x?}, found {fault:x?}"));
    }
    println!("demo: a load with a wrong tag was caught: SIGSEGV, SEGV_MTESERR, {address:#x}");
    Ok(())
}
