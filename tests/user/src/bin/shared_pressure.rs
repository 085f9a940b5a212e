// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program has threads share memory that goes to swap and comes back all the time.
//!
//! In every page each thread counts in a word of its own, and remembers what it has counted. A page
//! that two CPUs see in two frames, or that comes back as it was before a store, shows at once.
//! Meanwhile another process stores to more memory than there is RAM.

use std::sync::atomic::{AtomicBool, Ordering};

use user_tests::memory::{self, Mapping, PAGE, RW};
use user_tests::process;
use user_tests::thp;
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;
use user_tests::{meminfo, pageout};

user_tests::tests!(threads_count_in_single_pages, threads_count_in_pages_of_large_folios);

const NR_THREADS: usize = 4;

/// How often each thread counts.
const NR_STEPS: usize = 1_000_000;

/// How often in the pages of one window before it goes to another: often enough for reclaim to take
/// pages away that TLBs know.
const NR_STEPS_IN_WINDOW: usize = 20_000;

/// Pages of a window.
const WINDOW: usize = 64;

fn threads_count_in_single_pages() -> Result<(), Skip> {
    let _size = thp::only(64, "never")?;
    count_under_pressure()
}

fn threads_count_in_pages_of_large_folios() -> Result<(), Skip> {
    let _size = thp::only(64, "always")?;
    count_under_pressure()
}

fn count_under_pressure() -> Result<(), Skip> {
    pageout::needed()?;
    let ram = meminfo::read("MemTotal").expect("MemTotal") as usize;
    let told = Mapping::new(PAGE, RW, libc::MAP_SHARED | libc::MAP_ANONYMOUS).expect("mmap");
    let rounds = memory::atomic(told.start());
    // Forked first: what the threads share is theirs alone.
    let rival = process::fork(|| {
        let memory = Mapping::anonymous(ram);
        for round in 1.. {
            memory.pages().for_each(|page| memory::store(page, round));
            rounds.store(round, Ordering::Release);
        }
        0
    });
    let shared = Mapping::anonymous(ram / 2);
    shared.pages().for_each(|page| memory::store(page + PAGE - 8, 1));
    while rounds.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let before = Counters::read();
    let is_wrong = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..NR_THREADS {
            let (shared, is_wrong) = (&shared, &is_wrong);
            scope.spawn(move || count(shared, thread, is_wrong));
        }
    });
    let came_back = Counters::read().since(&before, "pswpin");
    rival.kill(libc::SIGKILL);
    rival.wait();
    assert!(!is_wrong.into_inner(), "a page is not what was stored to it");
    assert!(came_back.is_none_or(|pages| pages > 0), "nothing went to swap and came back");
    Ok(())
}

/// Counts in the pages of random windows, until somebody finds something wrong.
fn count(shared: &Mapping, thread: usize, is_wrong: &AtomicBool) {
    let nr_pages = shared.len_bytes() / PAGE;
    let mut counts = vec![0u64; nr_pages];
    let (mut random, mut first) = (thread as u64, 0);
    for step in 0..NR_STEPS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7b7e_f767_814f);
        let roll = (random >> 33) as usize;
        if step % NR_STEPS_IN_WINDOW == 0 {
            first = roll % (nr_pages - WINDOW);
        }
        let page = first + roll % WINDOW;
        // Another word in each page, and another cache line for each thread.
        let word = shared.page(page) + 64 * ((page + 8 * thread) % 63);
        let (found, expected) = (memory::load(word), counts[page]);
        if found != expected {
            println!("thread {thread}, step {step}: {word:#x} is {found}, expected {expected}");
            is_wrong.store(true, Ordering::Relaxed);
        }
        if is_wrong.load(Ordering::Relaxed) {
            return;
        }
        counts[page] += 1;
        memory::store(word, counts[page]);
    }
}
