// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file weakens one invalidation after the other (`mm::lab::TlbFault`), and shows that the machine
//! whose TLBs forget nothing by themselves catches each: a scenario that passes without the fault must
//! not pass with it. docs/TESTING.md lists them.

mod world;

use std::sync::Arc;

use base::PageRange;
use hal::sim::Adversary;
use mm::lab::TlbFault;
use mm::{Advice, Prot, Shmem, TlbPolicy};
use world::process::{RW, TAGGED};
use world::weakened::{
    JUDGES, assert_caught, assert_judged, caught, caught_on, known_elsewhere, process,
    unmap_and_use_again, use_all_frames,
};
use world::{CPU0, CPU1, World};

#[test]
fn no_barrier_before_is_caught_by_a_late_store() {
    let late = Adversary { late_store: 1, ..Adversary::CALM };
    let said = caught_on(TlbFault::NoBarrierBefore, late, |world| {
        for _ in 0..20 {
            let (mut p, pages) = process(world, 4);
            known_elsewhere(&p, pages);
            p.unmap(pages);
            use_all_frames(world);
            world.on(CPU1, || world.system.deactivate());
            p.exit();
        }
    });
    assert!(JUDGES.iter().any(|by| said.contains(by)), "{said}");
}

#[test]
fn the_wrong_asid_is_caught() {
    assert_judged(TlbFault::WrongAsid, unmap_and_use_again);
}

#[test]
fn a_first_page_left_out_is_caught() {
    assert_judged(TlbFault::FirstPageLeft, unmap_and_use_again);
}

#[test]
fn a_last_page_left_out_is_caught() {
    assert_judged(TlbFault::LastPageLeft, unmap_and_use_again);
}

#[test]
fn a_local_tlbi_for_two_cpus_is_caught() {
    assert_judged(TlbFault::AlwaysLocal, unmap_and_use_again);
}

#[test]
fn a_block_invalidated_as_a_page_is_caught() {
    assert_caught(TlbFault::BlockAsPage, "went through", |world| {
        world.allow_order(9);
        let (mut p, pages) = process(world, 512);
        p.protect(pages, Prot::READ, false);
        assert!(p.store(pages.start.base(), 9).is_err(), "a store went through");
    });
}

#[test]
fn walks_to_a_freed_table_are_caught() {
    assert_judged(TlbFault::WalksAsLeaves, unmap_and_use_again);
}

#[test]
fn a_table_that_is_not_noted_is_caught() {
    assert_judged(TlbFault::TableUnnoted, unmap_and_use_again);
}

#[test]
fn a_barrier_for_the_own_cpu_only_is_caught() {
    assert_judged(TlbFault::WaitsForOwnCpu, unmap_and_use_again);
}

#[test]
fn no_wait_at_the_end_is_caught() {
    assert_judged(TlbFault::NeverCompleted, unmap_and_use_again);
}

#[test]
fn entries_taken_away_unnoted_are_caught() {
    assert_judged(TlbFault::TakenAwayUnnoted, |world| {
        let (mut p, pages) = process(world, 16);
        p.unmap(PageRange::of_len(pages.start, 8));
        use_all_frames(world);
    });
}

#[test]
fn rights_taken_away_unnoted_are_caught_by_a_store() {
    assert_caught(TlbFault::ProtectedUnnoted, "went through", |world| {
        let (mut p, pages) = process(world, 2);
        p.protect(pages, Prot::READ, false);
        assert!(p.store(pages.start.base(), 9).is_err(), "a store went through");
    });
}

#[test]
fn pages_shared_by_fork_unnoted_are_caught_by_the_child() {
    assert_caught(TlbFault::ForkedUnnoted, "reached the child", |world| {
        let (p, pages) = process(world, 2);
        let at = pages.start.base();
        let c = p.fork(CPU1);
        p.store(at, 77).unwrap();
        assert_ne!(c.load(at), Ok(77), "a store of the parent reached the child");
    });
}

#[test]
fn a_batch_that_is_not_announced_is_caught() {
    assert_caught(TlbFault::BatchUnannounced, "gone when munmap returns", unmap_under_a_batch);
}

