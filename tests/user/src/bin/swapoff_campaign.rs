// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program takes a full swap area out of service again and again, while four processes fault on its
//! pages, fork and exit. Nothing may be lost: no byte and no tag. Nothing may be left: no slot, no table of
//! slots, no record of tags, no request in flight. It goes round the address spaces once or twice, and no
//! more.
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
use user_tests::{meminfo, pageout, tags};

const DISK: &str = "/dev/vdb";
/// SWAP_FLAG_PREFER, with the highest priority.
const FIRST: usize = 0x8000 | 0x7fff;
const NR_PROCESSES: u64 = 4;
/// Every so many pages, one has tags that are not all 0.
const TAGGED_EACH: usize = 8;
/// The most rounds over all address spaces. Two, because an entry that a fault changes just when swapoff
/// looks at it is left to the next.
const MOST_ROUNDS: u64 = 2;

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

/// Pages, of which each has its own words, and some have tags.
struct Memory {
    mapping: Mapping,
    is_tagged: bool,
    /// A word that all processes see: set when they are to end.
    end: Mapping,
}

/// Granules of a page with tags: the first two have its tag.
const TAGGED_GRANULES: usize = 2;
/// Every sector, the least that a disk moves, has a word of its own.
const SECTOR: usize = 512;

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

    fn tag(&self, n: usize) -> u8 {
        if self.is_tagged && n.is_multiple_of(TAGGED_EACH) { 1 + (n % 15) as u8 } else { 0 }
    }

    /// Returns the pointer to the first word of a page, with the tag that it should have, and what
    /// should be there.
    fn first_word(&self, n: usize, run: usize) -> (usize, u64) {
        (tags::with_tag(self.mapping.page(n), self.tag(n)), word(n, run, 0))
    }

    fn fill(&self, n: usize, run: usize) {
        let page = self.mapping.page(n);
        let tag = self.tag(n);
        if tag != 0 {
            let granules = (0..TAGGED_GRANULES).map(|granule| page + granule * tags::GRANULE);
            granules.for_each(|granule| tags::store(tags::with_tag(granule, tag)));
        }
        for sector in 0..PAGE / SECTOR {
            memory::store(self.word_at(n, sector), word(n, run, sector));
        }
    }

    fn word_at(&self, n: usize, sector: usize) -> usize {
        let tag = if sector == 0 { self.tag(n) } else { 0 };
        tags::with_tag(self.mapping.page(n) + sector * SECTOR, tag)
    }

    /// Looks at the first word of a page. A wrong tag would be a signal.
    fn is_right(&self, n: usize, run: usize) -> bool {
        let (pointer, expected) = self.first_word(n, run);
        memory::load(pointer) == expected
    }

    /// Looks at every sector of a page, and at the tags of all granules, or of some where all are 0.
    fn is_all_right(&self, n: usize, run: usize) -> bool {
        let page = self.mapping.page(n);
        let is_tag = |granule| {
            let tag = if granule < TAGGED_GRANULES { self.tag(n) } else { 0 };
            tags::load(page + granule * tags::GRANULE) == tag
        };
        let step = if self.tag(n) == 0 { 64 } else { 1 };
        (0..PAGE / SECTOR)
            .all(|sector| memory::load(self.word_at(n, sector)) == word(n, run, sector))
            && (!self.is_tagged || (0..tags::GRANULES_PER_PAGE).step_by(step).all(is_tag))
    }

    fn run(&self, run: usize) {
        let start = Instant::now();
        memory::atomic(self.end.start()).store(0, Ordering::SeqCst);
        swap::write_header(DISK, Some(&Header::of_pages(self.nr_pages() as u32 + 1024)));
        (0..self.nr_pages()).for_each(|n| self.fill(n, run));
        let before = Counters::read();
        assert_eq!(swap::on(DISK, FIRST), Ok(()));
        pageout::page_out(self.mapping.range());
        let (_, used, _) = swap::area(DISK).expect("an area in service");
        assert_eq!(used as usize, self.mapping.len_bytes());
        let filled = start.elapsed();
        let children: Vec<Child> =
            (0..NR_PROCESSES).map(|seed| process::fork(|| self.disturb(seed, run))).collect();
        let off = Instant::now();
        assert_eq!(swap::off(DISK), Ok(()));
        let off = off.elapsed();
        // Nothing refers to the disk any more.
        assert_eq!(swap::area(DISK), None);
        swap::write_header(DISK, None);
        memory::atomic(self.end.start()).store(1, Ordering::SeqCst);
        for child in children {
            assert_eq!(child.wait(), Ended::Exited(0));
        }
        let wrong = (0..self.nr_pages()).find(|n| !self.is_all_right(*n, run));
        assert_eq!(wrong, None, "run {run}");
        let after = Counters::read();
        assert_nothing_left(&after);
        let since = |name| after.since(&before, name).unwrap_or(0);
        let rounds = since("swapoff_rounds");
        assert!(rounds <= MOST_ROUNDS, "{rounds} rounds");
        println!(
            "run {run}: {} ms to fill, {} for swapoff, {} in all; {rounds} rounds, {} pages in {} reads",
            filled.as_millis(),
            off.as_millis(),
            start.elapsed().as_millis(),
            since("pswpin"),
            since("blk_reads"),
        );
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

/// Returns the word that belongs at the start of a sector of a page.
fn word(n: usize, run: usize, sector: usize) -> u64 {
    ((run as u64) << 48 | (n as u64) << 16 | sector as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Checks, where the kernel counts it, that slots have left no tables and no tags, and that the disks have
/// nothing to do. On a machine as small as that of the tests, reclaim may have used the other area.
fn assert_nothing_left(now: &Counters) {
    if meminfo::read("SwapFree") == meminfo::read("SwapTotal") {
        for name in ["swap_metadata_pages", "mte_tag_bytes_stored"] {
            assert_eq!(now.get(name).unwrap_or(0), 0, "{name}");
        }
    }
    let started = ["blk_reads", "blk_writes", "blk_flushes", "blk_discards"];
    let started: Option<u64> = started.iter().map(|name| now.get(name)).sum();
    if let (Some(started), Some(retired)) = (started, now.get("blk_retired")) {
        assert_eq!(started, retired, "requests in flight");
    }
}
