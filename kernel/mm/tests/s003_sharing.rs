// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests who counts as sharing a folio, and what follows from it: rows of section 003.3 of
//! the facts this kernel is built on ("folio_likely_mapped_shared(), per-folio mapcounts"). Row 2 is
//! in `sharing_model.rs`.
//!
//! Each test is named after its row.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use base::{PageRange, Pfn, Vpn};
use hal::TagCheckMode;
use hal::sim::Adversary;
use mm::{Advice, MmEvent, MmId, PageView, Prot, Sharing, ThpStat};
use world::folios::{ORDERS, for_orders, for_orders_on, nr_pages, one};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1};

const LARGE: &[u8] = &[2, 4, 9];
const BLOCK: &[u8] = &[9];
const READ_WRITE: Prot = Prot::READ.union(Prot::WRITE);

fn frame(p: &Process, page: Vpn) -> Pfn {
    match p.page_view(page) {
        PageView::Present { pfn, .. } => pfn,
        view => panic!("{view:?} is mapped"),
    }
}

fn sharing(p: &Process, page: Vpn) -> Sharing {
    let pfn = frame(p, page);
    p.call(|mm| mm.system().sharing_of(pfn))
}

fn counts<const N: usize>(of: [(&Process, u64); N]) -> Vec<(MmId, u32)> {
    of.map(|(p, nr)| (p.mm.id(), nr as u32)).to_vec()
}

/// Checks that exactly these address spaces map the folio at `page`, and with how many entries.
fn assert_mapped_by<const N: usize>(page: Vpn, by: [(&Process, u64); N]) {
    let sharing = sharing(by[0].0, page);
    let expected = counts(by);
    assert_eq!(sharing.by_mm.iter().map(|(mm, nr)| (*mm, *nr)).collect::<Vec<_>>(), expected);
    assert_eq!(sharing.mapcount, expected.iter().map(|(_, nr)| nr).sum::<u32>());
    let only = if N == 1 { Some(by[0].0.mm.id()) } else { None };
    assert_eq!(sharing.only_mm, only);
    by.iter().for_each(|(p, _)| assert_eq!(p.is_exclusive(page), N == 1));
}

fn block_mapped(p: &Process, pages: PageRange) -> u64 {
    p.call(|mm| mm.resident_view(pages)).block_mapped
}

/// A folio of `order`, mapped page by page: a block whose rights were not the same everywhere for a
/// while is one no more.
fn mapped_by_entries(p: &mut Process, order: u8) -> PageRange {
    let pages = p.new_folios(order, 1, TAGGED);
    if order == 9 {
        p.protect(one(pages.start), Prot::READ, false);
        p.protect(pages, READ_WRITE, false);
        p.fill(pages);
        assert_eq!(block_mapped(p, pages), 0);
    }
    pages
}

#[test]
fn s003_r01_a_folio_is_exclusive_shared_by_fork_and_exclusive_again() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let nr = nr_pages(order);
        for pages in [mapped_by_entries(&mut p, order), p.new_folios(order, 1, RW)] {
            assert_mapped_by(pages.start, [(&p, nr)]);
            let child = p.fork(CPU1);
            assert_mapped_by(pages.end.sub(1), [(&p, nr), (&child, nr)]);
            child.exit();
            assert_mapped_by(pages.start, [(&p, nr)]);
        }
        p.exit();
    });
}

/// The row allows "shared" as an answer when the first two of three have left, because Linux tracks
/// two address spaces. Here the count is exact: the survivor is exclusive at once, whoever it is.
#[test]
fn s003_r03_the_survivor_of_many_is_exclusive_again_at_once() {
    for_orders(&ORDERS, |world, order| {
        let nr = nr_pages(order);
        // The first, one that is counted in the descriptor, one in the table beyond, the last.
        for survivor in [0, 1, 3, 6] {
            let mut p = world.tagged_process();
            let pages = p.new_folios(order, 1, TAGGED);
            let mut all: Vec<_> = (0..6).map(|_| p.fork(CPU1)).collect();
            all.insert(0, p);
            let mut left = all.swap_remove(survivor);
            while let Some(p) = all.pop() {
                assert_eq!(sharing(&left, pages.start).by_mm.len(), all.len() + 2);
                assert!(!left.is_exclusive(pages.start));
                p.exit();
            }
            assert_mapped_by(pages.start, [(&left, nr)]);
            let copied = world.count(MmEvent::CowCopy);
            left.fill(pages);
            assert_eq!(world.count(MmEvent::CowCopy), copied);
            left.exit();
        }
    });
}

