// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures operations on a region of 64 MiB.

use core::arch::asm;
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::AsRawFd;
use std::time::Instant;

use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::process::{self, Child};
use user_tests::thp::{self, Setting};
use user_tests::vmstat::Counters;
use user_tests::{pageout, sys, tags};

use crate::size::Size;

const LEN_BYTES: usize = 64 << 20;

/// Pages of a region.
pub const NR_PAGES: usize = LEN_BYTES / PAGE;

/// Rounds of a loop that is measured on its own.
const NR_ROUNDS: u64 = 100_000;

/// Granules of an object of 64 bytes, all of which an allocator gives the same tag.
const OBJECT: usize = 4;

/// How the memory is that operations are measured on.
#[derive(Debug)]
pub struct Region {
    is_tagged: bool,
    /// Has memory get folios of one size.
    _size: Vec<Setting>,
}

/// What an operation has cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Nanoseconds (instructions, in virtual time) a page.
    pub each: u64,
    /// TLB invalidations in all.
    pub tlbis: Option<u64>,
    /// Requests to the disk in all.
    pub requests: Option<u64>,
}

impl Region {
    /// Makes memory that is mapped from now on have folios of `size`, until the region is dropped.
    /// `None` where there are none of that size, or no tags.
    pub fn new(size: Size, is_tagged: bool) -> Option<Self> {
        let is_possible = !is_tagged || tags::has_mte();
        is_possible.then(|| Some(Self { is_tagged, _size: size.choose()? })).flatten()
    }

    fn map(&self) -> Mapping {
        let protection = if self.is_tagged { RW | PROT_MTE } else { RW };
        Mapping::aligned(LEN_BYTES, thp::BLOCK, protection).expect("mmap")
    }

    /// Maps a region and fills it: a word in each page, and tags as an allocator of objects of 64
    /// bytes sets them.
    pub fn populated(&self) -> Mapping {
        let mapping = self.map();
        store_each(&mapping);
        if self.is_tagged {
            for page in mapping.pages() {
                for granule in 0..tags::GRANULES_PER_PAGE {
                    let tag = tags::pseudo_random(page as u64, granule / OBJECT);
                    tags::store(tags::with_tag(page + granule * tags::GRANULE, tag));
                }
            }
        }
        mapping
    }
}

/// Measures `work`, which goes through all pages of a region in loops of `own` nanoseconds.
fn measured(own: u64, work: impl FnOnce()) -> Cost {
    let before = Counters::read();
    let start = Instant::now();
    mark::<BEGIN>();
    work();
    mark::<END>();
    let time = start.elapsed().as_nanos() as u64;
    let after = Counters::read();
    Cost {
        each: time.saturating_sub(own) / NR_PAGES as u64,
        tlbis: after.sum_since(&before, &["tlbi_page", "tlbi_range", "tlbi_asid"]),
        requests: after.sum_since(&before, &["blk_reads", "blk_writes"]),
    }
}

/// Numbers of the hints that stand before and behind what is measured, for a plugin of the emulator.
const BEGIN: u32 = 112;
const END: u32 = 113;

/// Executes a hint that processors ignore.
fn mark<const NUMBER: u32>() {
    // SAFETY: it does nothing.
    unsafe { asm!("hint #{number}", number = const NUMBER, options(nomem, nostack)) };
}

/// Returns how long `work` takes, in nanoseconds.
fn time(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as u64
}

/// Returns whether the clock counts instructions: whether a loop takes as many nanoseconds as it has
/// instructions. The best of some runs is taken, one without an interrupt.
pub fn clock_counts_instructions() -> bool {
    let best = |rounds: u64| (0..8).map(|_| time(|| spin(rounds))).min().unwrap_or(0);
    // The clock's own cost is in both.
    let more = best(2 * NR_ROUNDS).saturating_sub(best(NR_ROUNDS));
    more.abs_diff(2 * NR_ROUNDS) < NR_ROUNDS / 100
}

/// Runs two instructions a round.
fn spin(rounds: u64) {
    // SAFETY: the loop touches one register.
    unsafe {
        asm!("2:", "subs {rounds}, {rounds}, #1", "b.ne 2b", rounds = inout(reg) rounds => _,
            options(nomem, nostack));
    }
}

/// Returns what a system call costs that does nothing.
pub fn null_call() -> u64 {
    let calls = time(|| {
        // SAFETY: getppid changes nothing but X0.
        unsafe {
            asm!("2:", "svc #0", "subs {rounds}, {rounds}, #1", "b.ne 2b",
                rounds = inout(reg) NR_ROUNDS => _, in("x8") libc::SYS_getppid,
                lateout("x0") _, options(nostack));
        }
    });
    calls.saturating_sub(time(|| spin(NR_ROUNDS))) / NR_ROUNDS
}

/// Stores a word to each page.
fn store_each(mapping: &Mapping) {
    mapping.pages().for_each(|page| memory::store(page, page as u64));
}

/// Loads a word of each page.
fn load_each(mapping: &Mapping) {
    for page in mapping.pages() {
        memory::load(page);
    }
}

