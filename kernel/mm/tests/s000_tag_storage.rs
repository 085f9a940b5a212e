// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests where the tags of swapped pages are kept, and when they go: rows 9, 11, 12 and
//! 14 of section 000.3 (see `s000_mte_swap.rs`), for folios of order 0, 2, 4 and 9.

mod world;

use std::collections::BTreeSet;

use base::{PageRange, Vpn};
use hal::TagCheckMode;
use hal::sim::{Adversary, SimConfig};
use mm::{Advice, MmEvent, PageView, ThpStat};
use world::folios::{ORDERS, for_orders, for_orders_of, nr_pages, one, roomy};
use world::process::{Process, TAGGED, with_tag};
use world::{CPU0, CPU1, SWAP, World};

fn slot_of(p: &Process, page: Vpn) -> Option<u32> {
    match p.page_view(page) {
        PageView::Swapped(entry) => Some(entry.slot),
        _ => None,
    }
}

/// Room for a folio of the order, and for 511 pages at most besides.
fn little_swap(order: u8, seed: u64) -> SimConfig {
    let nr_clusters = if order == 9 { 2 } else { 1 };
    let disks = vec![8 * 512 * nr_clusters];
    SimConfig { disks, adversary: Adversary::CALM, ..roomy(seed) }
}

#[test]
fn s000_r09_a_reused_slot_has_its_new_page_s_tags_and_the_folio_s_others_their_own() {
    for_orders_of(little_swap, &ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 4 } else { 1 }, TAGGED);
        pages.pages().for_each(|page| p.set_all_tags(page, page.get()));
        let child = p.fork(CPU1);
        child.check_tags(TagCheckMode::Sync);
        world.reclaim(&p, pages);
        let gone = pages.start.add(1);
        let slot = slot_of(&p, gone).unwrap();
        // Page 1 comes back in one process and is dropped by the other: nothing names its slot.
        pages.pages().for_each(|page| child.assert_all_tags(page, page.get()));
        p.advise(one(gone), Advice::DontNeed);
        // The cached folio goes: the slots of the others stay, that of page 1 is free.
        let stored = world.system.tag_bytes_stored();
        child.exit();
        world.on(CPU0, || world.system.reclaim_pages(4096));
        assert_eq!(world.system.tag_bytes_stored(), stored - 128, "freed with its tags");
        // Other pages fill the area, and one of them gets the slot.
        let others = p.map(540, TAGGED);
        p.advise(others, Advice::Huge(false));
        for page in others.pages() {
            p.store(page.base(), page.get()).unwrap();
            p.set_all_tags(page, !page.get());
        }
        p.advise(others, Advice::PageOut);
        let reuser = others.pages().find(|page| slot_of(&p, *page) == Some(slot));
        let reuser = reuser.expect("the slot is used again");
        for page in pages.pages().filter(|page| *page != gone) {
            p.assert_all_tags(page, page.get());
        }
        p.assert_all_tags(reuser, !reuser.get());
        p.assert_all_zero(gone);
        p.exit();
    });
}

#[test]
fn s000_r11_saving_again_replaces_what_was_stored() {
    /// Runs of tags in the page: a record of 64 bytes.
    const RUNS: u64 = 40;
    // Neighbouring runs differ in the lowest bit, so changing one never merges two.
    fn retag(p: &Process, page: Vpn, run: u64, variant: u64) {
        for granule in (0..256).filter(|granule| granule * RUNS / 256 == run) {
            let tag = (run % 2 + variant % 8 * 2) as u8;
            p.store_tag(page.base().wrapping_add(granule * 16), tag).unwrap();
        }
    }
    for order in ORDERS {
        let world = World::new(SimConfig { adversary: Adversary::CALM, ..roomy(0) });
        world.allow_order(order);
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        for page in pages.pages() {
            (0..RUNS).for_each(|run| retag(&p, page, run, 0));
        }
        p.page_out(pages);
        let stored = (world.system.tag_bytes_stored(), world.footprint().swap_metadata);
        assert_eq!(stored.0, 64 * nr_pages(order));
        // 10,000 pages are saved again for each order.
        let cycles = 10_000 / nr_pages(order);
        for cycle in 0..cycles {
            let changed = pages.start.add(cycle % nr_pages(order));
            retag(&p, changed, cycle % RUNS, cycle / RUNS + 1);
            p.page_out(pages);
            let now = (world.system.tag_bytes_stored(), world.footprint().swap_metadata);
            assert_eq!(now, stored, "cycle {cycle}: storage does not grow");
        }
        assert_eq!(world.count(MmEvent::MteTag64), (cycles + 1) * nr_pages(order));
        assert_eq!(world.stat(ThpStat::Split, order), 0);
        world.audit();
    }
}

#[test]
fn s000_r11_dropped_from_the_cache_unread_still_has_its_tags() {
    for_orders(&ORDERS, |world, order| {
        let mut a = world.tagged_process();
        let pages = a.new_folios(order, 1, TAGGED);
        pages.pages().for_each(|page| a.set_all_tags(page, page.get()));
        a.page_out(pages);
        // A second user reads the folio into the cache and goes; it is dropped again.
        let mut b = a.fork(CPU1);
        b.check_tags(TagCheckMode::Sync);
        pages.pages().for_each(|page| b.assert_all_tags(page, page.get()));
        b.page_out(pages);
        b.exit();
        pages.pages().for_each(|page| a.assert_all_tags(page, page.get()));
        let nr = nr_pages(order);
        assert_eq!(world.count(MmEvent::MteTagsSaved), nr, "a clean page is not saved again");
        assert_eq!(world.count(MmEvent::MteTagsRestored), 2 * nr, "once for each time it was read");
        a.exit();
    });
}

