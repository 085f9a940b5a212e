// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says where address spaces are invalidated, and that few ASIDs are enough for many of them.

mod world;

use base::PageRange;
use mm::{Advice, MmEvent, Placement, Prot, TlbPolicy};
use world::process::{Process, RW};
use world::tlb::{Counts, START, calm_world, calm_world_of, cost, process_with, run_elsewhere_too};
use world::{CPU0, CPU1};

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

/// A CPU runs an address space over two rollovers, and another CPU the same one in between: both have
/// one ASID, and an invalidation reaches both.
#[test]
fn who_runs_at_two_rollovers_shares_its_asid_with_who_came_in_between() {
    let world = calm_world_of(TlbPolicy::Batch, 16);
    let (mut p, pages) = process_with(&world, 0, START, 4);
    let asid = p.mm.asid();
    let roll_over = || {
        let before = world.count(MmEvent::AsidRollover);
        while world.count(MmEvent::AsidRollover) == before {
            let mut other = world.process(CPU1);
            other.map_at(Placement::Fixed(START), 1, RW);
            other.write(START, 0, 1);
            other.exit();
        }
    };
    roll_over();
    p.cpu = CPU1;
    assert_eq!(p.load(START.base()), Ok(START.get()));
    world.on(CPU1, || world.system.deactivate());
    roll_over();
    assert_eq!(p.load(START.base()), Ok(START.get()));
    assert_eq!(p.mm.asid(), asid);
    // CPU 0 goes on with what it has, which must be gone after this.
    p.unmap(pages);
    world.assert_no_stale(&p.mm);
    assert!(world.on(CPU0, || world.machine.load(CPU0, START.base())).is_err());
}
