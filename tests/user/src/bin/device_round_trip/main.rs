// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program sends its memory to a device of 64 MiB and back while four threads write to it, and
//! compares every byte and every tag.
//!
//! Each writer has a part of its own (`writer.rs`): it compares a page with what it wrote there last
//! (`content.rs`), writes the next generation of words and tags, now and then gives a block of 2 MiB
//! back, and now and then has the device say what it sees. Two more threads move ranges of anybody's
//! memory from under the writers (`mover.rs`); in the long form there is more of it than the device
//! has. The test ends when the kernel has counted so many pages there and back.
//!
//! Without arguments this takes seconds: 16 MiB. `--long` is 1 GiB. `--mib N` (there and back),
//! `--blocks N` (of 2 MiB, of each writer) and `--seed N` choose otherwise.

mod content;
mod mover;
mod writer;

use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use user_tests::dice::Dice;
use user_tests::dmirror::{Dmirror, PROT_LOCAL};
use user_tests::thp::{self, Setting};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;
use user_tests::{pageout, tags};

use mover::Moved;
use writer::{Part, Whereabouts};

const NR_WRITERS: usize = 4;
const NR_MOVERS: usize = 2;

/// What the arguments ask for.
struct Options {
    mib: u64,
    blocks_each: usize,
    seed: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { mib: 16, blocks_each: 3, seed: 1 };
        while let Some(argument) = arguments.next() {
            if argument == "--long" {
                (options.mib, options.blocks_each) = (1024, 12);
                continue;
            }
            let number: u64 = arguments.next()?.parse().ok()?;
            match argument.as_str() {
                "--mib" => options.mib = number,
                "--blocks" => options.blocks_each = number as usize,
                "--seed" => options.seed = number,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        println!("device_round_trip [--long | --mib N --blocks N --seed N]");
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
    tags::needed_per_granule()?;
    pageout::needed()?;
    let device = Dmirror::open(0)?;
    let _sizes = choose_sizes()?;
    writer::prepare();
    let mut parts: Vec<Part> =
        (0..NR_WRITERS as u64).map(|number| Part::new(number, options.blocks_each)).collect();
    let places: Vec<_> = parts.iter().map(Part::memory).collect();
    let before = Counters::read();
    let is_right = run_threads(options, &device, &mut parts, &before);
    let moved = Moved::since(&before);
    println!("round trip: {moved:?} pages, seed {}", options.seed);
    for place in places {
        device.release(place.clone()).expect("room for what comes home");
        let bytes = device.snapshot(place).expect("a snapshot");
        assert!(bytes.iter().all(|byte| byte & PROT_LOCAL == 0), "a page is left on the device");
    }
    Ok(is_right)
}

/// Returns whether everything was found as it was written.
fn run_threads(options: &Options, device: &Dmirror, parts: &mut [Part], before: &Counters) -> bool {
    let place = |part: &Part| (part.memory(), Whereabouts::default());
    let places: Vec<_> = parts.iter().map(place).collect();
    let (stop, places, goal) = (&AtomicBool::new(false), &*places, options.mib << 8);
    let all_are_there = &Barrier::new(NR_WRITERS + NR_MOVERS);
    let dice = |thread: usize| Dice::new(options.seed << 8 | thread as u64);
    std::thread::scope(|scope| {
        let writers = parts.iter_mut().enumerate().map(|(thread, part)| {
            let mut dice = dice(thread);
            scope.spawn(move || {
                writer::prepare();
                all_are_there.wait();
                let done = part.run(device, &mut dice, &places[thread].1, stop);
                stop.store(true, Ordering::Relaxed);
                done
            })
        });
        let writers: Vec<_> = writers.collect();
        let movers = (NR_WRITERS..NR_WRITERS + NR_MOVERS).map(|thread| {
            let mut dice = dice(thread);
            scope.spawn(move || {
                all_are_there.wait();
                mover::run(device, places, &mut dice, before, goal, stop);
                stop.store(true, Ordering::Relaxed);
            })
        });
        let movers: Vec<_> = movers.collect();
        movers.into_iter().for_each(|mover| mover.join().expect("a mover panicked"));
        let results = writers.into_iter().map(|writer| writer.join().expect("a writer panicked"));
        results.enumerate().fold(true, |is_right, (writer, result)| match result {
            Ok(done) => {
                println!("writer {writer}: {done:?}");
                is_right
            }
            Err(mismatch) => {
                println!("writer {writer}: MISMATCH {mismatch}");
                false
            }
        })
    })
}
