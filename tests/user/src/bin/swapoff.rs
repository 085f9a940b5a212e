// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests swapoff against what happens meanwhile: too little memory, signals, and processes
//! that fault, fork and exit.
//!
//! Its machine has a second disk, where it makes an area.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout;
use user_tests::process::{self, Ended};
use user_tests::swap::{self, Header};
use user_tests::sys::Errno;
use user_tests::trial::Skip;
use user_tests::{meminfo, signal};

user_tests::tests!(
    s002_r06_too_little_memory_is_enomem_and_the_area_stays,
    s002_r07_a_signal_is_eintr_and_the_area_stays,
    s002_r03_nothing_is_lost_under_faults_forks_and_exits,
);

const DISK: &str = "/dev/vdb";
/// The area that everything else goes to.
const MAIN: &str = "/dev/vda";
/// Pages of the area that tests make, and of the memory that they put there.
const NR_AREA: u32 = 4096;
const NR_PAGES: usize = 2048;
/// SWAP_FLAG_PREFER, with a priority above the main area's.
const FIRST: usize = 0x8000 | 0x7fff;

/// Puts an area into service that is used first.
fn area() -> Result<(), Skip> {
    let _ = swap::off(DISK);
    if !swap::is_ours(DISK) {
        return Err(Skip("no second disk, or one that is in use"));
    }
    swap::write_header(DISK, Some(&Header::of_pages(NR_AREA)));
    assert_eq!(swap::on(DISK, FIRST), Ok(()));
    Ok(())
}

fn nr_used(disk: &str) -> usize {
    swap::area(disk).map_or(0, |(_, used, _)| used as usize / PAGE)
}

/// Pages with a pattern each, paged out to the area.
fn paged_out() -> Mapping {
    let mapping = Mapping::anonymous(NR_PAGES * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    pageout::page_out(mapping.range());
    assert_eq!(nr_used(DISK), NR_PAGES);
    mapping
}

fn verify(mapping: &Mapping) {
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
    }
}

fn s002_r06_too_little_memory_is_enomem_and_the_area_stays() -> Result<(), Skip> {
    pageout::needed()?;
    let memory = meminfo::read("MemTotal").ok_or(Skip("no /proc/meminfo"))? as usize;
    // A sixth more than there is: the main area has at least that, and nowhere to put it.
    let mapping = Mapping::anonymous(memory / 6 * 7 / PAGE * PAGE);
    mapping.pages().for_each(|page| memory::store(page, page as u64));
    let before = nr_used(MAIN);
    assert!(before * PAGE > memory / 8);
    assert_eq!(swap::off(MAIN), Err(libc::ENOMEM));
    assert!(nr_used(MAIN) * PAGE > memory / 8, "it is in service, and has what it had");
    for page in mapping.pages() {
        assert_eq!(memory::load(page), page as u64, "{page:#x}");
    }
    Ok(())
}

fn s002_r07_a_signal_is_eintr_and_the_area_stays() -> Result<(), Skip> {
    area()?;
    process::handle(libc::SIGUSR1);
    let mut is_interrupted = false;
    // A swapoff that was faster than the signal is made up for.
    while !is_interrupted {
        if swap::area(DISK).is_none() {
            assert_eq!(swap::on(DISK, FIRST), Ok(()));
        }
        let mapping = paged_out();
        match off_under_signals() {
            Ok(()) => {}
            Err(why) => {
                assert_eq!(why, libc::EINTR);
                is_interrupted = true;
                assert!(swap::area(DISK).is_some(), "in service again");
                pageout::page_out(mapping.range());
            }
        }
        verify(&mapping);
    }
    assert_eq!(swap::off(DISK), Ok(()));
    Ok(())
}

/// Calls swapoff while another thread sends signals to this one.
fn off_under_signals() -> Result<(), Errno> {
    let (is_over, pid) = (AtomicBool::new(false), signal::pid());
    thread::scope(|scope| {
        scope.spawn(|| {
            signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGUSR1]));
            while !is_over.load(Ordering::SeqCst) {
                signal::kill(pid, libc::SIGUSR1).expect("kill");
                thread::yield_now();
            }
        });
        let off = swap::off(DISK);
        is_over.store(true, Ordering::SeqCst);
        off
    })
}

fn s002_r03_nothing_is_lost_under_faults_forks_and_exits() -> Result<(), Skip> {
    area()?;
    let mapping = paged_out();
    let children: Vec<_> = (0..4).map(|seed| process::fork(|| disturb(&mapping, seed))).collect();
    assert_eq!(swap::off(DISK), Ok(()));
    assert_eq!(swap::area(DISK), None);
    // Nothing refers to the disk any more.
    swap::write_header(DISK, None);
    for child in children {
        assert_eq!(child.wait(), Ended::Exited(0));
    }
    verify(&mapping);
    Ok(())
}

/// Looks at pages, forks children that do, and ends.
fn disturb(mapping: &Mapping, seed: usize) -> i32 {
    let is_right = |n: usize| {
        let page = mapping.page((n * 37 + seed * 101) % NR_PAGES);
        memory::first_difference(page, page as u64).is_none()
    };
    for round in 0..20 {
        if !(round * 20..round * 20 + 20).all(is_right) {
            return 1;
        }
        let child = process::fork(|| i32::from(!(round * 50..round * 50 + 10).all(is_right)));
        if child.wait() != Ended::Exited(0) {
            return 2;
        }
    }
    0
}
