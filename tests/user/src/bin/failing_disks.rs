// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program swaps to each disk but the first, and tells how many requests of each failed. Whatever
//! fails, no page comes back other than it was, and who does not need a lost page notices nothing.
//!
//! With the argument `once` it expects that a disk loses one page at most.

use user_tests::fault::{self, BUS_ADRERR, Fault};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout;
use user_tests::process::{self, Ended};
use user_tests::swap::{self, PREFER};
use user_tests::vmstat::Counters;

/// Pages on each disk, and how many of them a child reads first.
const NR_PAGES: usize = 6;
const NR_READ: usize = 3;

/// Before all others.
const FIRST: usize = PREFER | 0x7fff;

fn main() {
    let is_once = std::env::args().nth(1).is_some_and(|word| word == "once");
    let kept = pages();
    pageout::page_out(kept.range());
    let mut nr_disks = 0;
    for letter in 'b'..='z' {
        let disk = format!("/dev/vd{letter}");
        if std::fs::metadata(&disk).is_err() {
            break;
        }
        nr_disks += 1;
        let before = Counters::read();
        let lost = use_disk(&disk, is_once);
        let errors = Counters::read().since(&before, "blk_errors").expect("blk_errors");
        println!("failing_disks: {errors} requests failed, {lost} pages lost");
        assert!(errors > 0 || lost == 0, "{disk}: {lost} pages lost for nothing");
        assert!(!is_once || lost <= 1, "{disk}: {lost} pages lost");
    }
    assert!(nr_disks > 0, "no disk that fails");
    kept.pages().for_each(|page| assert_eq!(difference(page), None, "{page:#x}, on another disk"));
}

/// Makes pages that are written, and go out one by one.
fn pages() -> Mapping {
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_NOHUGEPAGE).expect("madvise");
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    mapping
}

fn difference(page: usize) -> Option<usize> {
    memory::first_difference(page, page as u64)
}

/// Has pages go to the disk and come back, in every way there is, and returns how many are lost.
fn use_disk(disk: &str, is_once: bool) -> usize {
    match swap::on(disk, FIRST) {
        Ok(()) => {}
        Err(libc::EIO) if is_once => assert_eq!(swap::on(disk, FIRST), Ok(()), "{disk} once more"),
        Err(why) => {
            assert_eq!(why, libc::EIO, "{disk}");
            return 0;
        }
    }
    let mapping = pages();
    // Each by a request of its own. Pages that the disk does not take stay.
    let page_out = || {
        for page in mapping.pages() {
            memory::madvise(page, PAGE, libc::MADV_PAGEOUT).expect("madvise");
        }
    };
    page_out();
    let reader = process::fork(|| {
        process::no_handlers();
        let mut read = mapping.pages().take(NR_READ);
        i32::from(!read.all(|page| difference(page).is_none()))
    });
    let ended = reader.wait();
    assert!(matches!(ended, Ended::Exited(0) | Ended::Killed(libc::SIGBUS)), "{disk}: {ended:?}");
    page_out();
    assert_eq!(swap::off(disk), Ok(()), "{disk}");
    assert_eq!(swap::off(disk), Err(libc::EINVAL), "{disk}");
    let lost: Vec<usize> = mapping.pages().filter(|page| is_lost(*page)).collect();
    for page in &lost {
        memory::madvise(*page, PAGE, libc::MADV_DONTNEED).expect("madvise");
        memory::store_pattern(*page, *page as u64);
    }
    mapping.pages().for_each(|page| assert_eq!(difference(page), None, "{disk}: {page:#x}"));
    lost.len()
}

/// Tells whether a load is SIGBUS.
fn is_lost(page: usize) -> bool {
    let fault = fault::catch(|| {
        memory::load(page);
    });
    let lost = Fault { signal: libc::SIGBUS, code: BUS_ADRERR, address: page };
    assert!(fault.is_none_or(|fault| fault == lost), "{fault:?}");
    fault.is_some()
}