#[test]
fn s003_r03_whoever_maps_least_of_a_folio_counts_too() {
    for_orders(LARGE, |world, order| {
        let mut p = world.tagged_process();
        let nr = nr_pages(order);
        let pages = p.new_folios(order, 1, TAGGED);
        let [mut b, mut c] = [p.fork(CPU1), p.fork(CPU1)];
        // One page each, and not the same ones.
        b.unmap(PageRange::new(pages.start.add(1), pages.end));
        c.unmap(PageRange::new(pages.start, pages.end.sub(1)));
        assert_mapped_by(pages.start, [(&p, nr), (&b, 1), (&c, 1)]);
        p.unmap(pages);
        assert_mapped_by(pages.start, [(&b, 1), (&c, 1)]);
        b.exit();
        assert_mapped_by(pages.end.sub(1), [(&c, 1)]);
        c.exit();
        p.exit();
    });
}

#[test]
fn s003_r15_a_copied_page_splits_the_block_of_the_process_that_stored_only() {
    for_orders(BLOCK, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let mut child = p.fork(CPU1);
        child.check_tags(TagCheckMode::Sync);
        assert_eq!([&p, &child].map(|p| block_mapped(p, pages)), [512, 512]);
        let splits = world.count(MmEvent::ThpSplitPmd);
        let stored = pages.start.add(77);
        child.write(stored, 1, 5);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), splits + 1);
        assert_eq!(world.count(MmEvent::CowCopy), 1);
        assert_eq!([&p, &child].map(|p| block_mapped(p, pages)), [512, 0]);
        for page in pages.pages() {
            assert_eq!(frame(&p, page) == frame(&child, page), page != stored, "{page:?}");
        }
        assert_mapped_by(pages.start, [(&p, 512), (&child, 511)]);
        p.verify_all();
        child.verify_all();
        child.exit();
        p.exit();
    });
}

#[test]
fn s003_r16_after_the_child_is_gone_a_store_copies_nothing() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        for pages in [mapped_by_entries(&mut p, order), p.new_folios(order, 1, TAGGED)] {
            let before: Vec<_> = pages.pages().map(|page| frame(&p, page)).collect();
            let blocks = block_mapped(&p, pages);
            p.fork(CPU1).exit();
            p.fill(pages);
            let after: Vec<_> = pages.pages().map(|page| frame(&p, page)).collect();
            assert_eq!(after, before);
            assert_eq!(block_mapped(&p, pages), blocks, "a block stays one");
        }
        assert_eq!(world.count(MmEvent::CowCopy), 0);
        p.exit();
    });
}

#[test]
fn s003_r16_with_an_extra_reference_a_store_copies_its_page() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        for pages in [mapped_by_entries(&mut p, order), p.new_folios(order, 1, TAGGED)] {
            p.fork(CPU1).exit();
            let copied = world.count(MmEvent::CowCopy);
            let stored = pages.end.sub(1);
            let before: Vec<_> = pages.pages().map(|page| frame(&p, page)).collect();
            let mm = Arc::clone(&p.mm);
            let held = p.call(|_| mm.hold_folio_of(pages.start)).expect("a mapped page");
            p.write(stored, 0, 3);
            assert_eq!(world.count(MmEvent::CowCopy), copied + 1);
            for (page, before) in pages.pages().zip(before) {
                assert_eq!(frame(&p, page) == before, page != stored, "{page:?}");
            }
            p.call(|_| drop(held));
            // Nobody holds it any more: the rest is stored to in place.
            p.fill(pages);
            assert_eq!(world.count(MmEvent::CowCopy), copied + 1);
        }
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s003_r16_a_swap_entry_of_another_process_is_a_reference_too() {
    for_orders_on(Adversary::CALM, &ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let mut child = p.fork(CPU1);
        child.check_tags(TagCheckMode::Sync);
        world.reclaim(&p, pages);
        p.verify_all();
        assert!(p.is_exclusive(pages.start), "mapped by nobody else");
        p.write(pages.start, 0, 4);
        assert_eq!(world.count(MmEvent::CowCopy), 1);
        child.verify_all();
        p.verify_all();
        child.exit();
        p.exit();
    });
}

#[test]
fn s003_r17_pressure_splits_a_half_unmapped_folio_and_frees_exactly_that_half() {
    for_orders_on(Adversary::CALM, LARGE, |world, order| {
        let nr = nr_pages(order);
        let stat = |stat| world.stat(stat, order);
        for advice in [None, Some(Advice::DontNeed)] {
            let mut p = world.tagged_process();
            let pages = p.new_folios(order, 1, TAGGED);
            let half = PageRange::of_len(pages.start.add(nr / 2), nr / 2);
            let (splits, queued) = (stat(ThpStat::Split), stat(ThpStat::SplitDeferred));
            let free = world.footprint().free;
            match advice {
                None => p.unmap(half),
                Some(advice) => p.advise(half, advice),
            }
            assert_eq!(stat(ThpStat::SplitDeferred), queued + 1);
            assert_eq!(stat(ThpStat::NrAnonPartiallyMapped), 1);
            assert_eq!(world.footprint().free, free, "nothing is free yet");
            world.on(CPU0, || world.system.reclaim_pages(1));
            assert_eq!(stat(ThpStat::Split), splits + 1);
            assert_eq!(stat(ThpStat::NrAnonPartiallyMapped), 0);
            assert_eq!(world.footprint().free, free + nr / 2, "exactly the unmapped half");
            assert_eq!(p.nr_present(pages) as u64, nr / 2, "the other half is where it was");
            p.verify_all();
            p.exit();
        }
    });
}

