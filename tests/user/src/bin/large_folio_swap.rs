// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program swaps folios of 64 KiB and of 2 MiB out and in, with their tags: whole, in parts, and
//! while others use them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use user_tests::folios::{Folios, for_sizes, is_one_run};
use user_tests::memory::{self, PAGE, PROT_MTE, RW};
use user_tests::pageout::{self, Place, page_out, place, swap_slot};
use user_tests::process;
use user_tests::tags;
use user_tests::thp;
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(
    s000_r02_a_folio_goes_out_and_comes_back_whole,
    s000_r05_a_partly_tagged_folio_comes_back,
    s000_r03_a_folio_of_zeroes_with_tags_comes_back,
    s000_r11_cycles_do_not_use_up_tag_storage,
    s000_r13_fork_shares_a_swapped_folio,
    s000_r07_a_page_discarded_while_swapped_is_zero,
    s000_r16_threads_that_fault_at_once_see_tags,
    s000_r19_a_part_goes_out_and_the_rest_stays,
    a_folio_swapped_in_two_processes_comes_back_in_both,
    a_swapped_folio_is_unmapped_in_parts,
    a_swapped_folio_moves,
    pages_stored_to_while_the_folio_goes_out_lose_nothing,
);

/// What happened since some moment, as far as this kernel counts it.
struct Since {
    size_kib: usize,
    counters: Counters,
    stats: [Option<u64>; 2],
}

const STATS: [&str; 2] = ["swpout", "swpin"];

impl Since {
    fn now(size_kib: usize) -> Self {
        let stats = STATS.map(|name| thp::stat(size_kib, name));
        Self { size_kib, counters: Counters::read(), stats }
    }

    /// Expects so many folios to have gone out and come in, none by more than one request, and none split.
    fn assert_whole(&self, out: u64, back: u64) {
        let now = Counters::read();
        // Who has no such counter reads folios page by page.
        let Some(nr_requests) = now.since(&self.counters, "swap_requests") else { return };
        let stats = STATS.map(|name| thp::stat(self.size_kib, name));
        let expected = [Some(out), Some(back)];
        let grown = |(now, before): (Option<u64>, Option<u64>)| Some(now? - before?);
        assert_eq!([0, 1].map(|index| grown((stats[index], self.stats[index]))), expected);
        let merged = now.since(&self.counters, "swap_merged").expect("counted beside the requests");
        assert_eq!(nr_requests + merged, out + back, "requests");
        for name in ["thp_swpout_fallback", "thp_split_page"] {
            assert_eq!(now.since(&self.counters, name), Some(0), "{name}");
        }
    }
}

/// Maps and fills folios where there is swap.
fn filled(size_kib: usize, nr: usize) -> Result<Folios, Skip> {
    pageout::needed()?;
    Folios::filled(size_kib, nr)
}

fn out(folios: &Folios) {
    page_out(folios.mapping.range());
}

fn s000_r02_a_folio_goes_out_and_comes_back_whole() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 3)?;
        for round in 0..3 {
            let since = Since::now(size_kib);
            out(&folios);
            since.assert_whole(3, 0);
            for folio in 0..3 {
                let slots = folios.folio(folio).step_by(PAGE).map(swap_slot);
                let first = swap_slot(folios.page(folio, 0)).expect("it is out");
                assert_eq!(first % folios.nr_pages as u64, 0, "aligned");
                assert!(slots.zip(first..).all(|(slot, expected)| slot == Some(expected)));
            }
            let before = Counters::read();
            // Some page in the middle: all come with it.
            (0..3).for_each(|folio| memory::touch(folios.page(folio, 5 + round)));
            if Counters::read().get("swap_requests").is_some() {
                assert_eq!(Counters::read().since(&before, "pgmajfault"), Some(3), "faults");
                (0..3).for_each(|folio| assert!(is_one_run(folios.folio(folio))));
            }
            since.assert_whole(3, 3);
            folios.check();
            folios.fill();
        }
        Ok(())
    })
}

fn s000_r05_a_partly_tagged_folio_comes_back() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    pageout::needed()?;
    for_sizes(|size_kib| {
        let folios = Folios::untagged(size_kib, 1)?;
        folios.fill();
        let tagged = folios.part(0, 3..6);
        memory::mprotect(tagged.start, tagged.len(), RW | PROT_MTE).expect("mprotect");
        tagged.clone().step_by(PAGE).for_each(|page| tags::fill_page(page, 6));
        let before = Counters::read();
        out(&folios);
        folios.check();
        for page in tagged.clone().step_by(PAGE) {
            assert_eq!(tags::first_difference(page, 6), None);
        }
        let after = Counters::read();
        for name in ["mte_tags_saved", "mte_tags_restored"] {
            assert_eq!(after.since(&before, name).unwrap_or(3), 3, "{name}: the tagged pages'");
        }
        memory::mprotect(folios.mapping.start(), size_kib << 10, RW | PROT_MTE).expect("mprotect");
        let others = (0..folios.nr_pages).filter(|index| !(3..6).contains(index));
        others.for_each(|index| assert!(tags::page_is(folios.page(0, index), 0), "page {index}"));
        Ok(())
    })
}

fn s000_r03_a_folio_of_zeroes_with_tags_comes_back() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    pageout::needed()?;
    for_sizes(|size_kib| {
        let folios = Folios::untouched(size_kib, 1)?;
        let pages = || folios.mapping.pages().zip(0..);
        pages().for_each(|(page, seed)| tags::fill_page(page, seed));
        let before = Counters::read();
        out(&folios);
        if let Some(nr_zero) = Counters::read().since(&before, "swpout_zero") {
            assert_eq!(nr_zero, folios.nr_pages as u64, "swpout_zero");
        }
        for (page, seed) in pages() {
            assert_eq!(tags::first_difference(page, seed), None);
            assert!((page..page + PAGE).step_by(8).all(|at| memory::load(at) == 0));
        }
        Ok(())
    })
}

