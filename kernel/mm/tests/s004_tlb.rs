// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts what is invalidated and how often anybody waits: row 5 of section 004.3 of the facts
//! this kernel is built on ("batched TLB flushing"), and the policies.

mod world;

use base::PageRange;
use mm::{Advice, AreaFlags, MmEvent, Placement, Prot, TlbPolicy};
use world::CPU0;
use world::process::RW;
use world::tlb::{Counts, ONE_RANGE, START, calm_world, cost, process_with, run_elsewhere_too};

#[test]
fn s004_r05_two_mebibytes_are_unmapped_with_one_tlbi_and_one_dsb() {
    for policy in [TlbPolicy::Batch, TlbPolicy::Generation] {
        // 512 pages, 32 contiguous runs, one block.
        for order in [0, 4, 9] {
            let world = calm_world(policy);
            let (mut p, pages) = process_with(&world, order, START, 512);
            run_elsewhere_too(&p);
            assert_eq!(cost(&world, || p.unmap(pages)), ONE_RANGE, "{policy:?}, order {order}");
            world.assert_no_stale(&p.mm);
            world.audit();
        }
        // As many, in two tables, beside a page that stays in each.
        let world = calm_world(policy);
        let (mut p, all) = process_with(&world, 0, START.add(100), 700);
        run_elsewhere_too(&p);
        let pages = PageRange::of_len(all.start.add(50), 512);
        assert_eq!(cost(&world, || p.unmap(pages)), ONE_RANGE, "{policy:?}, two tables");
        world.assert_no_stale(&p.mm);
        world.audit();
    }
}

#[test]
fn s004_r05_two_mebibytes_are_protected_or_discarded_with_one_tlbi_and_one_dsb() {
    for policy in [TlbPolicy::Batch, TlbPolicy::Generation] {
        for order in [0, 4, 9] {
            let world = calm_world(policy);
            let (mut p, pages) = process_with(&world, order, START, 512);
            run_elsewhere_too(&p);
            let protect = cost(&world, || p.protect(pages, Prot::READ, false));
            assert_eq!(protect, ONE_RANGE, "mprotect, {policy:?}, order {order}");
            let discard = cost(&world, || p.advise(pages, Advice::DontNeed));
            assert_eq!(discard, ONE_RANGE, "MADV_DONTNEED, {policy:?}, order {order}");
            world.assert_no_stale(&p.mm);
        }
    }
}

/// An operation that holds the mmap lock alone issues once for neighbours, whatever their number.
#[test]
fn s004_r05_many_tables_are_protected_and_shared_with_one_tlbi() {
    let world = calm_world(TlbPolicy::Batch);
    let (mut p, pages) = process_with(&world, 0, START, 4 * 512);
    run_elsewhere_too(&p);
    let expected = Counts { covered: 2048, ..ONE_RANGE };
    let mut child = None;
    assert_eq!(cost(&world, || child = Some(p.fork(CPU0))), expected, "fork");
    child.unwrap().exit();
    pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
    assert_eq!(cost(&world, || p.protect(pages, Prot::READ, false)), expected, "mprotect");
}

/// The policies differ in how often they invalidate and wait, and in nothing else.
#[test]
fn each_policy_costs_what_it_is_made_for() {
    let of = |policy| {
        let world = calm_world(policy);
        let (mut p, pages) = process_with(&world, 0, START, 4 * 512);
        run_elsewhere_too(&p);
        let unmapped = cost(&world, || p.unmap(pages));
        world.assert_no_stale(&p.mm);
        world.audit();
        (unmapped.pages, unmapped.ranges, unmapped.dsbs)
    };
    assert_eq!(of(TlbPolicy::Page), (2052, 0, 2052), "a page at a time, and 4 tables");
    assert_eq!(of(TlbPolicy::Batch), (0, 5, 4), "what a gather holds at a time, and the tables");
    assert_eq!(of(TlbPolicy::Generation), (0, 5, 1), "what waits, waits for one barrier");
}

/// More tables than a gather holds at a time; debug builds check the order of locks.
#[test]
fn many_tables_are_taken_out_with_one_page_in_each() {
    for policy in TlbPolicy::ALL {
        let world = calm_world(policy);
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(START), 40 * 512, RW);
        pages.pages().step_by(512).for_each(|page| p.store(page.base(), page.get()).unwrap());
        run_elsewhere_too(&p);
        p.unmap(pages);
        world.assert_no_stale(&p.mm);
        world.system.settle_tlb();
        assert_eq!(p.mm.stats().tables, 1, "{policy:?}: the root");
        world.audit();
    }
}

#[test]
fn an_exit_waits_for_nobody_where_generations_count() {
    let of = |policy| {
        let world = calm_world(policy);
        let (p, _) = process_with(&world, 0, START, 512);
        let (mut q, pages) = process_with(&world, 0, START, 1);
        let free = world.system.meminfo().free;
        let exit = cost(&world, || p.exit());
        let freed = world.system.meminfo().free - free;
        // The barrier of another operation of that CPU is the one.
        let unmap = cost(&world, || q.unmap(pages));
        assert!(world.system.meminfo().free - free >= 512, "{policy:?}: all is free by then");
        world.audit();
        (exit.asids, exit.dsbs, freed >= 512, unmap.dsbs)
    };
    assert_eq!(of(TlbPolicy::Batch), (1, 1, true, 1));
    assert_eq!(of(TlbPolicy::Generation), (1, 0, false, 1));
}

#[test]
fn what_waits_for_the_tlbs_is_had_when_memory_is_short() {
    let world = calm_world(TlbPolicy::Generation);
    let (p, _) = process_with(&world, 0, START, 6000);
    p.exit();
    let before = world.count(MmEvent::PswpOut);
    let (p, pages) = process_with(&world, 0, START, 7500);
    assert_eq!(world.count(MmEvent::PswpOut), before, "nothing had to be swapped");
    assert_eq!(p.load(pages.start.base()), Ok(START.get()));
    world.audit();
}

/// The zero page is in no area's folio, and a program that only reads has nothing else.
#[test]
fn pages_that_were_only_read_are_forgotten_too() {
    let world = calm_world(TlbPolicy::Batch);
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), 512, RW | AreaFlags::NO_HUGE);
    pages.pages().for_each(|page| assert_eq!(p.load(page.base()), Ok(0)));
    run_elsewhere_too(&p);
    assert_eq!(cost(&world, || p.unmap(pages)), ONE_RANGE);
    world.assert_no_stale(&p.mm);
}
