// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows whether allocating and freeing a frame costs the same however many are in use.

use user_tests::meminfo;
use user_tests::memory::{self, ANON, Mapping, PAGE, RW};

use crate::choice::Choice;
use crate::counter::count;
use crate::report;

/// The section's name.
pub const SECTION: &str = "flat";

/// Frames in use, from few to 4 GiB of them.
const IN_USE: [usize; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];

/// Pages that come and go while the others stay.
const WINDOW: usize = 256;
const ROUNDS: usize = 64;

/// Prints what a page costs that is touched and given back, for each number of frames in use that
/// memory permits.
pub fn print(choice: &Choice) {
    if !choice.has(SECTION, SECTION) {
        return;
    }
    let nr_frames = meminfo::read("MemFree").unwrap_or(0) as usize / PAGE;
    // Nothing is to be reclaimed meanwhile.
    for nr in IN_USE.into_iter().filter(|nr| *nr < nr_frames / 10 * 9) {
        report::value(&format!("flat@{nr}"), cost(nr));
    }
}

fn cost(nr_in_use: usize) -> u64 {
    let others = Mapping::new(nr_in_use * PAGE, RW, ANON).expect("mmap");
    touch(&others);
    let window = Mapping::new(WINDOW * PAGE, RW, ANON).expect("mmap");
    come_and_go(&window);
    count(|| (0..ROUNDS).for_each(|_| come_and_go(&window))) / (ROUNDS * WINDOW) as u64
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
