// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests that faults do as the settings of large folios say.

mod world;

use base::{Order, PageRange, Vpn};
use hal::sim::{Adversary, Bank, SimConfig};
use mm::{
    Advice, Defrag, Enabled, MmEvent, PageView, SizeEnabled, SizeSettings, ThpDisable, ThpStat,
};
use world::process::{Process, RW};
use world::{CPU0, World, config};

const NR_PAGES: u64 = Order::CONT.nr_pages() as u64;

/// A machine of 8 MiB on which memory may have folios of 64 KiB as `size` says.
fn world(size: SizeEnabled) -> World {
    world_on(size, Adversary::FULL)
}

fn world_on(size: SizeEnabled, adversary: Adversary) -> World {
    let first = SimConfig::default().banks[0].first;
    let banks = vec![Bank { first, nr_blocks: 4 }];
    let disks = vec![8 * 256 * 16];
    let world = World::new(SimConfig { banks, disks, adversary, ..config(1) });
    let mut sizes = SizeSettings::NEVER;
    sizes.set(mm::OrderSet::of(Order::CONT), size);
    world.system.thp().settings().set_sizes(sizes);
    world
}

fn stat(world: &World, stat: ThpStat) -> u64 {
    world.system.thp().stats().total(stat, Order::CONT)
}

/// Maps an aligned 64 KiB.
fn one_folio(p: &mut Process) -> PageRange {
    let pages = p.map(2 * NR_PAGES, RW);
    let start = pages.start.add(NR_PAGES - 1).align_down(NR_PAGES);
    PageRange::of_len(start, NR_PAGES)
}

/// Takes single pages until no run of 16 may be taken any more.
fn use_up_memory(world: &World, p: &mut Process) {
    let settings = world.system.thp().settings();
    let sizes = settings.sizes();
    settings.set_sizes(SizeSettings::NEVER);
    let nr_free = || world.on(CPU0, || world.system.meminfo().free);
    while nr_free() >= world.system.watermarks().min + NR_PAGES {
        let page = p.map(1, RW).start;
        p.write(page, 0, page.get());
    }
    assert_eq!(world.count(MmEvent::AllocStall), 0, "single pages can still be had");
    settings.set_sizes(sizes);
}

#[test]
fn defrag_decides_whether_a_first_store_reclaims() {
    let rows = [
        (Defrag::Always, true, true),
        (Defrag::Defer, false, false),
        (Defrag::DeferOrMadvise, false, true),
        (Defrag::Madvise, false, true),
        (Defrag::Never, false, false),
    ];
    for (defrag, plain, wanted) in rows {
        for (is_wanted, reclaims) in [(false, plain), (true, wanted)] {
            let world = world(SizeEnabled::Always);
            world.system.thp().settings().set_defrag(defrag);
            let mut p = world.process(CPU0);
            let pages = one_folio(&mut p);
            if is_wanted {
                p.advise(pages, Advice::Huge(true));
            }
            use_up_memory(&world, &mut p);
            p.write(pages.start, 0, 1);
            let stalls = world.count(MmEvent::AllocStall);
            assert_eq!(stalls, u64::from(reclaims), "{defrag:?}, wanted: {is_wanted}");
            let got = stat(&world, ThpStat::AnonFaultAlloc);
            let fell_back = stat(&world, ThpStat::AnonFaultFallback);
            assert_eq!(got + fell_back, 1, "{defrag:?}, wanted: {is_wanted}");
            assert_eq!(got, stalls, "what was reclaimed first lies together");
            world.audit();
            p.verify_all();
            p.exit();
        }
    }
}

/// Fills memory with single pages and gives back those in odd frames: much is free, and no run.
fn scatter_memory(world: &World, p: &mut Process) {
    use_up_memory(world, p);
    let is_odd = |page: &Vpn| match p.page_view(*page) {
        PageView::Present { pfn, .. } => pfn.get() % 2 == 1,
        _ => false,
    };
    let odd: Vec<_> = p.oracle.mapped().into_iter().filter(is_odd).collect();
    odd.into_iter().for_each(|page| p.unmap(PageRange::of_len(page, 1)));
    // What was kept for reclaim has runs.
    world.system.thp().settings().set_defrag(Defrag::Never);
    while stat(world, ThpStat::AnonFaultFallback) == 0 {
        let pages = one_folio(p);
        p.write(pages.start, 0, 1);
    }
}

/// Lets the background thread do what it was woken for, if it was. The machine has a yield hook, so
/// that it does not sleep for ever.
fn run_kswapd(world: &World) {
    let mut nr_asked = 0;
    let mut is_over = || {
        nr_asked += 1;
        nr_asked > 1
    };
    world.on(CPU0, || world.system.run_kswapd(&mut is_over));
}

