// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program swaps out as many pages as its argument says, 8 without one, asks the console for
//! the counters and swaps out as many again.

use std::fs;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout;

fn main() {
    let nr_pages = std::env::args().nth(1).map_or(8, |count| count.parse().expect("a count"));
    if pageout::needed().is_err() {
        println!("no swap");
        std::process::exit(4);
    }
    swap_out(nr_pages);
    fs::write("/proc/sysrq-trigger", "m").expect("/proc/sysrq-trigger");
    swap_out(nr_pages);
}

fn swap_out(nr_pages: usize) {
    let pages = Mapping::anonymous(nr_pages * PAGE);
    pages.pages().for_each(|page| memory::store(page, 1));
    pageout::page_out(pages.range());
}
