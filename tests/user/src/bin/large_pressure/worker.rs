// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has threads and children do things to chunks, and reports what they find wrong.
//!
//! A thread that unmaps or moves part of a chunk leaves a hole, and what another thread maps
//! without saying where may come to lie there. So no thread allocates memory while others run: all
//! is allocated before they begin.

use std::io::Write;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use user_tests::folios;
use user_tests::memory::{self, ANON};
use user_tests::process::{self, Child, Ended};
use user_tests::sys;
use user_tests::thp::BLOCK;

use crate::chunk::Chunk;
use crate::oracle::Mismatch;
use user_tests::dice::Dice;

/// Children of one thread at a time.
const MOST_CHILDREN: usize = 2;

/// Operations of a child.
const OPERATIONS_OF_CHILD: usize = 8;

/// How often a thread says how far it is.
const SAYS: Duration = Duration::from_secs(10);

/// How long a thread goes on: until one of both is used up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Operations of each thread.
    pub operations: u64,
    /// Time from its start.
    pub time: Duration,
}

/// Runs threads, each with chunks of its own, and returns the exit code of their process.
pub fn run_threads(nr: usize, seed: u64, nr_chunks: usize, budget: Budget) -> i32 {
    let workers: Vec<_> =
        (0..nr as u64).map(|thread| Worker::new(seed + thread, nr_chunks)).collect();
    let all_are_there = Barrier::new(nr);
    let nr_wrong: usize = std::thread::scope(|scope| {
        let start = |mut worker: Worker| {
            let all_are_there = &all_are_there;
            scope.spawn(move || {
                all_are_there.wait();
                let nr_wrong = worker.run(budget);
                // What a thread frees may be unmapped: after the others have done with their holes.
                all_are_there.wait();
                nr_wrong
            })
        };
        let threads: Vec<_> = workers.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum()
    });
    i32::from(nr_wrong != 0)
}

/// A thread, or a child, and its chunks.
struct Worker {
    seed: u64,
    dice: Dice,
    /// Where its chunks are, and behind them room for one that moves.
    place: usize,
    nr_chunks: usize,
    chunks: Vec<Chunk>,
    children: Vec<Child>,
    is_child: bool,
    nr_wrong: usize,
}

impl Worker {
    fn new(seed: u64, nr_chunks: usize) -> Self {
        let place = folios::place_for((nr_chunks + 2) * BLOCK);
        // Kept from others until chunks are there.
        let (len_bytes, flags) = ((nr_chunks + 2) * BLOCK, ANON | libc::MAP_FIXED);
        memory::mmap(place, len_bytes, libc::PROT_NONE, flags, -1, 0).expect("mmap");
        let chunk = |index: usize| {
            let number = seed << 32 | (index << 9) as u64;
            Chunk::new(place + index * BLOCK, number)
        };
        let chunks = (0..nr_chunks).map(chunk).collect();
        let (dice, children) = (Dice::new(seed), Vec::with_capacity(MOST_CHILDREN));
        Self { seed, dice, place, nr_chunks, chunks, children, is_child: false, nr_wrong: 0 }
    }

    fn run(&mut self, budget: Budget) -> usize {
        let (start, mut said) = (Instant::now(), Instant::now());
        for chunk in &mut self.chunks {
            chunk.make_anew(&mut self.dice);
        }
        let mut done = 0;
        while done < budget.operations && start.elapsed() < budget.time {
            self.step();
            done += 1;
            if said.elapsed() > SAYS {
                said = Instant::now();
                self.say(format_args!("{done} operations, {} s", start.elapsed().as_secs()));
            }
        }
        self.children.drain(..).for_each(|child| self.nr_wrong += wait(child));
        for index in 0..self.chunks.len() {
            let result = self.chunks[index].check_all();
            self.note(result);
            if said.elapsed() > SAYS {
                said = Instant::now();
                let time = start.elapsed().as_secs();
                self.say(format_args!("looked at {index} of {} chunks, {time} s", self.nr_chunks));
            }
        }
        let (time, wrong) = (start.elapsed().as_secs(), self.nr_wrong);
        self.say(format_args!("{done} operations, {time} s, {wrong} mismatches"));
        self.nr_wrong
    }

    /// Does one thing to some chunk.
    fn step(&mut self) {
        let index = self.dice.roll(self.chunks.len());
        let place = self.place + self.nr_chunks * BLOCK;
        let (chunk, dice) = (&mut self.chunks[index], &mut self.dice);
        let mut result = Ok(());
        match dice.roll(100) {
            0..30 => result = chunk.check_some(dice),
            30..55 => chunk.store(dice),
            55..65 => chunk.retag(dice),
            65..73 => chunk.make_hole(dice),
            73..78 => result = chunk.protect(dice),
            78..82 => chunk.make_tagged(dice),
            82..90 => chunk.page_out(dice),
            90..93 => result = chunk.move_there_and_back(place, dice),
            93..97 => chunk.make_anew(dice),
            _ => self.fork(),
        }
        self.note(result);
    }

    /// Has a child go on with its copy of the memory.
    fn fork(&mut self) {
        if self.is_child {
            return;
        }
        if self.children.len() == MOST_CHILDREN {
            self.nr_wrong += wait(self.children.remove(0));
        }
        let seed = self.dice.number();
        let child = process::try_fork(|| {
            (self.is_child, self.dice, self.nr_wrong) = (true, Dice::new(seed), 0);
            (0..OPERATIONS_OF_CHILD).for_each(|_| self.step());
            i32::from(self.nr_wrong != 0)
        });
        match child {
            Ok(child) => self.children.push(child),
            Err(error) => self.say(format_args!("fork: error {error}")),
        }
    }

    fn note(&mut self, result: Result<(), Mismatch>) {
        if let Err(mismatch) = result {
            self.nr_wrong += 1;
            self.say(format_args!("MISMATCH {mismatch}"));
        }
    }

    /// Writes a line with one call: a child of a process with threads shares no lock with anybody.
    fn say(&self, text: std::fmt::Arguments<'_>) {
        let mut line = [0u8; 160];
        let mut left = &mut line[..];
        // A longer one is cut.
        let _ = writeln!(left, "pressure: worker {:#x}, {}: {text}", self.seed, process::pid());
        let len = 160 - left.len();
        let _ = sys::call(libc::SYS_write, [1, line.as_ptr().expose_provenance(), len]);
    }
}

/// Returns whether a child found something wrong, as a number.
fn wait(child: Child) -> usize {
    usize::from(child.wait() != Ended::Exited(0))
}
