// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the life of slots: counts, clusters, cached folios whose entries go. Rows 9 to 16
//! and 20 of 002.3 of the facts.

mod world;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, SimConfig};
use mm::lab::Refault;
use mm::{Advice, FaultError, MmEvent, PageView, Placement, ThpStat};
use pgtable::{NonPresent, SwapEntry};
use world::folios::roomy;
use world::process::{AccessError, Process, RW};
use world::{CPU0, CPU1, World, config};

const START: Vpn = Vpn::new(0x10_0000);

fn calm(config: SimConfig) -> World {
    let world = World::new(SimConfig { adversary: Adversary::CALM, ..config });
    world.system.set_refault(Refault { stays_cached: false, ..Refault::default() });
    world
}

/// What is written to swap stays in the cache.
fn keep_cached(world: &World, keep: bool) {
    world.system.set_refault(Refault { stays_cached: keep, ..Refault::default() });
}

/// A process with `nr` pages in swap, from [`START`] on.
fn swapped(world: &World, nr: u64) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), nr, RW);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    p.advise(pages, Advice::PageOut);
    pages.pages().for_each(|page| assert!(p.is_swapped(page)));
    (p, pages)
}

fn slot_of(p: &Process, page: Vpn) -> SwapEntry {
    match p.page_view(page) {
        PageView::Swapped(entry) => entry,
        other => panic!("{page:?} is {other:?}"),
    }
}

fn state(world: &World, entry: SwapEntry) -> (u32, bool) {
    world.on(CPU0, || world.system.slot_state(entry))
}

fn nr_used(world: &World) -> u64 {
    world.system.swap_areas()[0].nr_used
}

fn page(n: u64) -> PageRange {
    PageRange::of_len(START.add(n), 1)
}

#[test]
fn s002_r09_a_slot_given_up_twice_is_noticed_and_nobody_loses_one() {
    let world = calm(config(1));
    let (mut p, pages) = swapped(&world, 4);
    let slots: Vec<_> = pages.pages().map(|page| slot_of(&p, page)).collect();
    p.unmap(page(1));
    // It is free, and then somebody else's.
    let give_up = |slot| world.on(CPU0, || world.system.drop_foreign_slot(slot));
    give_up(slots[1]);
    assert_eq!((state(&world, slots[1]), nr_used(&world)), ((0, false), 3));
    world.audit();
    // A slot that only the cache has.
    keep_cached(&world, true);
    let mut q = world.process(CPU1);
    let other = q.map(1, RW).start;
    q.write(other, 0, 5);
    q.advise(PageRange::of_len(other, 1), Advice::PageOut);
    let slot = slot_of(&q, other);
    q.verify(other);
    assert_eq!(state(&world, slot), (0, true));
    give_up(slot);
    assert_eq!(state(&world, slot), (0, true));
    q.verify_all();
    p.verify_all();
    world.audit();
    q.exit();
    p.exit();
    world.audit();
}

#[test]
fn s002_r10_a_range_across_clusters_loses_one_count_each() {
    let world = calm(roomy(2));
    let (mut p, pages) = swapped(&world, 1200);
    let slots: Vec<_> = pages.pages().map(|page| slot_of(&p, page)).collect();
    let clusters: std::collections::BTreeSet<_> = slots.iter().map(|at| at.slot / 512).collect();
    assert!(clusters.len() >= 3, "the range crosses clusters: {clusters:?}");
    // Every third has two users, every fifth is cached.
    let mut child = p.fork(CPU1);
    let is_shared = |n: u64| n.is_multiple_of(3);
    let is_cached = |n: u64| n.is_multiple_of(5);
    (0..1200).filter(|n| !is_shared(*n)).for_each(|n| child.unmap(page(n)));
    let mut third = p.fork(CPU1);
    // A load maps the page there, and lowers the count; the folio stays cached for the others.
    keep_cached(&world, true);
    (0..1200).filter(|n| is_cached(*n)).for_each(|n| third.verify(START.add(n)));
    third.exit();
    let users = |n: u64| 1 + u32::from(is_shared(n));
    for n in 0..1200 {
        assert_eq!(state(&world, slots[n as usize]), (users(n), is_cached(n)), "{n}");
    }
    p.unmap(pages);
    for n in 0..1200 {
        let left = users(n) - 1;
        let cached = left > 0 && is_cached(n);
        assert_eq!(state(&world, slots[n as usize]), (left, cached), "{n}");
    }
    assert_eq!(nr_used(&world), 400);
    world.audit();
    // What was freed is usable again.
    keep_cached(&world, false);
    let mut q = world.process(CPU0);
    let more = q.map(800, RW);
    more.pages().for_each(|page| q.write(page, 0, 1));
    q.advise(more, Advice::PageOut);
    assert_eq!(nr_used(&world), 1200);
    q.exit();
    child.verify_all();
    child.exit();
    world.audit();
    assert_eq!(nr_used(&world), 0);
}

