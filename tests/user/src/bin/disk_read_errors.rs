// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests a swap disk that does not give some pages back: SIGBUS to who touches them.
//!
//! On its machine, reads of slots 16 to 18 fail. Elsewhere all pages come back.

use user_tests::fault::{self, BUS_ADRERR, Fault};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout::{self, page_out, swap_slot};
use user_tests::process::{self, Ended};
use user_tests::trial::Skip;

user_tests::tests!(
    s000_r15_lost_page_is_sigbus_and_its_neighbours_are_intact,
    lost_page_kills_the_one_who_touches_it,
    lost_page_can_be_given_up_and_used_again,
);

/// Enough that slots of every CPU's cluster are used, the first one's too.
const NR_PAGES: usize = 4096;

/// The slots that cannot be read.
const BAD_SLOTS: core::ops::RangeInclusive<u64> = 16..=18;

/// Returns pages that were paged out, and which of them are lost.
fn paged_out() -> Result<(Mapping, Vec<usize>), Skip> {
    pageout::needed()?;
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    page_out(mapping.range());
    let is_lost = |page: &usize| swap_slot(*page).is_some_and(|slot| BAD_SLOTS.contains(&slot));
    let lost: Vec<usize> = mapping.pages().filter(is_lost).collect();
    if lost.is_empty() {
        return Err(Skip("no page is in a slot that cannot be read"));
    }
    Ok((mapping, lost))
}

fn s000_r15_lost_page_is_sigbus_and_its_neighbours_are_intact() -> Result<(), Skip> {
    let (mapping, lost) = paged_out()?;
    for page in mapping.pages() {
        if lost.contains(&page) {
            let address = page + 8;
            let fault = fault::catch(|| {
                memory::load(address);
            });
            assert_eq!(fault, Some(Fault { signal: libc::SIGBUS, code: BUS_ADRERR, address }));
        } else {
            assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
        }
    }
    Ok(())
}

fn lost_page_kills_the_one_who_touches_it() -> Result<(), Skip> {
    let (mapping, lost) = paged_out()?;
    let toucher = process::fork(|| {
        process::no_handlers();
        memory::load(lost[0]);
        0
    });
    let other = process::fork(|| {
        let mut kept = mapping.pages().filter(|page| !lost.contains(page));
        i32::from(!kept.all(|page| memory::first_difference(page, page as u64).is_none()))
    });
    assert_eq!(toucher.wait(), Ended::Killed(libc::SIGBUS));
    assert_eq!(other.wait(), Ended::Exited(0), "another process has all other pages");
    Ok(())
}

fn lost_page_can_be_given_up_and_used_again() -> Result<(), Skip> {
    let (_mapping, lost) = paged_out()?;
    for page in lost {
        memory::madvise(page, PAGE, libc::MADV_DONTNEED).expect("MADV_DONTNEED");
        assert_eq!(memory::load(page), 0);
        memory::store_pattern(page, 5);
        assert_eq!(memory::first_difference(page, 5), None);
    }
    Ok(())
}
