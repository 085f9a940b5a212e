// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program takes a full swap area out of service again and again, while four processes fault on its
//! pages, fork and exit. Nothing may be lost, and nothing left.
//!
//! Without arguments this takes seconds, on a small machine. `--long` is 100,000 pages and 100 runs, for
//! the machine `swapoff`; `--pages N` and `--runs N` choose otherwise.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::process::{self, Child, Ended};
use user_tests::swap::{self, Header};
use user_tests::vmstat::Counters;
use user_tests::{pageout, tags};

const DISK: &str = "/dev/vdb";
/// SWAP_FLAG_PREFER, with the highest priority.
const FIRST: usize = 0x8000 | 0x7fff;
const NR_PROCESSES: u64 = 4;
/// Every so many pages, one has tags.
const TAGGED_EACH: usize = 8;

struct Options {
    nr_pages: usize,
    nr_runs: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { nr_pages: 3000, nr_runs: 2 };
        while let Some(argument) = arguments.next() {
            if argument == "--long" {
                options = Self { nr_pages: 100_000, nr_runs: 100 };
                continue;
            }
            let number = arguments.next()?.parse().ok()?;
            match argument.as_str() {
                "--pages" => options.nr_pages = number,
                "--runs" => options.nr_runs = number,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        println!("swapoff_campaign [--long | --pages N --runs N]");
        return ExitCode::FAILURE;
    };
    let _ = swap::off(DISK);
    if !swap::is_ours(DISK) {
        println!("no second disk, or one that is in use");
        return ExitCode::from(user_tests::SKIP);
    }
    let memory = Memory::new(options.nr_pages);
    for run in 0..options.nr_runs {
        memory.run(run);
    }
    ExitCode::SUCCESS
}

/// Pages, of which each has a number in its first word and, some, a tag.
struct Memory {
    mapping: Mapping,
    is_tagged: bool,
    /// A word that all processes see: set when they are to end.
    end: Mapping,
}

impl Memory {
    fn new(nr_pages: usize) -> Self {
        let is_tagged = tags::has_mte();
        if is_tagged {
            tags::check_at_once();
        }
        let len_bytes = nr_pages * PAGE;
        let mapping =
            if is_tagged { Mapping::tagged(len_bytes) } else { Mapping::anonymous(len_bytes) };
        let end = Mapping::new(PAGE, memory::RW, libc::MAP_SHARED).expect("mmap");
        Self { mapping, is_tagged, end }
    }

    fn nr_pages(&self) -> usize {
        self.mapping.len_bytes() / PAGE
    }

    /// Returns the pointer to a page that has the tag it should have, and its number in this run.
    fn expected(&self, n: usize, run: usize) -> (usize, u64) {
        let page = self.mapping.page(n);
        let tag =
            if self.is_tagged && n.is_multiple_of(TAGGED_EACH) { 1 + (n % 15) as u8 } else { 0 };
        (tags::with_tag(page, tag), ((run as u64) << 32) + n as u64)
    }

    fn is_right(&self, n: usize, run: usize) -> bool {
        let (pointer, number) = self.expected(n, run);
        // A wrong tag would be a signal.
        memory::load(pointer) == number
    }

    fn run(&self, run: usize) {
        memory::atomic(self.end.start()).store(0, Ordering::SeqCst);
        swap::write_header(DISK, Some(&Header::of_pages(self.nr_pages() as u32 + 1024)));
        for n in 0..self.nr_pages() {
            let (pointer, number) = self.expected(n, run);
            if self.is_tagged && n.is_multiple_of(TAGGED_EACH) {
                tags::store(pointer);
            }
            memory::store(pointer, number);
        }
        let saved = Counters::read().get("mte_tags_saved").unwrap_or(0);
        assert_eq!(swap::on(DISK, FIRST), Ok(()));
        pageout::page_out(self.mapping.range());
        let (_, used, _) = swap::area(DISK).expect("an area in service");
        assert_eq!(used as usize, self.mapping.len_bytes());
        let children: Vec<Child> =
            (0..NR_PROCESSES).map(|seed| process::fork(|| self.disturb(seed, run))).collect();
        let start = Instant::now();
        assert_eq!(swap::off(DISK), Ok(()));
        let took = start.elapsed();
        // Nothing refers to the disk any more.
        assert_eq!(swap::area(DISK), None);
        swap::write_header(DISK, None);
        memory::atomic(self.end.start()).store(1, Ordering::SeqCst);
        for child in children {
            assert_eq!(child.wait(), Ended::Exited(0));
        }
        let wrong = (0..self.nr_pages()).find(|n| !self.is_right(*n, run));
        assert_eq!(wrong, None, "run {run}");
        let saved = Counters::read().get("mte_tags_saved").unwrap_or(0) - saved;
        println!("run {run}: swapoff took {} ms, {saved} pages had tags", took.as_millis());
    }

    /// Faults, forks and exits until swapoff is through.
    fn disturb(&self, seed: u64, run: usize) -> i32 {
        let mut state = seed + 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % self.nr_pages()
        };
        while memory::atomic(self.end.start()).load(Ordering::SeqCst) == 0 {
            if !(0..100).all(|_| self.is_right(next(), run)) {
                return 1;
            }
            let some: Vec<usize> = (0..10).map(|_| next()).collect();
            let child = process::fork(|| i32::from(!some.iter().all(|n| self.is_right(*n, run))));
            if child.wait() != Ended::Exited(0) {
                return 2;
            }
        }
        0
    }
}
