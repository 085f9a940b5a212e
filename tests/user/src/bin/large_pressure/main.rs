// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program keeps memory several times as large as RAM, in folios of 64 KiB and of 2 MiB with
//! tags, under seeded mixed pressure, and compares every byte and tag that it looks at.
//!
//! Two processes of two threads each own a part of the memory. A thread chooses one of its 2 MiB
//! chunks and stores to it, changes its tags, unmaps or discards part of it, protects part of it,
//! moves it, pages it out, makes it anew, or forks a child that does the same to its copy
//! (`chunk.rs`, `worker.rs`). What must be there is computed from four bytes a page (`oracle.rs`).
//! At the end the counters must say: no folio was split for want of slots, none without a part
//! unmapped, and each went and came with one request (`counts.rs`).
//!
//! Without arguments this takes seconds, on a small machine. `--long` is the hour: 2 GiB for 3600
//! seconds of the clock. `--mib N`, `--seconds N`, `--operations N` (of each thread) and `--seed N`
//! choose otherwise.

mod chunk;
mod counts;
mod oracle;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use user_tests::process::{self, Ended};
use user_tests::thp::{self, Setting};
use user_tests::trial::Skip;
use user_tests::{meminfo, pageout};

use worker::Budget;

const NR_PROCESSES: usize = 2;
const THREADS_EACH: usize = 2;

/// What the arguments ask for.
struct Options {
    mib: usize,
    budget: Budget,
    seed: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let ram_mib = meminfo::read("MemTotal")? as usize >> 20;
        let budget = Budget { operations: 60, time: Duration::from_secs(120) };
        let mut options = Self { mib: ram_mib * 5 / 4, budget, seed: 1 };
        while let Some(argument) = arguments.next() {
            if argument == "--long" {
                options.mib = 2048;
                options.budget = Budget { operations: u64::MAX, time: Duration::from_secs(3600) };
                continue;
            }
            let number: u64 = arguments.next()?.parse().ok()?;
            match argument.as_str() {
                "--mib" => options.mib = number as usize,
                "--seconds" => {
                    let time = Duration::from_secs(number);
                    options.budget = Budget { operations: u64::MAX, time };
                }
                "--operations" => options.budget.operations = number,
                "--seed" => options.seed = number,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        println!("large_pressure [--long | --mib N --seconds N --operations N --seed N]");
        return ExitCode::FAILURE;
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Skip(reason)) => {
            println!("{reason}");
            ExitCode::from(user_tests::SKIP)
        }
    }
}

/// Lets memory have folios of 64 KiB, and of 2 MiB where it asks for large ones.
fn choose_sizes() -> Result<Vec<Setting>, Skip> {
    let mut settings = thp::only(64, "always")?;
    settings.push(Setting::of_size(2048)?.to("madvise"));
    Ok(settings)
}

fn run(options: &Options) -> Result<bool, Skip> {
    pageout::needed()?;
    let _sizes = choose_sizes()?;
    // Requests are compared with folios.
    let _read_ahead = pageout::without_read_ahead()?;
    let before = counts::Counts::read();
    let chunks_each = options.mib / 2 / (NR_PROCESSES * THREADS_EACH);
    println!("pressure: {} MiB, seed {}", options.mib, options.seed);
    let children: Vec<_> = (0..NR_PROCESSES)
        .map(|process| {
            let first = (process * THREADS_EACH) as u64;
            process::fork(|| {
                let seed = options.seed << 8 | first;
                worker::run_threads(THREADS_EACH, seed, chunks_each, options.budget)
            })
        })
        .collect();
    let mut is_right = true;
    for child in children {
        let ended = child.wait();
        if ended != Ended::Exited(0) {
            println!("pressure: a process ended with {ended:?}");
            is_right = false;
        }
    }
    let counts = counts::Counts::read().since(&before);
    Ok(counts.report() && is_right)
}
