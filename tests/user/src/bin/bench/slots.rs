// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows whether taking and freeing a swap slot costs the same however full the area is, and
//! what a slot takes of memory.

use user_tests::memory::{self, ANON, Mapping, PAGE, RW};
use user_tests::{meminfo, pageout, swap};

use crate::choice::Choice;
use crate::counter::count;
use crate::memory_use;
use crate::report;

/// The section's name.
pub const SECTION: &str = "slots";

/// Parts of the area, in percent, that are in use by other pages.
const IN_USE: [usize; 4] = [0, 50, 90, 99];

/// Pages that come and go while the others stay.
const WINDOW: usize = 256;
const ROUNDS: usize = 32;

/// Pages that are filled at a time, so that they need not all be in memory.
const CHUNK: usize = 4096;

/// Prints what it costs to page a page of zeroes out and to give it up, for areas of which other pages
/// have more and more. No request is needed for zeroes: what can vary is the search for slots.
pub fn print(choice: &Choice) {
    if !choice.has(SECTION, SECTION) {
        return;
    }
    let (Some(total), Some(free)) = (meminfo::read("SwapTotal"), meminfo::read("SwapFree")) else {
        return;
    };
    let nr_slots = total as usize / PAGE;
    if total == 0 || free != total {
        return;
    }
    let Some(area) = swap::first_area() else { return };
    swap::off(&area).expect("swapoff");
    let without = memory_use::of_kernel();
    swap::on(&area, 0).expect("swapon");
    let others = single_pages(nr_slots);
    let mut nr_filled = 0;
    for percent in IN_USE {
        let wanted = nr_slots / 100 * percent;
        while nr_filled < wanted {
            let nr = CHUNK.min(wanted - nr_filled);
            let start = others.page(nr_filled);
            (0..nr).for_each(|n| memory::store_byte(start + n * PAGE, 0));
            pageout::page_out(start..start + nr * PAGE);
            nr_filled += nr;
        }
        report::value(&format!("slots@{percent}%"), cost());
    }
    // Linux does not count it: there, what the kernel has now and had not without the area.
    let own = meminfo::read("SwapMetadata");
    let bytes = own.or_else(|| memory_use::of_kernel()?.checked_sub(without?));
    if let Some(bytes) = bytes {
        let each = bytes as f64 / nr_filled as f64;
        report::value("bytes_per_slot_in_use", format_args!("{each:.2}"));
    }
}

fn cost() -> u64 {
    let window = single_pages(WINDOW);
    come_and_go(&window);
    count(|| (0..ROUNDS).for_each(|_| come_and_go(&window))) / (ROUNDS * WINDOW) as u64
}

fn come_and_go(window: &Mapping) {
    let whole = (window.start(), window.len_bytes());
    for page in window.pages() {
        memory::store_byte(page, 0);
    }
    memory::madvise(whole.0, whole.1, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
    memory::madvise(whole.0, whole.1, libc::MADV_DONTNEED).expect("MADV_DONTNEED");
}

/// Maps memory that gets no large folios.
fn single_pages(nr: usize) -> Mapping {
    let mapping = Mapping::new(nr * PAGE, RW, ANON).expect("mmap");
    let len_bytes = mapping.len_bytes();
    // EINVAL where there are none.
    let _ = memory::madvise(mapping.start(), len_bytes, libc::MADV_NOHUGEPAGE);
    mapping
}
