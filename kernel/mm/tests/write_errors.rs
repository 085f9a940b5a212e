// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets writes of swap fail: what a disk refuses only together with other pages goes out
//! all the same, and no slot is given up but those that cannot be written.

mod world;

use base::PageRange;
use hal::BlockOp;
use hal::sim::{IoFault, explore};
use mm::{MmEvent, ThpStat};
use world::folios::{nr_pages, roomy};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, Footprint, World};

/// Single pages that go out together: fewer than a batch of reclaim.
const NR_SINGLE: u64 = 8;

/// Lets the write requests with these numbers fail, counted from 1 from now on.
fn fail_writes(world: &World, numbers: impl IntoIterator<Item = u64>) {
    let fault = |n| IoFault::any().of(BlockOp::Write).nth(n);
    numbers.into_iter().for_each(|n| world.machine.fail_io(fault(n)));
}

/// Runs `test` on some machines with folios of an order; at the end nothing is gone but the slots
/// that failed.
fn explore_with(order: u8, test: impl Fn(&World, &mut Process) + Copy + Send + Sync + 'static) {
    explore(0..4, move |seed| {
        let world = World::new(roomy(seed));
        world.allow_order(order);
        let before = world.footprint();
        let mut p = world.tagged_process();
        test(&world, &mut p);
        p.verify_all();
        p.exit();
        world.audit();
        let retired = world.count(MmEvent::SwapSlotRetired);
        assert_eq!(retired, world.count(MmEvent::SwpOutError));
        let expected = Footprint { swap_free: before.swap_free - retired, ..before };
        assert_eq!(world.footprint(), expected);
    });
}

/// Pages out, and returns how many pages were written for good.
fn written(world: &World, p: &mut Process, pages: PageRange) -> u64 {
    let before = world.count(MmEvent::PswpOut);
    p.page_out(pages);
    world.count(MmEvent::PswpOut) - before
}

#[test]
fn pages_that_failed_together_all_succeed_alone() {
    explore_with(0, |world, p| {
        let pages = p.new_folios(0, NR_SINGLE, TAGGED);
        fail_writes(world, [1]);
        assert_eq!(written(world, p, pages), NR_SINGLE);
        assert_eq!(world.requests(), 1 + NR_SINGLE);
        assert_eq!(world.count(MmEvent::SwpOutError), 0);
    });
}

#[test]
fn of_pages_that_failed_together_one_fails_alone() {
    for bad in 1..=NR_SINGLE {
        explore_with(0, move |world, p| {
            let pages = p.new_folios(0, NR_SINGLE, RW);
            fail_writes(world, [1, 1 + bad]);
            assert_eq!(written(world, p, pages), NR_SINGLE - 1);
            assert_eq!(world.count(MmEvent::SwpOutError), 1);
            p.verify_all();
            // The page leaves its slot for another, and the slot is not used again.
            assert_eq!(written(world, p, pages), 1, "the others are clean in the cache");
            assert_eq!(world.count(MmEvent::SwapSlotRetired), 1);
        });
    }
}

#[test]
fn of_a_large_folio_that_failed_each_page_succeeds_alone() {
    for order in [2, 4, 9] {
        explore_with(order, move |world, p| {
            let pages = p.new_folios(order, 1, TAGGED);
            fail_writes(world, [1]);
            assert_eq!(written(world, p, pages), nr_pages(order));
            assert_eq!(world.requests(), 1 + nr_pages(order));
            assert_eq!(world.stat(ThpStat::Swpout, order), 1, "it went out whole");
            assert_eq!(world.count(MmEvent::SwpOutError), 0);
        });
    }
}

#[test]
fn of_a_large_folio_only_the_slot_that_failed_is_bad() {
    for (order, bad) in [(2, 0), (2, 3), (4, 7), (9, 511)] {
        explore_with(order, move |world, p| {
            let pages = p.new_folios(order, 1, TAGGED);
            // The request for all pages, then that for one of them.
            fail_writes(world, [1, 2 + bad]);
            assert_eq!(written(world, p, pages), 0, "it stays in memory");
            assert_eq!(world.count(MmEvent::SwpOutError), 1);
            p.verify_all();
            // Another run of slots is free of faults; of the first, all but one slot are free again.
            assert_eq!(written(world, p, pages), nr_pages(order));
            assert_eq!(world.count(MmEvent::SwapSlotRetired), 1);
            assert_eq!(world.stat(ThpStat::Split, order), 0);
        });
    }
}

#[test]
fn a_disk_that_takes_nothing_loses_nothing() {
    for order in [0, 4] {
        explore_with(order, move |world, p| {
            let pages = p.new_folios(order, 2, TAGGED);
            world.machine.fail_io(IoFault::any().of(BlockOp::Write));
            assert_eq!(written(world, p, pages), 0);
            assert_eq!(world.count(MmEvent::SwpOutError), pages.nr_pages());
            world.on(CPU0, || world.system.reclaim_pages(64));
            p.verify_all();
        });
    }
}
