// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests memory in folios of 64 KiB and of 2 MiB: first touch, fork and copy-on-write.

use std::fs::File;
use std::os::fd::AsRawFd;

use user_tests::folios::{self, Folios, for_sizes};
use user_tests::memory::{self, PAGE};
use user_tests::pageout::{Place, frames, place};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;
use user_tests::{process, sys, tags, thp};

user_tests::tests!(
    the_first_store_brings_a_whole_folio,
    small_areas_have_small_folios,
    fork_shares_frames_and_each_side_copies_what_it_stores_to,
    a_tag_store_copies_as_well,
    grandchildren_share_until_they_store,
    s003_r15_a_copied_page_splits_the_block_of_who_stores_and_no_other,
    s003_r16_the_survivor_of_a_fork_stores_in_place,
    s003_r19_threads_of_one_process_do_not_share,
    exit_gives_everything_back,
    the_kernel_writes_to_large_folios,
);

/// Returns the folios of a size that there are.
fn nr_folios(size_kib: usize) -> Option<u64> {
    thp::stat(size_kib, "nr_anon")
}

fn the_first_store_brings_a_whole_folio() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let untouched = Folios::untouched(size_kib, 2)?;
        let before = nr_folios(size_kib);
        let (first, second) = (untouched.folio(0), untouched.folio(1));
        memory::store(untouched.page(0, untouched.nr_pages / 2 + 1), 7);
        assert!(folios::is_one_run(first.clone()), "{size_kib} KiB");
        assert_eq!(place(second.start), Place::Nowhere);
        assert_eq!(nr_folios(size_kib), before.map(|nr| nr + 1));
        memory::store(untouched.page(0, untouched.nr_pages / 2 + 1), 0);
        first.step_by(PAGE).for_each(|page| untouched.check_zero(page));
        memory::store(second.start, 1);
        assert!(folios::is_one_run(second));
        untouched.fill();
        untouched.check();
        Ok(())
    })
}

fn small_areas_have_small_folios() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::untouched(size_kib, 1)?;
        memory::munmap(folios.page(0, folios.nr_pages - 1), PAGE).expect("munmap");
        let before = thp::stat(size_kib, "anon_fault_alloc");
        folios
            .part(0, 0..folios.nr_pages - 1)
            .step_by(PAGE)
            .for_each(|page| memory::store(page, 1));
        assert_eq!(thp::stat(size_kib, "anon_fault_alloc"), before);
        assert_eq!(place(folios.page(0, folios.nr_pages - 1)), Place::Nowhere);
        Ok(())
    })
}

fn fork_shares_frames_and_each_side_copies_what_it_stores_to() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let shared = Folios::filled(size_kib, 2)?;
        let (all, last) = (shared.mapping.range(), shared.nr_pages - 1);
        let before = frames(all.clone());
        process::in_child(|| {
            assert_eq!(frames(all.clone()), before, "shared");
            shared.check();
            let stored = [shared.page(0, 1), shared.page(1, last)];
            stored.iter().for_each(|page| shared.fill_page(*page, 1000));
            for (page, (now, before)) in
                all.clone().step_by(PAGE).zip(frames(all.clone()).iter().zip(&before))
            {
                assert_eq!(now != before, stored.contains(&page), "the copied pages only");
            }
            shared.check_except(&stored.map(|page| page..page + PAGE));
            stored.iter().for_each(|page| shared.check_page(*page, 1000));
        });
        shared.check();
        let child = process::fork(|| {
            // The parent stores meanwhile.
            (0..16).for_each(|_| shared.check());
            0
        });
        let stored = [shared.page(0, 0), shared.page(0, last), shared.page(1, 2)];
        stored.iter().for_each(|page| shared.fill_page(*page, 2000));
        assert_eq!(child.wait(), process::Ended::Exited(0), "the child sees what there was");
        shared.check_except(&stored.map(|page| page..page + PAGE));
        stored.iter().for_each(|page| shared.check_page(*page, 2000));
        Ok(())
    })
}

fn a_tag_store_copies_as_well() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    for_sizes(|size_kib| {
        let shared = Folios::filled(size_kib, 1)?;
        let page = shared.page(0, 3);
        process::in_child(|| {
            tags::fill_page(page, 4000);
            assert_eq!(tags::first_difference(page, 4000), None);
            assert_eq!(memory::first_difference(page, 3), None, "words are copied");
            shared.check_except(&[shared.part(0, 3..4)]);
        });
        shared.check();
        Ok(())
    })
}

