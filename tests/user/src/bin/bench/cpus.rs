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

use crate::choice::Choice;
use crate::cost::{Cost, measured};
use crate::region::{self, Region};
use crate::report;

/// The section's name.
pub const SECTION: &str = "cpus";

/// Does something to a part of a region.
type Work = fn(Range<usize>);

/// Name; whether the region is filled before; work of a thread.
const ROWS: [(&str, Prepare, Work); 5] = [
    ("fault_at_once", Prepare::Mapped, store),
    ("mprotect_at_once", Prepare::Filled, protect),
    ("munmap_at_once", Prepare::Filled, unmap),
    ("pageout_at_once", Prepare::Filled, page_out),
    ("refault_disk_at_once", Prepare::PagedOut, load),
];

/// How the region is when the threads start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Prepare {
    Mapped,
    Filled,
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
}

fn at_once(region: &Region, nr_threads: usize, prepare: Prepare, work: Work) -> Option<Cost> {
    let mapping = prepared(region, prepare)?;
    let start = Barrier::new(nr_threads + 1);
    let part = mapping.len_bytes() / nr_threads;
    let parts = mapping.range().step_by(part).map(|from| from..from + part);
    let cost = thread::scope(|scope| {
        let threads: Vec<_> = parts
            .map(|part| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    work(part);
                })
            })
            .collect();
        measured(region.nr_pages(), 0, || {
            start.wait();
            threads.into_iter().for_each(|thread| thread.join().expect("join"));
        })
    });
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

fn store(part: Range<usize>) {
    part.step_by(PAGE).for_each(|page| memory::store(page, page as u64));
}

fn load(part: Range<usize>) {
    part.step_by(PAGE).for_each(memory::touch);
}

fn protect(part: Range<usize>) {
    memory::mprotect(part.start, part.len(), libc::PROT_READ).expect("mprotect");
}

fn unmap(part: Range<usize>) {
    memory::munmap(part.start, part.len()).expect("munmap");
}

fn page_out(part: Range<usize>) {
    memory::madvise(part.start, part.len(), libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
}