/// Measures the first store to each page.
pub fn fault(region: Region) -> Option<Cost> {
    let mapping = region.map();
    let own = own_time_of_stores();
    Some(measured(own, || store_each(&mapping)))
}

/// Measures fork with a child that ends at once, and its end.
pub fn fork_and_exit(region: Region) -> Option<Cost> {
    let _mapping = region.populated();
    Some(measured(0, || {
        process::fork(|| 0).wait();
    }))
}

/// Measures a store to each page while a child has it too.
pub fn copy_on_write(region: Region) -> Option<Cost> {
    let mapping = region.populated();
    let own = own_time_of_stores();
    let child = Held::fork(|| {});
    let cost = measured(own, || store_each(&mapping));
    child.release();
    Some(cost)
}

/// Measures mprotect, to read-only and back, as the mean of the two.
pub fn protect(region: Region) -> Option<Cost> {
    let mapping = region.populated();
    let mut cost = measured(0, || {
        memory::mprotect(mapping.start(), LEN_BYTES, libc::PROT_READ).expect("mprotect");
        memory::mprotect(mapping.start(), LEN_BYTES, RW).expect("mprotect");
    });
    cost.each /= 2;
    Some(cost)
}

/// Measures MADV_PAGEOUT.
pub fn pageout(region: Region) -> Option<Cost> {
    pageout::needed().ok()?;
    let mapping = region.populated();
    Some(measured(0, || advise_pageout(&mapping)))
}

/// Measures loads of pages that are in no page table, but in the swap cache: because a child that
/// has the same swap slots has just read them.
pub fn refault_from_cache(region: Region) -> Option<Cost> {
    pageout::needed().ok()?;
    let mapping = region.populated();
    pageout::page_out(mapping.range());
    let own = own_time_of_loads();
    let child = Held::fork(|| load_each(&mapping));
    let cost = measured(own, || load_each(&mapping));
    child.release();
    Some(cost)
}

/// Measures loads of pages that are on the disk.
pub fn refault_from_disk(region: Region) -> Option<Cost> {
    pageout::needed().ok()?;
    let mapping = region.populated();
    pageout::page_out(mapping.range());
    let own = own_time_of_loads();
    Some(measured(own, || load_each(&mapping)))
}

/// Measures munmap.
pub fn unmap(region: Region) -> Option<Cost> {
    let mapping = region.populated();
    Some(measured(0, || drop(mapping)))
}

/// Measures munmap of pages that are on the disk.
pub fn unmap_swapped(region: Region) -> Option<Cost> {
    pageout::needed().ok()?;
    let mapping = region.populated();
    pageout::page_out(mapping.range());
    Some(measured(0, || drop(mapping)))
}

/// Pushes a region out and returns how many bytes the tags of how many pages take.
pub fn stored_tags(mapping: &Mapping) -> Option<(u64, u64)> {
    const KINDS: [(&str, u64); 4] =
        [("mte_tag_16", 16), ("mte_tag_32", 32), ("mte_tag_64", 64), ("mte_tag_raw", 128)];
    pageout::needed().ok()?;
    let before = Counters::read();
    advise_pageout(mapping);
    let after = Counters::read();
    let bytes: Option<u64> =
        KINDS.iter().map(|(name, bytes)| Some(after.since(&before, name)? * bytes)).sum();
    bytes.zip(after.since(&before, "mte_tags_saved").filter(|nr_pages| *nr_pages > 0))
}

fn advise_pageout(mapping: &Mapping) {
    memory::madvise(mapping.start(), LEN_BYTES, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
}

/// Returns how long the loop of `store_each` takes when nothing faults.
fn own_time_of_stores() -> u64 {
    let mapping = resident();
    time(|| store_each(&mapping))
}

/// Returns how long the loop of `load_each` takes when nothing faults.
fn own_time_of_loads() -> u64 {
    let mapping = resident();
    time(|| load_each(&mapping))
}

fn resident() -> Mapping {
    let mapping = Mapping::new(LEN_BYTES, RW, ANON).expect("mmap");
    store_each(&mapping);
    mapping
}

/// A child that waits until it is released.
struct Held {
    child: Child,
    release: PipeWriter,
}

impl Held {
    /// Forks a child that runs `body` and then waits; returns once it waits.
    fn fork(body: impl FnOnce()) -> Self {
        let (mut ready, is_ready) = std::io::pipe().expect("pipe");
        let (released, release) = std::io::pipe().expect("pipe");
        let (ready_fd, release_fd) = (ready.as_raw_fd(), release.as_raw_fd());
        let is_ready_fd = is_ready.as_raw_fd();
        let child = process::fork(|| {
            close(ready_fd);
            close(release_fd);
            body();
            close(is_ready_fd);
            wait_for_end(&released);
            0
        });
        drop(is_ready);
        // The child closes the other end when it is ready.
        assert_eq!(ready.read(&mut [0]).expect("read"), 0);
        Self { child, release }
    }

    fn release(self) {
        drop(self.release);
        self.child.wait();
    }
}

fn wait_for_end(mut pipe: &PipeReader) {
    assert_eq!(pipe.read(&mut [0]).expect("read"), 0);
}

fn close(fd: i32) {
    sys::call(libc::SYS_close, [fd as usize]).expect("close");
}