#[test]
fn s002_r11_a_cached_folio_goes_with_its_last_entry() {
    for order in [2, 4, 9] {
        let world = calm(roomy(3));
        keep_cached(&world, true);
        world.allow_order(order);
        let nr = 1 << order;
        let (mut p, pages) = swapped(&world, nr);
        let first = slot_of(&p, START);
        let free = world.system.meminfo().free;
        for n in 1..nr {
            p.unmap(page(n));
            assert_eq!(state(&world, first.add(n as u32)), (0, true), "order {order}: {n}");
        }
        assert_eq!(nr_used(&world), nr);
        p.unmap(page(0));
        assert_eq!(nr_used(&world), 0, "order {order}: all slots are free");
        assert!(world.system.meminfo().free >= free + pages.nr_pages());
        world.audit();
        p.exit();
    }
}

#[test]
fn s002_r12_a_locked_folio_is_left_alone_and_goes_later() {
    let world = calm(config(4));
    keep_cached(&world, true);
    let (mut p, pages) = swapped(&world, 1);
    let slot = slot_of(&p, START);
    world.on(CPU0, || {
        let locked = world.system.lock_cached(slot).expect("cached");
        p.unmap(pages);
        assert_eq!(state(&world, slot), (0, true), "somebody has it locked");
        drop(locked);
    });
    keep_cached(&world, false);
    // Reclaim is one of the later attempts.
    world.on(CPU0, || world.system.reclaim_pages(1));
    assert_eq!(nr_used(&world), 0, "the next who looks frees it");
    world.audit();
    p.exit();
    world.audit();
}

#[test]
fn s002_r15_only_the_folios_tell_the_orders_in_a_cluster() {
    let world = calm(roomy(5));
    [2, 4, 9].into_iter().for_each(|order| world.allow_order(order));
    let mut p = world.process(CPU0);
    // 2 MiB, 64 KiB, 16 KiB, and single pages: the last mapping is too small for a folio.
    let sizes = [512, 16, 4, 1, 4, 16, 1];
    let mut all = Vec::new();
    let mut at = START;
    for nr in sizes {
        let pages = p.map_at(Placement::Fixed(at), nr, RW);
        pages.pages().for_each(|page| p.write(page, 0, page.get()));
        all.push(pages);
        at = at.add(1024);
    }
    all.iter().for_each(|pages| p.advise(*pages, Advice::PageOut));
    let mut clusters = std::collections::BTreeMap::<u32, Vec<u64>>::new();
    for pages in &all {
        let first = slot_of(&p, pages.start);
        assert_eq!(u64::from(first.slot) % pages.nr_pages(), 0, "a run is naturally aligned");
        for (n, page) in (0..).zip(pages.pages()) {
            assert_eq!(slot_of(&p, page), first.add(n));
        }
        clusters.entry(first.slot / 512).or_default().push(pages.nr_pages());
    }
    assert!(clusters.values().any(|sizes| sizes.len() > 3), "sizes share a cluster: {clusters:?}");
    p.verify_all();
    world.audit();
    p.exit();
    world.audit();
    assert_eq!(nr_used(&world), 0);
}

