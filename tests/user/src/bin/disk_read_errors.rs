// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests a swap disk that does not give some pages back: SIGBUS to who touches them.
//!
//! On its machine, reads of the first three slots fail, and tests use every slot that there is.

use user_tests::fault::{self, BUS_ADRERR, Fault};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout::swap_slot;
use user_tests::process::{self, Ended};
use user_tests::swap;

user_tests::tests!(
    s000_r15_lost_page_is_sigbus_and_its_neighbours_are_intact,
    lost_page_kills_the_one_who_touches_it,
    lost_page_can_be_given_up_and_used_again,
    s002_r19_swapoff_ends_and_what_is_lost_stays_lost,
);

/// Twice as many as there are slots: whichever are handed out first, in the end all are.
const NR_PAGES: usize = 4096;

/// The disk.
const DISK: &str = "/dev/vda";

/// The slots that cannot be read.
const BAD_SLOTS: core::ops::RangeInclusive<u64> = 1..=3;

/// How often pages that are busy elsewhere are pushed again.
const NR_TRIES: usize = 1000;

/// Returns pages of which some were paged out, and those that are lost: one in each bad slot.
fn paged_out() -> (Mapping, Vec<usize>) {
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    let (start, len_bytes) = (mapping.start(), mapping.len_bytes());
    // A large folio takes aligned slots, which those behind the header are not.
    memory::madvise(start, len_bytes, libc::MADV_NOHUGEPAGE).expect("MADV_NOHUGEPAGE");
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    let is_lost = |page: &usize| swap_slot(*page).is_some_and(|slot| BAD_SLOTS.contains(&slot));
    for _ in 0..NR_TRIES {
        memory::madvise(start, len_bytes, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
        let lost: Vec<usize> = mapping.pages().filter(is_lost).collect();
        if lost.len() == BAD_SLOTS.count() {
            return (mapping, lost);
        }
        std::thread::yield_now();
    }
    panic!("no pages come to slots {BAD_SLOTS:?}");
}

fn s000_r15_lost_page_is_sigbus_and_its_neighbours_are_intact() {
    let (mapping, lost) = paged_out();
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
}

fn lost_page_kills_the_one_who_touches_it() {
    let (mapping, lost) = paged_out();
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
}

fn lost_page_can_be_given_up_and_used_again() {
    let (_mapping, lost) = paged_out();
    for page in lost {
        memory::madvise(page, PAGE, libc::MADV_DONTNEED).expect("MADV_DONTNEED");
        assert_eq!(memory::load(page), 0);
        memory::store_pattern(page, 5);
        assert_eq!(memory::first_difference(page, 5), None);
    }
}

fn s002_r19_swapoff_ends_and_what_is_lost_stays_lost() {
    let (mapping, lost) = paged_out();
    assert_eq!(swap::off(DISK), Ok(()));
    for page in mapping.pages() {
        if lost.contains(&page) {
            let fault = fault::catch(|| {
                memory::load(page);
            });
            assert_eq!(
                fault.map(|fault| (fault.signal, fault.address)),
                Some((libc::SIGBUS, page))
            );
        } else {
            assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
        }
    }
    assert_eq!(swap::on(DISK, 0), Ok(()));
}
