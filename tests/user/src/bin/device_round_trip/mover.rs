// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a thread that moves other threads' memory to the device and back, in ranges of 4 KiB,
//! 64 KiB and 2 MiB, and to swap now and then, until enough has gone both ways.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use user_tests::dice::Dice;
use user_tests::dmirror::Dmirror;
use user_tests::memory::{self, PAGE};
use user_tests::thp::BLOCK;
use user_tests::vmstat::Counters;

use crate::writer::Whereabouts;

/// Pages of the ranges that are moved.
const SIZES: [usize; 3] = [1, 16, 512];

/// How often the counters are read.
const MOVES_PER_LOOK: usize = 16;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Pages that have gone to the device and come back.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    pub there: u64,
    pub back: u64,
}

impl Moved {
    /// Returns how many since `before`; all counted by the kernel.
    pub fn since(before: &Counters) -> Self {
        let now = Counters::read();
        let moved = |name| now.since(before, name).expect("the kernel counts migrations");
        Self { there: moved("device_migrate_in"), back: moved("device_migrate_out") }
    }

    /// Returns how many have gone both ways.
    pub fn both_ways(self) -> u64 {
        self.there.min(self.back)
    }
}

/// Moves ranges of `parts`, every other one a place where a writer is, until `goal` pages have gone both ways since `before`, or it is told to stop.
pub fn run(
    device: &Dmirror,
    parts: &[(Range<usize>, Whereabouts)],
    dice: &mut Dice,
    before: &Counters,
    goal: u64,
    stop: &AtomicBool,
) {
    let mut seen = vec![0; BLOCK];
    let mut told = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let moved = Moved::since(before);
        if moved.both_ways() >= goal {
            return;
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            println!("# {moved:?} of {goal} pages");
        }
        for _ in 0..MOVES_PER_LOOK {
            let (part, writer) = &parts[dice.roll(parts.len())];
            let len_bytes = SIZES[dice.roll(SIZES.len())] * PAGE;
            let within = match (dice.roll(2), writer.get()) {
                (0, at) if at != 0 => at - part.start,
                _ => dice.roll(part.len()),
            };
            // Parts begin with a block.
            let start = part.start + within / len_bytes * len_bytes;
            move_one(device, start..start + len_bytes, dice, &mut seen);
        }
    }
}

fn move_one(device: &Dmirror, range: Range<usize>, dice: &mut Dice, seen: &mut [u8]) {
    match dice.roll(16) {
        0..9 => match device.migrate_to_device_into(range, seen) {
            // Not all found room, or somebody touched a page before the device could look.
            Ok(()) | Err(libc::ENOENT) => {}
            Err(error) => panic!("to the device: error {error}"),
        },
        9..15 => match device.migrate_to_system(range) {
            // A page that finds no frame stays on the device.
            Ok(_) | Err(libc::ENOMEM) => {}
            Err(error) => panic!("to RAM: error {error}"),
        },
        _ => memory::madvise(range.start, range.len(), libc::MADV_PAGEOUT).expect("MADV_PAGEOUT"),
    }
}