#[test]
fn s003_r17_a_folio_that_somebody_maps_as_a_whole_is_not_partly_mapped() {
    for_orders(LARGE, |world, order| {
        let mut p = world.tagged_process();
        let nr = nr_pages(order);
        let pages = p.new_folios(order, 1, TAGGED);
        let child = p.fork(CPU1);
        p.unmap(PageRange::of_len(pages.start, nr / 2));
        assert_eq!(world.stat(ThpStat::SplitDeferred, order), 0, "the child has all of it");
        child.exit();
        // The child's going leaves it partly mapped. That is found out when it unmaps.
        assert_eq!(world.stat(ThpStat::SplitDeferred, order), 1);
        p.exit();
        assert_eq!(world.stat(ThpStat::NrAnonPartiallyMapped, order), 0);
    });
}

#[test]
fn s003_r18_blocks_are_counted_where_they_are_mapped_and_where_they_are_split() {
    for_orders(BLOCK, |world, order| {
        let mut p = world.tagged_process();
        let area: Vec<_> = (0..4).map(|_| p.new_folios(order, 1, TAGGED)).collect();
        let all = PageRange::new(area[0].start, area[3].end);
        let counted = |p: &Process| {
            let stats = p.mm.stats();
            assert_eq!(stats.block_mapped, block_mapped(p, all), "smaps and the gauge agree");
            (stats.block_mapped / 512, world.count(MmEvent::ThpSplitPmd))
        };
        assert_eq!(world.count(MmEvent::ThpFaultAlloc), 4);
        assert_eq!(p.call(|_| counted(&p)), (4, 0));
        p.protect(one(area[0].start), Prot::READ, false);
        assert_eq!(p.call(|_| counted(&p)), (3, 1), "mprotect of a page");
        p.unmap(one(area[1].start));
        assert_eq!(p.call(|_| counted(&p)), (2, 2), "munmap of a page");
        p.protect(area[2], Prot::READ, false);
        assert_eq!(p.call(|_| counted(&p)), (2, 2), "mprotect of the whole");
        let child = p.fork(CPU1);
        assert_eq!(p.call(|_| counted(&child)), (2, 2), "fork shares blocks as blocks");
        child.exit();
        p.unmap(area[2]);
        assert_eq!(p.call(|_| counted(&p)), (1, 2), "munmap of the whole");
        p.page_out(area[3]);
        assert_eq!(p.call(|_| counted(&p)), (0, 2), "swapped as a whole");
        assert_eq!(world.count(MmEvent::ThpSplitPage), 0);
        assert_eq!(world.count(MmEvent::ThpSwpOut), 1);
        p.exit();
    });
}

#[test]
fn s003_r19_two_threads_of_one_address_space_are_not_sharing() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let nr = nr_pages(order);
        let pages = p.new_folios(order, 1, TAGGED);
        let other = Process {
            world: world.clone(),
            mm: Arc::clone(&p.mm),
            cpu: CPU1,
            oracle: p.oracle.clone(),
        };
        other.check_tags(TagCheckMode::Sync);
        p.fork(CpuId::new(0)).exit();
        let mut other = other;
        for (n, page) in pages.pages().enumerate() {
            let by = if n % 2 == 0 { &mut p } else { &mut other };
            by.write(page, 1, 11);
            assert_mapped_by(page, [(&p, nr)]);
        }
        assert_eq!(world.count(MmEvent::CowCopy), 0);
        p.exit();
    });
}

#[test]
fn s003_r20_after_exec_the_old_address_space_counts_no_more() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let nr = nr_pages(order);
        let pages = p.new_folios(order, 1, TAGGED);
        // fork, exec: a new address space, and the old one is left by its last user.
        let child = p.fork(CPU1);
        assert_mapped_by(pages.start, [(&p, nr), (&child, nr)]);
        let after_exec = world.process(CPU1);
        child.exit();
        assert_mapped_by(pages.start, [(&p, nr)]);
        after_exec.exit();
        // vfork, exec: the child uses the parent's address space until then.
        assert!(p.mm.get_user());
        assert_mapped_by(pages.start, [(&p, nr)]);
        let after_exec = world.process(CPU1);
        p.call(|mm| mm.put_user());
        assert_mapped_by(pages.start, [(&p, nr)]);
        p.fill(pages);
        assert_eq!(world.count(MmEvent::CowCopy), 0);
        after_exec.exit();
        p.exit();
    });
}