/// munmap on CPU 1 finds gone what reclaim on CPU 0 has taken away and not waited for.
fn unmap_under_a_batch(world: &World) {
    let (mut p, pages) = process(world, 2);
    known_elsewhere(&p, pages);
    p.cpu = CPU1;
    let (mm, at) = (Arc::clone(&p.mm), pages.start.base());
    world.on(CPU0, || {
        let batch = mm.begin_page_out(pages.start).expect("an anonymous page");
        world.on(CPU1, || {
            p.unmap(PageRange::of_len(pages.start, 1));
            assert!(world.machine.store(CPU1, at, 3).is_err(), "gone when munmap returns");
        });
        batch.finish();
    });
}

#[test]
fn pages_written_before_the_wait_are_caught() {
    assert_caught(TlbFault::WrittenBeforeCompletion, "stale writable translation", |world| {
        let (mut p, pages) = process(world, 2);
        known_elsewhere(&p, pages);
        p.advise(pages, Advice::PageOut);
    });
}

/// A page that mprotect has made inaccessible, and not waited for, is paged out.
#[test]
fn trust_in_an_inaccessible_entry_is_caught() {
    let held = caught(TlbFault::InaccessibleTrusted, |world| {
        let (mut p, pages) = process(world, 1);
        // The wait of mprotect comes only with the fault off: what is left is that of reclaim.
        world.system.weaken(TlbFault::ProtectedUnnoted);
        world.system.weaken(TlbFault::TakenAwayUnnoted);
        p.protect(pages, Prot::empty(), false);
        p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
    });
    assert!(held.contains("stale writable translation"), "{held}");
}

#[test]
fn pages_of_an_object_counted_as_unmapped_too_early_are_caught() {
    assert_caught(TlbFault::SharedUnsettled, "stale writable translation", |world| {
        let object = world.on(CPU0, || Shmem::new(&world.system, 4096, None)).unwrap();
        let mut p = world.process(CPU0);
        let page = p.map_object(&object, &Default::default(), RW);
        p.store(page.start.base(), 1).unwrap();
        known_elsewhere(&p, page);
        let mut q = world.process(CPU1);
        q.map_object(&object, &Default::default(), RW);
        // The TLBs are told at the end of munmap; reclaim of the object is faster.
        let mm = Arc::clone(&p.mm);
        world.on(CPU0, || {
            let left = mm.begin_unmap(page);
            world.on(CPU1, || world.system.reclaim_pages(64));
            left.finish();
            drop(object);
        });
        world.on(CPU1, || world.system.deactivate());
        p.exit();
        q.exit();
    });
}

#[test]
fn an_exit_that_tells_no_tlb_is_caught() {
    assert_judged(TlbFault::ExitUnnoted, |world| {
        let (p, pages) = process(world, 16);
        known_elsewhere(&p, pages);
        world.on(CPU1, || world.system.deactivate());
        p.exit();
        use_all_frames(world);
    });
}

#[test]
fn a_truncation_that_tells_no_tlb_is_caught() {
    assert_judged(TlbFault::TruncatedUnnoted, |world| {
        let object = world.on(CPU0, || Shmem::new(&world.system, 4 * 4096, None)).unwrap();
        let mut p = world.process(CPU0);
        let pages = p.map_object(&object, &Default::default(), RW);
        pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
        world.on(CPU0, || object.truncate(0)).unwrap();
        use_all_frames(world);
        world.on(CPU0, || drop(object));
    });
}

#[test]
fn frames_that_wait_for_nothing_are_caught() {
    assert_judged(TlbFault::WaitedForNothing, |world| {
        world.system.set_tlb_policy(TlbPolicy::Generation);
        let (p, pages) = process(world, 512);
        known_elsewhere(&p, pages);
        world.on(CPU1, || world.system.deactivate());
        p.exit();
        // No barrier in between.
        let mut q = world.process(CPU1);
        let pages = q.map(700, TAGGED);
        pages.pages().for_each(|page| q.store(page.base(), 1).unwrap());
    });
}
