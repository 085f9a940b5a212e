// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts what is invalidated, where, and how often anybody waits: rows 5 and 8 of section
//! 004.3 of the facts this kernel is built on ("batched TLB flushing"), ASIDs, and the policies.

mod world;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, Bank, SimConfig};
use mm::{Advice, AreaFlags, MmEvent, Placement, Prot, TlbPolicy};
use world::process::{AccessError, Process, RW};
use world::{CPU0, CPU1, World, config};

const START: Vpn = Vpn::new(0x10_0000);

/// 32 MiB of RAM, 32 MiB of swap, and a machine that does nothing of its own accord.
fn calm_world(policy: TlbPolicy) -> World {
    calm_world_of(policy, 1 << 16)
}

fn calm_world_of(policy: TlbPolicy, nr_asids: u32) -> World {
    let first = SimConfig::default().banks[0].first;
    let banks = vec![Bank { first, nr_blocks: 16 }];
    let disks = vec![8 * 256 * 32];
    let world =
        World::new(SimConfig { banks, disks, nr_asids, adversary: Adversary::CALM, ..config(1) });
    world.system.set_tlb_policy(policy);
    world
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    pages: u64,
    ranges: u64,
    asids: u64,
    local: u64,
    covered: u64,
    elided: u64,
    dsbs: u64,
}

fn counts(world: &World) -> Counts {
    Counts {
        pages: world.count(MmEvent::TlbiPage),
        ranges: world.count(MmEvent::TlbiRange),
        asids: world.count(MmEvent::TlbiAsid),
        local: world.count(MmEvent::TlbiLocal),
        covered: world.count(MmEvent::TlbiRangePages),
        elided: world.count(MmEvent::TlbiElided),
        dsbs: world.count(MmEvent::TlbDsb),
    }
}

/// Returns what `body` costs.
fn cost(world: &World, body: impl FnOnce()) -> Counts {
    let before = counts(world);
    body();
    let after = counts(world);
    Counts {
        pages: after.pages - before.pages,
        ranges: after.ranges - before.ranges,
        asids: after.asids - before.asids,
        local: after.local - before.local,
        covered: after.covered - before.covered,
        elided: after.elided - before.elided,
        dsbs: after.dsbs - before.dsbs,
    }
}

/// A process with `nr` pages in folios of `order`, all stored to.
fn process_with(world: &World, order: u8, at: Vpn, nr: u64) -> (Process, PageRange) {
    if order > 0 {
        world.allow_order(order);
    }
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(at), nr, RW);
    pages.pages().for_each(|page| p.store(page.base(), page.get()).unwrap());
    (p, pages)
}

/// Another CPU runs the process, so that invalidations are broadcast.
fn run_elsewhere_too(p: &Process) {
    p.world.on(CPU1, || p.mm.activate());
}

const ONE_RANGE: Counts =
    Counts { pages: 0, ranges: 1, asids: 0, local: 0, covered: 512, elided: 0, dsbs: 1 };

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

#[test]
fn an_address_space_that_ran_on_one_cpu_is_invalidated_there_only() {
    let world = calm_world(TlbPolicy::Batch);
    let (mut p, pages) = process_with(&world, 0, START, 512);
    let own = cost(&world, || p.protect(pages, Prot::READ, false));
    assert_eq!((own.ranges, own.local, own.dsbs), (1, 1, 1), "by itself");
    // Somebody else takes pages away: not from that CPU's TLB alone.
    p.protect(pages, Prot::READ | Prot::WRITE, false);
    pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
    let first = PageRange::of_len(pages.start, 1);
    let other = cost(&world, || {
        world.on(CPU1, || p.mm.advise(first, Advice::PageOut)).unwrap();
    });
    assert_eq!((other.pages, other.local), (1, 0), "from elsewhere");
    run_elsewhere_too(&p);
    let both = cost(&world, || p.protect(pages, Prot::empty(), false));
    assert_eq!((both.ranges, both.local), (1, 0), "where two have run");
    world.assert_no_stale(&p.mm);
}