#[test]
fn defrag_decides_whether_the_background_thread_makes_room_for_the_next() {
    let rows = [
        (Defrag::Defer, true, true),
        (Defrag::DeferOrMadvise, true, false),
        (Defrag::Madvise, false, false),
        (Defrag::Never, false, false),
    ];
    for (defrag, plain, wanted) in rows {
        for (is_wanted, is_woken) in [(false, plain), (true, wanted)] {
            // What was used first goes first: neighbours. A CPU that speculates mixes them up.
            let world = world_on(SizeEnabled::Always, Adversary::CALM);
            world.machine.set_yield_hook(|| {});
            let mut p = world.process(CPU0);
            let places = [one_folio(&mut p), one_folio(&mut p)];
            if is_wanted {
                places.iter().for_each(|pages| p.advise(*pages, Advice::Huge(true)));
            }
            scatter_memory(&world, &mut p);
            // It was woken when there was little.
            run_kswapd(&world);
            world.system.thp().settings().set_defrag(defrag);
            let before = world.count(MmEvent::KswapdWakeup);
            let nr_before = stat(&world, ThpStat::AnonFaultAlloc);
            let stores = |p: &mut Process, n: usize| {
                p.write(places[n].start, 0, 1);
                let nr_large = stat(&world, ThpStat::AnonFaultAlloc) - nr_before;
                (nr_large, world.count(MmEvent::AllocStall))
            };
            let reclaims = is_wanted && matches!(defrag, Defrag::DeferOrMadvise | Defrag::Madvise);
            let first = stores(&mut p, 0);
            assert_eq!(first.1, u64::from(reclaims), "{defrag:?}, wanted: {is_wanted}");
            run_kswapd(&world);
            let woken = world.count(MmEvent::KswapdWakeup) - before;
            assert_eq!(woken, u64::from(is_woken), "{defrag:?}, wanted: {is_wanted}");
            if !reclaims {
                assert_eq!(first.0, 0, "there was no run");
                let expected = (u64::from(is_woken), 0);
                assert_eq!(stores(&mut p, 1), expected, "{defrag:?}, wanted: {is_wanted}");
            }
            world.audit();
            p.verify_all();
            p.exit();
        }
    }
}

/// Returns whether a first store to memory with this advice gets a large folio.
fn is_large(p: &mut Process, advice: Option<bool>) -> bool {
    let before = stat(&p.world, ThpStat::AnonFaultAlloc);
    let pages = one_folio(p);
    if let Some(wanted) = advice {
        p.advise(pages, Advice::Huge(wanted));
    }
    p.write(pages.start, 0, 1);
    stat(&p.world, ThpStat::AnonFaultAlloc) == before + 1
}

#[test]
fn settings_and_advice_decide_which_folio_a_first_store_gets() {
    let world = world(SizeEnabled::Inherit);
    let settings = world.system.thp().settings();
    let mut p = world.process(CPU0);
    let advices = [None, Some(true), Some(false)];
    let found = |p: &mut Process| advices.map(|advice| is_large(p, advice));
    settings.set_enabled(Enabled::Always);
    assert_eq!(found(&mut p), [true, true, false]);
    settings.set_enabled(Enabled::Madvise);
    assert_eq!(found(&mut p), [false, true, false]);
    settings.set_enabled(Enabled::Never);
    assert_eq!(found(&mut p), [false; 3]);
    settings.set_size(Order::CONT, SizeEnabled::Madvise);
    assert_eq!(found(&mut p), [false, true, false], "the size decides for itself");
    assert_eq!(stat(&world, ThpStat::AnonFaultFallback), 0);
    p.exit();
}

#[test]
fn a_process_without_large_folios_gets_none_and_its_child_does_not_either() {
    let world = world(SizeEnabled::Always);
    let mut p = world.process(CPU0);
    p.mm.set_thp_disable(ThpDisable::ExceptAdvised);
    assert_eq!([None, Some(true)].map(|advice| is_large(&mut p, advice)), [false, true]);
    p.mm.set_thp_disable(ThpDisable::All);
    assert!(!is_large(&mut p, Some(true)));
    let mut child = p.fork(CPU0);
    assert!(!is_large(&mut child, Some(true)));
    child.mm.set_thp_disable(ThpDisable::No);
    assert!(is_large(&mut child, None));
    assert!(!is_large(&mut p, None), "a child's choice is its own");
    child.exit();
    p.exit();
    world.audit();
}