fn grandchildren_share_until_they_store() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let shared = Folios::filled(size_kib, 1)?;
        process::in_child(|| {
            shared.fill_page(shared.page(0, 0), 1000);
            process::in_child(|| {
                shared.fill_page(shared.page(0, 1), 1001);
                process::in_child(|| {
                    shared.check_page(shared.page(0, 0), 1000);
                    shared.check_page(shared.page(0, 1), 1001);
                    shared.check_except(&[shared.part(0, 0..2)]);
                });
                shared.fill();
            });
            shared.check_page(shared.page(0, 0), 1000);
            shared.check_except(&[shared.part(0, 0..1)]);
        });
        shared.check();
        Ok(())
    })
}

fn s003_r15_a_copied_page_splits_the_block_of_who_stores_and_no_other() -> Result<(), Skip> {
    const STORED: usize = 77;
    let folios = Folios::filled(2048, 1)?;
    let start = folios.mapping.start();
    let shared = frames(folios.mapping.range());
    let splits = Counters::read();
    let nr_splits = || Counters::read().since(&splits, "thp_split_pmd");
    process::in_child(|| {
        assert_eq!(thp::anon_huge_kib(start), 2048, "shared");
        folios.fill_page(folios.page(0, STORED), 1000);
        assert_eq!((thp::anon_huge_kib(start), nr_splits()), (0, Some(1)));
        let mine = frames(folios.mapping.range());
        let copied: Vec<_> = (0..512).filter(|page| mine[*page] != shared[*page]).collect();
        assert_eq!(copied, [STORED], "one page is copied");
        folios.check_page(folios.page(0, STORED), 1000);
        folios.check_except(&[folios.part(0, STORED..STORED + 1)]);
    });
    assert_eq!((thp::anon_huge_kib(start), nr_splits()), (2048, Some(1)), "whose block is whole");
    assert_eq!(frames(folios.mapping.range()), shared);
    folios.check();
    Ok(())
}

fn s003_r16_the_survivor_of_a_fork_stores_in_place() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 2)?;
        let before = frames(folios.mapping.range());
        process::in_child(|| folios.check());
        folios.fill();
        assert_eq!(frames(folios.mapping.range()), before, "nothing was copied");
        folios.check();
        Ok(())
    })
}

fn s003_r19_threads_of_one_process_do_not_share() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 2)?;
        let before = frames(folios.mapping.range());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| folios.fill());
            }
        });
        assert_eq!(frames(folios.mapping.range()), before);
        folios.check();
        Ok(())
    })
}

fn exit_gives_everything_back() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let before = nr_folios(size_kib);
        process::in_child(|| {
            let folios = Folios::filled(size_kib, 3).expect("known sizes");
            memory::munmap(folios.page(0, 1), 2 * PAGE).expect("munmap");
            process::in_child(|| memory::store(folios.page(1, 1), 1));
            std::mem::forget(folios);
        });
        assert_eq!(nr_folios(size_kib), before);
        Ok(())
    })
}

fn the_kernel_writes_to_large_folios() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 2)?;
        // Across two pages of a folio, and across both folios; a child shares them.
        for at in [folios.page(0, 6) - 8, folios.page(1, 0) - 8] {
            let before = Counters::read();
            process::in_child(|| read_zeroes(at));
            folios.check();
            if let Some(nr_copied) = Counters::read().since(&before, "cow_copy") {
                assert!(nr_copied >= 2, "{nr_copied}");
            }
            read_zeroes(at);
            assert_eq!([memory::load(at), memory::load(at + 8)], [0; 2]);
            let page = at & !(PAGE - 1);
            let written = page..page + 2 * PAGE;
            folios.check_except(std::slice::from_ref(&written));
            folios.fill();
        }
        Ok(())
    })
}

/// Has the kernel write 16 bytes.
fn read_zeroes(at: usize) {
    let zeroes = File::open("/dev/zero").expect("/dev/zero");
    let fd = zeroes.as_raw_fd() as usize;
    assert_eq!(sys::call(libc::SYS_read, [fd, at, 16]), Ok(16));
}