#[test]
fn an_address_space_that_has_run_nowhere_is_invalidated_nowhere() {
    let world = calm_world(TlbPolicy::Batch);
    let (p, pages) = process_with(&world, 0, START, 512);
    let mut child = p.fork(CPU1);
    let unmapped = cost(&world, || child.unmap(pages));
    assert_eq!(unmapped, Counts { elided: 1, ..Counts::default() });
    let exited = cost(&world, || child.exit());
    assert_eq!(exited, Counts { elided: 1, ..Counts::default() });
    world.audit();
}

#[test]
fn the_only_thread_takes_its_address_space_along_to_another_cpu() {
    let world = calm_world(TlbPolicy::Batch);
    let (mut p, pages) = process_with(&world, 0, START, 64);
    world.on(CPU0, || world.system.deactivate());
    p.cpu = CPU1;
    let moved = cost(&world, || assert_eq!(p.load(pages.start.base()), Ok(START.get())));
    assert_eq!((moved.asids, moved.local, moved.dsbs), (1, 0, 1), "the old CPU forgets it all");
    assert_eq!(world.count(MmEvent::TlbMoved), 1);
    let unmapped = cost(&world, || p.unmap(pages));
    assert_eq!((unmapped.ranges, unmapped.local), (1, 1), "and is out of it");
    world.assert_no_stale(&p.mm);
    // Back again: the old CPU does not know it any more either.
    p.cpu = CPU0;
    world.on(CPU1, || world.system.deactivate());
    let again = p.map_at(Placement::Fixed(START), 1, RW).start;
    p.store(again.base(), 5).unwrap();
    assert_eq!(world.count(MmEvent::TlbMoved), 2);
    world.audit();
}

#[test]
fn a_cpu_that_still_runs_it_keeps_its_translations() {
    let world = calm_world(TlbPolicy::Batch);
    let (p, pages) = process_with(&world, 0, START, 4);
    run_elsewhere_too(&p);
    assert_eq!(world.count(MmEvent::TlbMoved), 0, "CPU 0 has not left it");
    let first = PageRange::of_len(pages.start, 1);
    let cost = cost(&world, || p.call(|mm| mm.advise(first, Advice::DontNeed)).unwrap());
    assert_eq!((cost.pages, cost.local), (1, 0));
}

/// 40 processes, 15 ASIDs, two CPUs.
#[test]
fn more_address_spaces_than_asids_keep_apart() {
    for policy in TlbPolicy::ALL {
        let world = calm_world_of(policy, 16);
        let mut all: Vec<_> = (0..40u64)
            .map(|n| {
                let mut p = world.process(if n.is_multiple_of(2) { CPU0 } else { CPU1 });
                let page = p.map_at(Placement::Fixed(START), 2, RW).start;
                p.write(page, 0, n);
                p
            })
            .collect();
        for round in 1..4 {
            for (n, p) in all.iter_mut().enumerate() {
                p.verify_all();
                p.write(START, 0, n as u64 + 100 * round);
                if n.is_multiple_of(5) {
                    // Now and then one is forked, protected, swapped.
                    p.fork(p.cpu).exit();
                    p.advise(PageRange::of_len(START, 1), Advice::PageOut);
                }
            }
        }
        assert!(world.count(MmEvent::AsidRollover) >= 8, "{policy:?}");
        all.iter_mut().for_each(Process::verify_all);
        world.audit();
        all.into_iter().for_each(Process::exit);
        world.audit();
    }
}

