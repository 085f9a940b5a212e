// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program makes folios of 2 MiB of what a range is mapped with: MADV_COLLAPSE.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use user_tests::folios::{self, Folios};
use user_tests::memory::{self, Mapping, PAGE};
use user_tests::pageout::{self, Place, frames, place};
use user_tests::process;
use user_tests::sys::Errno;
use user_tests::thp::{self, BLOCK};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(
    s003_r08_single_pages_become_a_block_though_blocks_are_never_used,
    s003_r08_folios_of_64_kib_become_a_block,
    s003_r08_swapped_pages_become_a_block,
    s003_r08_pages_shared_with_a_child_become_a_block_and_the_child_keeps_its_own,
    s003_r09_gaps_are_zero,
    s003_r11_no_store_of_another_thread_is_lost,
    s003_r14_what_has_no_block_is_refused,
    s003_r15_a_block_so_made_can_be_taken_apart_again,
);

const PAGES: usize = BLOCK / PAGE;
const MADV_COLLAPSE: i32 = 25;

/// Collapses a range. Where somebody has a page for a moment, that somebody is waited for.
fn collapse(start: usize, len_bytes: usize) -> Result<(), Errno> {
    let result = memory::madvise(start, len_bytes, MADV_COLLAPSE);
    if result == Err(libc::EAGAIN) {
        thread::yield_now();
        return memory::madvise(start, len_bytes, MADV_COLLAPSE);
    }
    result
}

/// Expects that blocks map all of an area.
fn assert_blocks(mapping: &Mapping) {
    assert_eq!(thp::anon_huge_kib(mapping.start()) << 10, mapping.len_bytes());
    let blocks = mapping.pages().step_by(PAGES);
    blocks.for_each(|start| assert!(folios::is_one_run(start..start + BLOCK)));
}

/// Memory in single pages, filled.
fn single_pages(nr_blocks: usize) -> Result<Folios, Skip> {
    let pages = Folios::of_single_pages(nr_blocks)?;
    pages.fill();
    assert_eq!(thp::anon_huge_kib(pages.mapping.start()), 0);
    Ok(pages)
}

fn s003_r08_single_pages_become_a_block_though_blocks_are_never_used() -> Result<(), Skip> {
    let pages = single_pages(2)?;
    let (start, before) = (pages.mapping.start(), Counters::read());
    assert_eq!(collapse(start, 2 * BLOCK), Ok(()));
    assert_blocks(&pages.mapping);
    pages.check();
    assert_eq!(Counters::read().since(&before, "thp_collapse_alloc"), Some(2));
    assert_eq!(collapse(start, 2 * BLOCK), Ok(()), "they are blocks");
    pages.fill();
    pages.check();
    Ok(())
}

fn s003_r08_folios_of_64_kib_become_a_block() -> Result<(), Skip> {
    let small = Folios::filled(64, 32)?;
    assert_eq!(collapse(small.mapping.start(), BLOCK), Ok(()));
    assert_blocks(&small.mapping);
    small.check();
    Ok(())
}

fn s003_r08_swapped_pages_become_a_block() -> Result<(), Skip> {
    pageout::needed()?;
    let pages = single_pages(1)?;
    let start = pages.mapping.start();
    pageout::page_out(start..start + 64 * PAGE);
    assert!(matches!(place(start), Place::Swap));
    assert_eq!(collapse(start, BLOCK), Ok(()));
    assert_blocks(&pages.mapping);
    pages.check();
    Ok(())
}

fn s003_r08_pages_shared_with_a_child_become_a_block_and_the_child_keeps_its_own()
-> Result<(), Skip> {
    let pages = single_pages(1)?;
    let start = pages.mapping.start();
    let (reader, writer) = std::io::pipe().expect("pipe");
    let theirs = frames(start..start + BLOCK);
    let child = process::fork(|| {
        let mut byte = [0];
        std::io::Read::read_exact(&mut &reader, &mut byte).expect("a byte");
        pages.check();
        assert_eq!(frames(start..start + BLOCK), theirs);
        0
    });
    assert_eq!(collapse(start, BLOCK), Ok(()));
    assert_blocks(&pages.mapping);
    pages.check();
    (0..PAGES).for_each(|page| pages.fill_page(pages.page(0, page), 9000 + page as u64));
    std::io::Write::write_all(&mut &writer, b"x").expect("write");
    assert_eq!(child.wait(), process::Ended::Exited(0));
    (0..PAGES).for_each(|page| pages.check_page(pages.page(0, page), 9000 + page as u64));
    Ok(())
}

