// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests a swap area with less room than what wants to go there.

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout::{self, Place, place};
use user_tests::process::{self, Ended};
use user_tests::trial::Skip;

user_tests::tests!(
    pages_that_find_no_slot_stay_in_memory,
    pressure_with_full_swap_kills_one_process
);

/// Four times what the machine's swap area holds.
const NR_PAGES: usize = 8192;

fn pages_that_find_no_slot_stay_in_memory() -> Result<(), Skip> {
    pageout::needed()?;
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).expect("madvise");
    let nr_out = mapping.pages().filter(|page| place(*page) == Place::Swap).count();
    let nr_in = mapping.pages().filter(|page| place(*page) == Place::Memory).count();
    assert!(nr_out > 0 && nr_in > 0, "{nr_out} pages out, {nr_in} in memory");
    assert_eq!(nr_out + nr_in, NR_PAGES);
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
    }
    Ok(())
}

fn pressure_with_full_swap_kills_one_process() -> Result<(), Skip> {
    pageout::needed()?;
    let own = Mapping::anonymous(512 * PAGE);
    own.pages().for_each(|page| memory::store_pattern(page, page as u64));
    let eater = process::fork(|| {
        process::no_handlers();
        let flags = memory::ANON | libc::MAP_NORESERVE;
        let Ok(mapping) = Mapping::new(1 << 30, memory::RW, flags) else { return 1 };
        mapping.pages().for_each(|page| memory::store(page, 1));
        0
    });
    assert_eq!(eater.wait(), Ended::Killed(libc::SIGKILL));
    for page in own.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
    }
    Ok(())
}
