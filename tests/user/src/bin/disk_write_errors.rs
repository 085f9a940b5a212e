// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests a swap disk that does not take some pages: they stay in memory, whole.
//!
//! On its machine, writes of the first three slots fail, and tests use every slot that there is.

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout;
use user_tests::tags;
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(pages_that_cannot_be_written_lose_nothing, tags_of_such_pages_lose_nothing);

/// Twice as many as there are slots: whichever are handed out first, in the end all are.
const NR_PAGES: usize = 4096;

fn pages_that_cannot_be_written_lose_nothing() -> Result<(), Skip> {
    pageout::needed()?;
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    // A large folio takes aligned slots, which those behind the header are not.
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_NOHUGEPAGE).expect("madvise");
    for round in 0..3 {
        mapping.pages().for_each(|page| memory::store_pattern(page, page as u64 + round));
        memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).expect("madvise");
        for page in mapping.pages() {
            assert_eq!(memory::first_difference(page, page as u64 + round), None, "{page:#x}");
        }
    }
    // All three were met, and none that the disk refused only because it had merged it with them.
    let failed = Counters::read().get("swpout_error");
    assert!(failed.is_none_or(|failed| failed == 3), "{failed:?} slots are bad");
    Ok(())
}

fn tags_of_such_pages_lose_nothing() -> Result<(), Skip> {
    pageout::needed()?;
    tags::needed_per_granule()?;
    let mapping = Mapping::tagged(NR_PAGES * PAGE);
    for page in mapping.pages() {
        memory::store_pattern(page, page as u64);
        tags::fill_page(page, page as u64);
    }
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).expect("madvise");
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
        assert_eq!(tags::first_difference(page, page as u64), None, "{page:#x}");
    }
    Ok(())
}