fn s003_r09_gaps_are_zero() -> Result<(), Skip> {
    let pages = Folios::of_single_pages(1)?;
    let is_filled = |page: usize| page.is_multiple_of(3);
    let all = (0..PAGES).map(|page| (page, pages.mapping.page(page)));
    for (page, at) in all.clone() {
        if is_filled(page) {
            pages.fill_page(at, page as u64);
        } else if page % 3 == 1 {
            // The page of zeroes.
            assert_eq!(memory::load(at), 0);
        }
    }
    assert_eq!(collapse(pages.mapping.start(), BLOCK), Ok(()));
    assert_blocks(&pages.mapping);
    for (page, at) in all {
        if is_filled(page) { pages.check_page(at, page as u64) } else { pages.check_zero(at) }
    }
    Ok(())
}

fn s003_r11_no_store_of_another_thread_is_lost() -> Result<(), Skip> {
    let pages = single_pages(1)?;
    let start = pages.mapping.start();
    let (stop, nr_rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = |n: usize| memory::atomic(start + n * 31 % PAGES * PAGE);
    (0..PAGES).for_each(|n| count(n).store(0, Ordering::Relaxed));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let round = nr_rounds.load(Ordering::Relaxed);
                for n in 0..PAGES {
                    assert_eq!(count(n).fetch_add(1, Ordering::Relaxed), round, "page {n}");
                }
                nr_rounds.store(round + 1, Ordering::Relaxed);
            }
        });
        for _ in 0..20 {
            assert_eq!(collapse(start, BLOCK), Ok(()));
            // Apart again.
            memory::madvise(start, PAGE, libc::MADV_COLD).expect("madvise");
            process::in_child(|| ());
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let rounds = nr_rounds.load(Ordering::Relaxed);
    (0..PAGES).for_each(|n| assert_eq!(count(n).load(Ordering::Relaxed), rounds));
    Ok(())
}

fn s003_r14_what_has_no_block_is_refused() -> Result<(), Skip> {
    let pages = Folios::of_single_pages(3)?;
    let (memory, start) = (&pages.mapping, pages.mapping.start());
    assert_eq!(collapse(start, BLOCK), Err(libc::EINVAL), "nothing was ever there");
    memory.pages().step_by(PAGES).for_each(|page| memory::store(page, 1));
    assert_eq!(collapse(start + PAGE, 8 * PAGE), Err(libc::EINVAL), "within a block");
    assert_eq!(collapse(start + PAGE, 3 * BLOCK - 2 * PAGE), Ok(()), "rounded inwards");
    let are_blocks = [0, 1, 2].map(|n| memory.page(n * PAGES)).map(|at| frames(at..at + BLOCK));
    let nr = are_blocks.map(|frames| frames.iter().flatten().count());
    assert_eq!(nr, [1, PAGES, 1]);
    memory::madvise(start + 2 * BLOCK, BLOCK, libc::MADV_NOHUGEPAGE).expect("madvise");
    assert_eq!(collapse(start + 2 * BLOCK, BLOCK), Err(libc::EINVAL), "not wanted");
    memory::munmap(start + BLOCK - PAGE, PAGE).expect("munmap");
    assert_eq!(collapse(start, BLOCK), Err(libc::EINVAL), "the area has no 2 MiB");
    assert_eq!(memory::madvise(start + 1, BLOCK, MADV_COLLAPSE), Err(libc::EINVAL));
    Ok(())
}

fn s003_r15_a_block_so_made_can_be_taken_apart_again() -> Result<(), Skip> {
    let pages = single_pages(1)?;
    let start = pages.mapping.start();
    assert_eq!(collapse(start, BLOCK), Ok(()));
    memory::munmap(start + 5 * PAGE, PAGE).expect("munmap");
    let hole = start + 5 * PAGE..start + 6 * PAGE;
    pages.check_except(std::slice::from_ref(&hole));
    memory::madvise(start + 7 * PAGE, PAGE, libc::MADV_DONTNEED).expect("madvise");
    pages.check_zero(start + 7 * PAGE);
    pages.check_except(&[hole, start + 7 * PAGE..start + 8 * PAGE]);
    Ok(())
}
