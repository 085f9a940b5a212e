// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures what threads do at once, one on each CPU, to parts of one region of 64 MiB.
//!
//! What is counted is the work of all CPUs together, per page: that of one thread alone, and what they
//! cost each other.

use std::ops::Range;
use std::sync::Barrier;
use std::thread;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout;
use user_tests::thp::BLOCK;

use crate::calls;
use crate::choice::Choice;
use crate::cost::{Cost, measured};
use crate::held::Held;
use crate::pages;
use crate::region::{self, Region};
use crate::report;

/// The section's name.
pub const SECTION: &str = "cpus";

/// Does something to a part of a region.
type Work = fn(&Part);

/// A thread's part.
struct Part {
    range: Range<usize>,
    /// As much address space, for what moves.
    to: usize,
}

/// Name; how the region is before; work of a thread.
const ROWS: [(&str, Prepare, Work); 7] = [
    ("fault_at_once", Prepare::Mapped, store),
    ("copy_on_write_at_once", Prepare::Shared, store),
    ("mprotect_at_once", Prepare::Filled, protect),
    ("mremap_at_once", Prepare::Filled, remap),
    ("munmap_at_once", Prepare::Filled, unmap),
    ("pageout_at_once", Prepare::Filled, page_out),
    ("refault_disk_at_once", Prepare::PagedOut, load),
];

/// What one thread does while the other CPUs have nothing to do.
const ALONE: [(&str, pages::Measure); 2] =
    [("fork_exit_smp", pages::fork_and_exit), ("swapoff_smp", pages::swap_off)];

/// How the region is when the threads start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Prepare {
    Mapped,
    Filled,
    /// With a child.
    Shared,
    PagedOut,
}

/// Measures the rows that were chosen, where there are several CPUs.
pub fn print(choice: &Choice) {
    let nr_cpus = thread::available_parallelism().map_or(1, |nr_cpus| nr_cpus.get());
    if nr_cpus < 2 {
        return;
    }
    for (name, prepare, work) in ROWS.into_iter().filter(|row| choice.has(SECTION, row.0)) {
        for kind in region::kinds() {
            let cost = |region| at_once(&region, nr_cpus, prepare, work);
            if let Some(cost) = Region::new(kind).and_then(cost) {
                report::cost(name, kind, &cost);
            }
        }
    }
    for (name, measure) in ALONE.into_iter().filter(|row| choice.has(SECTION, row.0)) {
        for kind in region::kinds() {
            if let Some(cost) = Region::new(kind).as_ref().and_then(measure) {
                report::cost(name, kind, &cost);
            }
        }
    }
    for (name, measure) in calls::BETWEEN_CPUS.into_iter().filter(|row| choice.has(SECTION, row.0))
    {
        if let Some(each) = measure() {
            report::value(name, each);
        }
    }
}

fn at_once(region: &Region, nr_threads: usize, prepare: Prepare, work: Work) -> Option<Cost> {
    let mapping = prepared(region, prepare)?;
    let start = Barrier::new(nr_threads + 1);
    let part = mapping.len_bytes() / nr_threads;
    let target = Mapping::aligned(region.len_bytes, BLOCK, libc::PROT_NONE).expect("mmap");
    let child = (prepare == Prepare::Shared).then(|| Held::fork(|| {}));
    let parts = mapping
        .range()
        .step_by(part)
        .map(|from| Part { range: from..from + part, to: from - mapping.start() + target.start() });
    let cost = thread::scope(|scope| {
        let threads: Vec<_> = parts
            .map(|part| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    work(&part);
                })
            })
            .collect();
        measured(region.nr_pages(), 0, || {
            start.wait();
            threads.into_iter().for_each(|thread| thread.join().expect("join"));
        })
    });
    if let Some(child) = child {
        child.release();
    }
    Some(cost)
}

fn prepared(region: &Region, prepare: Prepare) -> Option<Mapping> {
    if prepare == Prepare::Mapped {
        return Some(region.map());
    }
    let mapping = region.populated();
    if prepare == Prepare::PagedOut {
        pageout::needed().ok()?;
        pageout::page_out(mapping.range());
    }
    Some(mapping)
}

fn store(part: &Part) {
    part.range.clone().step_by(PAGE).for_each(|page| memory::store(page, page as u64));
}

fn load(part: &Part) {
    part.range.clone().step_by(PAGE).for_each(memory::touch);
}

fn protect(Part { range, .. }: &Part) {
    memory::mprotect(range.start, range.len(), libc::PROT_READ).expect("mprotect");
}

fn remap(Part { range, to }: &Part) {
    memory::remap(range.start, range.len(), *to).expect("mremap");
}

fn unmap(Part { range, .. }: &Part) {
    memory::munmap(range.start, range.len()).expect("munmap");
}

fn page_out(Part { range, .. }: &Part) {
    memory::madvise(range.start, range.len(), libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
}