#[test]
fn s000_r12_tag_storage_goes_with_munmap_swapoff_and_exit() {
    fn tagged_and_out(world: &World, order: u8) -> (Process, PageRange) {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 20 } else { 2 }, TAGGED);
        pages.pages().for_each(|page| p.set_all_tags(page, page.get()));
        p.page_out(pages);
        let raw = world.system.tag_bytes_stored();
        assert_eq!(raw, pages.nr_pages() * 128, "random tags are stored raw");
        (p, pages)
    }
    for_orders(&ORDERS, |world, order| {
        let (p, _) = tagged_and_out(world, order);
        p.exit();
    });
    for_orders(&ORDERS, |world, order| {
        let (mut p, pages) = tagged_and_out(world, order);
        // Half a folio, then the rest.
        let part = PageRange::of_len(pages.start, nr_pages(order).div_ceil(2));
        p.unmap(part);
        let left = pages.nr_pages() - part.nr_pages();
        assert_eq!(world.system.tag_bytes_stored(), left * 128);
        p.unmap(PageRange::new(part.end, pages.end));
        assert_eq!(world.system.tag_bytes_stored(), 0);
        p.exit();
    });
    for_orders(&ORDERS, |world, order| {
        let (p, pages) = tagged_and_out(world, order);
        p.call(|_| world.system.swap_off(SWAP, || false)).unwrap();
        assert_eq!(world.footprint().swap_metadata, 0);
        assert_eq!(world.system.tag_bytes_stored(), 0);
        assert_eq!(world.stat(ThpStat::Swpin, order), if order == 0 { 0 } else { 2 });
        pages.pages().for_each(|page| p.assert_all_tags(page, page.get()));
        world.swap_on_again();
        p.exit();
    });
}

/// Pages out a folio with random tags, after `before` such pages, while allocation `n` fails. Returns
/// how many pages' tags had been saved when it failed; `None` when there was none to fail.
fn fail_to_save(order: u8, before: u64, n: u64) -> Option<u64> {
    let world = World::new(SimConfig { adversary: Adversary::CALM, ..roomy(n) });
    world.allow_order(order);
    let mut p = world.tagged_process();
    if before > 0 {
        let others = p.new_folios(0, before, TAGGED);
        others.pages().for_each(|page| p.set_all_tags(page, 1));
        p.page_out(others);
    }
    let pages = p.new_folios(order, 1, TAGGED);
    pages.pages().for_each(|page| p.set_all_tags(page, page.get()));
    let saved = world.count(MmEvent::MteTagsSaved);
    let stored = world.system.tag_bytes_stored();
    let (requests, asked) = (world.requests(), world.machine.asked_allocs());
    world.machine.fail_nth_alloc(n);
    p.advise(pages, Advice::PageOut);
    let has_failed = world.machine.asked_allocs() >= asked + n;
    world.machine.fail_allocs(0);
    if has_failed {
        assert_eq!(world.requests(), requests, "nothing is written");
        assert_eq!(world.system.tag_bytes_stored(), stored, "what was saved is dropped");
        assert_eq!(world.stat(ThpStat::Split, order), 0);
    }
    let saved = world.count(MmEvent::MteTagsSaved) - saved;
    world.audit();
    if n.is_multiple_of(2) {
        // All is still there: the folio is in the cache, or mapped as it was.
        pages.pages().for_each(|page| p.assert_all_tags(page, page.get()));
        assert_eq!(world.requests(), requests + if has_failed { 0 } else { 2 });
        p.page_out(pages);
    } else if has_failed {
        // Reclaim finds it where it is.
        world.reclaim(&p, pages);
        assert_eq!(world.requests(), requests + 1);
    }
    pages.pages().for_each(|page| p.assert_all_tags(page, page.get()));
    for page in pages.pages() {
        let tag = p.load_tag(page.base()).unwrap();
        assert_eq!(p.load(with_tag(page.base(), tag)), Ok(page.get() + 1));
    }
    p.exit();
    world.audit();
    has_failed.then_some(saved)
}

#[test]
fn s000_r14_no_memory_for_the_tags_of_one_page_keeps_the_whole_folio() {
    for order in ORDERS {
        let mut failed_at = BTreeSet::new();
        // A frame of tag storage has room for 31 raw pages: others before shift where it is full.
        for before in if order == 9 { 0..1 } else { 28..32 } {
            let failed = (1..).map_while(|n| fail_to_save(order, before, n));
            failed_at.extend(failed);
        }
        let expected: &[u64] = match order {
            0 => &[0],
            9 => &[0, 31, 62, 465, 496],
            _ => &[0, 1, 2, 3],
        };
        let missing: Vec<_> = expected.iter().filter(|k| !failed_at.contains(k)).collect();
        assert!(missing.is_empty(), "order {order}: {missing:?} not among {failed_at:?}");
    }
}
