// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures what is done to a region of 64 MiB, per page of 4 KiB.

use user_tests::memory::{self, Mapping, RW};
use user_tests::thp::BLOCK;
use user_tests::{pageout, process, swap};

use crate::choice::Choice;
use crate::cost::{Cost, measured};
use crate::disk;
use crate::held::Held;
use crate::region::{self, Region, load_each, store_each};
use crate::report;

/// The section's name.
pub const SECTION: &str = "pages";

/// Measures an operation. `None`: not on this machine.
pub type Measure = fn(&Region) -> Option<Cost>;

const ROWS: [(&str, Measure); 14] = [
    ("fault", fault),
    ("fork_exit", fork_and_exit),
    ("copy_on_write", copy_on_write),
    ("mprotect", protect),
    ("mremap", remap),
    ("munmap", unmap),
    ("pageout", pageout),
    ("pageout_zeroes", pageout_of_zeroes),
    ("refault_cache", refault_from_cache),
    ("refault_disk", refault_from_disk),
    ("munmap_swapped", unmap_swapped),
    ("swapoff", swap_off),
    ("disk_write", disk::write),
    ("disk_read", disk::read),
];

/// Measures the rows that were chosen, on memory of each kind.
pub fn print(choice: &Choice) {
    for (name, measure) in ROWS.into_iter().filter(|row| choice.has(SECTION, row.0)) {
        for kind in region::kinds().filter(|kind| choice.has_kind(name, *kind)) {
            if let Some(cost) = Region::new(kind).as_ref().and_then(measure) {
                report::cost(name, kind, &cost);
            }
        }
    }
}

/// Measures the first store to each page.
fn fault(region: &Region) -> Option<Cost> {
    let mapping = region.map();
    let own = region.own_count_of_stores();
    Some(measured(region.nr_pages(), own, || store_each(&mapping)))
}

/// Measures fork with a child that ends at once, and its end.
pub fn fork_and_exit(region: &Region) -> Option<Cost> {
    let _mapping = region.populated();
    Some(measured(region.nr_pages(), 0, fork_once))
}

/// Forks a child that ends at once, and waits for it.
pub fn fork_once() {
    process::fork(|| 0).wait();
}

/// Measures a store to each page while a child has it too.
fn copy_on_write(region: &Region) -> Option<Cost> {
    let mapping = region.populated();
    let own = region.own_count_of_stores();
    let child = Held::fork(|| {});
    let cost = measured(region.nr_pages(), own, || store_each(&mapping));
    child.release();
    Some(cost)
}

/// Measures mprotect, to read-only and back, as the mean of the two.
fn protect(region: &Region) -> Option<Cost> {
    let mapping = region.populated();
    let mut cost = measured(region.nr_pages(), 0, || {
        let [start, len] = [mapping.start(), mapping.len_bytes()];
        memory::mprotect(start, len, libc::PROT_READ).expect("mprotect");
        memory::mprotect(start, len, RW).expect("mprotect");
    });
    cost.each /= 2;
    Some(cost)
}

/// Measures the move to another address, with the same place in a block.
fn remap(region: &Region) -> Option<Cost> {
    let from = region.populated();
    let to = Mapping::aligned(region.len_bytes, BLOCK, libc::PROT_NONE).expect("mmap");
    Some(measured(region.nr_pages(), 0, || {
        memory::remap(from.start(), from.len_bytes(), to.start()).expect("mremap");
    }))
}

/// Measures munmap.
fn unmap(region: &Region) -> Option<Cost> {
    let mapping = region.populated();
    Some(measured(region.nr_pages(), 0, || drop(mapping)))
}

/// Measures MADV_PAGEOUT.
fn pageout(region: &Region) -> Option<Cost> {
    pageout::needed().ok()?;
    let mapping = region.populated();
    Some(measured(region.nr_pages(), 0, || advise_pageout(&mapping)))
}

/// Measures MADV_PAGEOUT of pages of zeroes, for which no kernel need ask the disk.
fn pageout_of_zeroes(region: &Region) -> Option<Cost> {
    pageout::needed().ok()?;
    let mapping = region.map();
    mapping.pages().for_each(|page| memory::store(page, 0));
    Some(measured(region.nr_pages(), 0, || advise_pageout(&mapping)))
}

/// Asks for a mapping to be paged out, once.
fn advise_pageout(mapping: &Mapping) {
    let (start, len_bytes) = (mapping.start(), mapping.len_bytes());
    memory::madvise(start, len_bytes, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
}

/// Measures loads of pages that are in no page table, but in the swap cache: because a child that
/// has the same swap slots has just read them.
fn refault_from_cache(region: &Region) -> Option<Cost> {
    let mapping = paged_out(region)?;
    let own = region.own_count_of_loads();
    let child = Held::fork(|| load_each(&mapping));
    let cost = measured(region.nr_pages(), own, || load_each(&mapping));
    child.release();
    Some(cost)
}

/// Measures loads of pages that are on the disk.
fn refault_from_disk(region: &Region) -> Option<Cost> {
    let mapping = paged_out(region)?;
    let own = region.own_count_of_loads();
    Some(measured(region.nr_pages(), own, || load_each(&mapping)))
}

/// Measures munmap of pages that are on the disk.
fn unmap_swapped(region: &Region) -> Option<Cost> {
    let mapping = paged_out(region)?;
    Some(measured(region.nr_pages(), 0, || drop(mapping)))
}

/// Measures swapoff of an area that has the pages, and nearly nothing else.
pub fn swap_off(region: &Region) -> Option<Cost> {
    let area = swap::first_area()?;
    let _mapping = paged_out(region)?;
    let cost = measured(region.nr_pages(), 0, || swap::off(&area).expect("swapoff"));
    swap::on(&area, 0).expect("swapon");
    Some(cost)
}

fn paged_out(region: &Region) -> Option<Mapping> {
    pageout::needed().ok()?;
    let mapping = region.populated();
    pageout::page_out(mapping.range());
    Some(mapping)
}