#[test]
fn s002_r15_without_an_aligned_run_a_folio_is_split_and_counted() {
    // 64 slots, every fourth of which is kept in use.
    let world = calm(SimConfig { disks: vec![8 * 64], ..config(6) });
    let (mut p, _) = swapped(&world, 63);
    let kept = |n: u64| n.is_multiple_of(4);
    let slots: Vec<_> = (0..63).map(|n| slot_of(&p, START.add(n)).slot).collect();
    for n in 0..63 {
        if !kept(slots[n as usize].into()) {
            p.unmap(page(n));
        }
    }
    world.allow_order(2);
    let mut q = world.process(CPU1);
    let pages = q.map_at(Placement::Fixed(START), 4, RW);
    pages.pages().for_each(|page| q.write(page, 0, page.get()));
    q.advise(pages, Advice::PageOut);
    let fallbacks = world.stat(ThpStat::SwpoutFallback, 2);
    assert_eq!(fallbacks, 1);
    q.advise(pages, Advice::PageOut);
    pages.pages().for_each(|page| assert!(q.is_swapped(page)));
    q.verify_all();
    p.verify_all();
    world.audit();
    q.exit();
    p.exit();
    world.audit();
}

#[test]
fn s002_r16_three_hundred_children_are_counted_exactly() {
    let world = calm(roomy(7));
    let (mut p, _) = swapped(&world, 1);
    let slot = slot_of(&p, START);
    let children: Vec<_> = (0..300).map(|_| p.fork(CPU1)).collect();
    assert_eq!(state(&world, slot), (301, false));
    for (nr_gone, child) in children.into_iter().enumerate() {
        assert_eq!(state(&world, slot).0, 301 - nr_gone as u32);
        child.exit();
    }
    assert_eq!(state(&world, slot).0, 1);
    p.verify_all();
    world.audit();
    p.exit();
    assert_eq!(nr_used(&world), 0);
    world.audit();
}

#[test]
fn s002_r20_an_entry_that_names_nothing_hurts_its_process_only() {
    const BUS_ERROR: AccessError = AccessError::Fault(FaultError::NoContent);
    let world = calm(config(8));
    let before = world.footprint();
    let (mut p, pages) = swapped(&world, 6);
    let slot = slot_of(&p, START);
    let swap = |area, slot| {
        let area = pgtable::AreaId::new(area).expect("a number");
        NonPresent::Swap { entry: SwapEntry { area, slot }, exclusive: false }.encode()
    };
    let free = SwapEntry { slot: slot.slot + 100, ..slot };
    assert_eq!(state(&world, free), (0, false));
    let cases = [
        swap(5, 1),
        swap(0, u32::MAX),
        swap(0, free.slot),
        // A type, and an offset, that no entry has.
        31 << 6,
        1 << 52,
    ];
    for raw in cases {
        let page = p.map(1, RW).start;
        p.write(page, 0, 1);
        p.advise(PageRange::of_len(page, 1), Advice::DontNeed);
        p.call(|mm| mm.corrupt_entry(page, raw));
        assert_eq!(p.load(page.base()), Err(BUS_ERROR), "{raw:#x}");
        assert_eq!(p.store(page.base(), 1), Err(BUS_ERROR), "{raw:#x}");
        // Looking at it, copying it and taking it away go well.
        let child = p.fork(CPU1);
        child.call(|mm| mm.resident_view(PageRange::of_len(page, 1)));
        child.exit();
        p.unmap(PageRange::of_len(page, 1));
        assert_eq!(state(&world, free), (0, false), "{raw:#x}");
    }
    pages.pages().for_each(|page| p.verify(page));
    p.exit();
    world.audit();
    assert_eq!(world.footprint(), before);
    assert_eq!(world.count(MmEvent::SwpInError), 0, "no disk was asked");
}
