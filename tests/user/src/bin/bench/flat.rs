// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows whether allocating and freeing a frame costs the same however many are in use.

use std::time::Instant;

use user_tests::meminfo;
use user_tests::memory::{self, ANON, Mapping, PAGE, RW};

use crate::table;

/// Frames in use, from few to 4 GiB of them.
const IN_USE: [usize; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];

/// Pages that come and go while the others stay.
const WINDOW: usize = 256;
const ROUNDS: usize = 64;

/// Prints what a page costs that is touched and given back, for each number of frames in use that
/// memory permits.
pub fn print() {
    let nr_frames = meminfo::read("MemFree").unwrap_or(0) as usize / PAGE;
    for nr in IN_USE {
        let what = format!("fault and free of a page, {nr} frames in use");
        // Nothing is to be reclaimed meanwhile.
        match nr < nr_frames / 10 * 9 {
            true => table::line(&what, &cost(nr).to_string()),
            false => table::line(&what, "too little memory (--memory 6G)"),
        }
    }
}

fn cost(nr_in_use: usize) -> u64 {
    let others = Mapping::new(nr_in_use * PAGE, RW, ANON).expect("mmap");
    touch(&others);
    let window = Mapping::new(WINDOW * PAGE, RW, ANON).expect("mmap");
    come_and_go(&window);
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| come_and_go(&window));
    start.elapsed().as_nanos() as u64 / (ROUNDS * WINDOW) as u64
}

fn come_and_go(window: &Mapping) {
    touch(window);
    let whole = (window.start(), window.len_bytes());
    memory::madvise(whole.0, whole.1, libc::MADV_DONTNEED).expect("MADV_DONTNEED");
}

fn touch(mapping: &Mapping) {
    for page in mapping.pages() {
        memory::store_byte(page, 1);
    }
}
