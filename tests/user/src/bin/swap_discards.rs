// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program has swapon discard: the disk is told what nothing needs any more.
//!
//! Its machine has a second disk, where it makes an area.

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout::page_out;
use user_tests::swap::{self, DISCARD, DISCARD_ONCE, DISCARD_PAGES, Header, PREFER};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(
    the_whole_area_is_discarded_at_swapon,
    a_cluster_is_discarded_when_it_is_free,
    nothing_is_discarded_unless_asked_for,
);

const DISK: &str = "/dev/vdb";

/// Used before the machine's other area.
const FIRST: usize = PREFER | 10;

/// Pages of the area: three clusters of 512 slots, the first with the header in it.
const NR_PAGES: u32 = 1536;

fn swap_on(flags: usize) -> Result<Counters, Skip> {
    let _ = swap::off(DISK);
    if !swap::is_ours(DISK) {
        return Err(Skip("no second disk, or one that is in use"));
    }
    if Counters::read().get("blk_discards").is_none() {
        return Err(Skip("discards are not counted"));
    }
    swap::write_header(DISK, Some(&Header::of_pages(NR_PAGES)));
    let before = Counters::read();
    assert_eq!(swap::on(DISK, FIRST | flags), Ok(()));
    Ok(before)
}

fn nr_discards(before: &Counters) -> u64 {
    Counters::read().since(before, "blk_discards").expect("it is counted")
}

/// Fills all slots but those of the first cluster, and frees them.
fn use_and_free() {
    let mapping = Mapping::anonymous(NR_PAGES as usize * PAGE);
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_NOHUGEPAGE).expect("madvise");
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    page_out(mapping.range());
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
    }
}

fn the_whole_area_is_discarded_at_swapon() -> Result<(), Skip> {
    let before = swap_on(DISCARD | DISCARD_ONCE)?;
    assert_eq!(nr_discards(&before), 1);
    use_and_free();
    assert_eq!(swap::off(DISK), Ok(()));
    assert_eq!(nr_discards(&before), 1);
    Ok(())
}

fn a_cluster_is_discarded_when_it_is_free() -> Result<(), Skip> {
    let before = swap_on(DISCARD | DISCARD_PAGES)?;
    assert_eq!(nr_discards(&before), 0);
    // A CPU may have slots of a cluster in reserve: it is not wholly free then.
    while nr_discards(&before) == 0 {
        use_and_free();
        std::thread::yield_now();
    }
    use_and_free();
    assert_eq!(swap::off(DISK), Ok(()));
    Ok(())
}

fn nothing_is_discarded_unless_asked_for() -> Result<(), Skip> {
    // What says "only" means nothing alone.
    let before = swap_on(DISCARD_ONCE | DISCARD_PAGES)?;
    use_and_free();
    assert_eq!(swap::off(DISK), Ok(()));
    assert_eq!(nr_discards(&before), 0);
    Ok(())
}