fn s000_r11_cycles_do_not_use_up_tag_storage() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 1)?;
        let stored = || Counters::read().get("mte_tag_bytes_stored");
        let mut first = None;
        for seed in 0..20 {
            folios.fill_page(folios.page(0, 2), seed);
            out(&folios);
            let first = first.get_or_insert_with(stored);
            assert_eq!(stored(), *first, "bytes of saved tags");
            folios.check_page(folios.page(0, 2), seed);
            folios.check_except(&[folios.part(0, 2..3)]);
        }
        Ok(())
    })
}

fn s000_r13_fork_shares_a_swapped_folio() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 1)?;
        out(&folios);
        process::in_child(|| {
            folios.check();
            folios.fill_page(folios.page(0, 1), 100);
            folios.check_page(folios.page(0, 1), 100);
            folios.check_except(&[folios.part(0, 1..2)]);
        });
        folios.check();
        Ok(())
    })
}

fn s000_r07_a_page_discarded_while_swapped_is_zero() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 2)?;
        out(&folios);
        // In the swap cache of one, on disk only of the other.
        let child = process::fork(|| {
            memory::load(folios.page(0, 0));
            0
        });
        assert_eq!(child.wait(), process::Ended::Exited(0));
        let parts = [folios.part(0, 1..2), folios.part(1, 1..2)];
        for part in &parts {
            memory::madvise(part.start, part.len(), libc::MADV_DONTNEED).expect("MADV_DONTNEED");
        }
        folios.check_except(&parts);
        parts.iter().for_each(|part| folios.check_zero(part.start));
        Ok(())
    })
}

fn s000_r16_threads_that_fault_at_once_see_tags() -> Result<(), Skip> {
    const NR_THREADS: usize = 4;
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 2)?;
        for _ in 0..4 {
            out(&folios);
            let (before, start) = (Counters::read(), Barrier::new(NR_THREADS));
            std::thread::scope(|scope| {
                for thread in 0..NR_THREADS {
                    let (folios, start) = (&folios, &start);
                    scope.spawn(move || {
                        start.wait();
                        // Each from another page on.
                        let nr = folios.mapping.pages().count();
                        for index in (0..nr).map(|index| (index + thread * nr / 8) % nr) {
                            folios.check_page(folios.mapping.page(index), index as u64);
                        }
                    });
                }
            });
            let nr_tagged =
                if tags::needed_per_granule().is_ok() { folios.mapping.pages().count() } else { 0 };
            if let Some(nr_restored) = Counters::read().since(&before, "mte_tags_restored") {
                assert_eq!(nr_restored, nr_tagged as u64, "each page once");
            }
        }
        Ok(())
    })
}

fn s000_r19_a_part_goes_out_and_the_rest_stays() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 1)?;
        let part = folios.part(0, 3..8);
        page_out(part.clone());
        for page in folios.mapping.pages() {
            let expected = if part.contains(&page) { Place::Swap } else { Place::Memory };
            assert_eq!(place(page), expected, "{page:#x}");
        }
        folios.check();
        Ok(())
    })
}

fn a_folio_swapped_in_two_processes_comes_back_in_both() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 2)?;
        out(&folios);
        for _ in 0..4 {
            let child = process::fork(|| {
                folios.check();
                folios.fill();
                0
            });
            folios.check();
            assert_eq!(child.wait(), process::Ended::Exited(0));
            folios.check();
            out(&folios);
        }
        Ok(())
    })
}

fn a_swapped_folio_is_unmapped_in_parts() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 2)?;
        let nr = folios.nr_pages;
        out(&folios);
        let holes = [folios.part(0, 1..2), folios.page(0, nr - 1)..folios.page(1, nr / 2)];
        for hole in &holes {
            memory::munmap(hole.start, hole.len()).expect("munmap");
        }
        folios.check_except(&holes);
        Ok(())
    })
}

fn a_swapped_folio_moves() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        for skew in [0, PAGE] {
            let folios = filled(size_kib, 1)?;
            out(&folios);
            let len_bytes = size_kib << 10;
            let away = user_tests::folios::place_for(len_bytes + skew) + skew;
            memory::remap(folios.mapping.start(), len_bytes, away).expect("mremap");
            for (page, seed) in (away..away + len_bytes).step_by(PAGE).zip(0..) {
                folios.check_page(page, seed);
            }
            memory::munmap(away, len_bytes).expect("munmap");
        }
        Ok(())
    })
}

/// Each thread counts in pages of its own; the folios go out and come in meanwhile, as a whole.
fn pages_stored_to_while_the_folio_goes_out_lose_nothing() -> Result<(), Skip> {
    const NR_THREADS: usize = 3;
    const NR_ROUNDS: u64 = 300;
    for_sizes(|size_kib| {
        let folios = filled(size_kib, 2)?;
        let (folios, is_done) = (&folios, AtomicBool::new(false));
        let nr = folios.mapping.pages().count();
        let word = |thread: usize, index: usize| {
            folios.mapping.page((index * 7 + thread) % nr) + thread * 64
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..NR_THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        (0..16).for_each(|index| memory::store(word(thread, index), 0));
                        for round in 1..=NR_ROUNDS {
                            for at in (0..16).map(|index| word(thread, index)) {
                                assert_eq!(memory::load(at), round - 1, "a store was lost");
                                memory::store(at, round);
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let (start, len_bytes) = (folios.mapping.start(), folios.mapping.len_bytes());
                    memory::madvise(start, len_bytes, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
                }
            });
            let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            is_done.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok));
        });
        Ok(())
    })
}