/// A CPU that runs on over a rollover keeps its ASID, and what it has cached stays right.
#[test]
fn who_runs_at_a_rollover_runs_on() {
    let world = calm_world_of(TlbPolicy::Batch, 16);
    let (mut p, pages) = process_with(&world, 0, START, 4);
    let asid = p.mm.asid();
    for n in 0..40 {
        // On CPU 1, each with the same pages mapped to its own.
        let mut other = world.process(CPU1);
        let page = other.map_at(Placement::Fixed(START), 1, RW).start;
        other.write(page, 0, n);
        // Without a system call in between: CPU 0 goes on with what it has.
        let at = pages.start.base();
        assert_eq!(world.on(CPU0, || world.machine.load(CPU0, at)).ok(), Some(START.get()));
        other.verify_all();
        other.exit();
    }
    assert!(world.count(MmEvent::AsidRollover) >= 2);
    assert_eq!(p.mm.asid(), asid);
    p.unmap(pages);
    world.assert_no_stale(&p.mm);
}

/// Row 8: the count of invalidations passes every limit that a narrower one would have.
#[test]
fn s004_r08_a_batch_is_seen_whatever_its_number() {
    for limit in [1 << 14, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63] {
        let world = calm_world(TlbPolicy::Batch);
        world.system.count_tlb_generations_from(limit - 4);
        let (mut p, pages) = process_with(&world, 0, START, 8);
        p.cpu = CPU1;
        for page in pages.pages() {
            unmap_under_a_batch(&world, &mut p, page);
        }
        world.assert_no_stale(&p.mm);
        world.audit();
    }
}

/// Row 7: what reclaim has taken away and not waited for is not used after munmap returns.
fn unmap_under_a_batch(world: &World, p: &mut Process, page: Vpn) {
    let at = page.base();
    p.store(at, 1).unwrap();
    let mm = std::sync::Arc::clone(&p.mm);
    world.on(CPU0, || {
        let batch = mm.begin_page_out(page).expect("an anonymous page");
        world.on(CPU1, || {
            assert_eq!(world.machine.store(CPU1, at, 2), Ok(()), "its TLB still has it");
            p.unmap(PageRange::of_len(page, 1));
            assert!(world.machine.store(CPU1, at, 3).is_err(), "gone when munmap returns");
        });
        batch.finish();
    });
    assert!(matches!(p.load(at), Err(AccessError::Fault(_))));
}

#[test]
fn s004_r07_munmap_completes_what_reclaim_has_begun() {
    for policy in TlbPolicy::ALL {
        let world = calm_world(policy);
        let (mut p, pages) = process_with(&world, 0, START, 4);
        p.cpu = CPU1;
        if policy == TlbPolicy::Page {
            // Nothing is ever left to be completed.
            p.unmap(pages);
            continue;
        }
        pages.pages().for_each(|page| unmap_under_a_batch(&world, &mut p, page));
        world.assert_no_stale(&p.mm);
        world.audit();
    }
}

#[test]
fn s004_r07_mprotect_mremap_and_madvise_complete_what_reclaim_has_begun() {
    type Call = fn(&mut Process, PageRange);
    let calls: [Call; 4] = [
        |p, page| p.protect(page, Prot::READ, false),
        |p, page| _ = p.remap(page, Some(START.add(4096))),
        |p, page| p.advise(page, Advice::DontNeed),
        |p, page| p.advise(page, Advice::Free),
    ];
    for call in calls {
        let world = calm_world(TlbPolicy::Batch);
        let (mut p, pages) = process_with(&world, 0, START, 2);
        run_elsewhere_too(&p);
        p.cpu = CPU1;
        let (page, at) = (PageRange::of_len(pages.start, 1), pages.start.base());
        p.store(at, 1).unwrap();
        let mm = std::sync::Arc::clone(&p.mm);
        world.on(CPU0, || {
            let batch = mm.begin_page_out(page.start).expect("an anonymous page");
            world.on(CPU1, || {
                assert_eq!(world.machine.store(CPU1, at, 2), Ok(()), "its TLB still has it");
                call(&mut p, page);
                assert!(world.machine.store(CPU1, at, 3).is_err(), "gone when the call returns");
            });
            batch.finish();
        });
        world.audit();
    }
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
