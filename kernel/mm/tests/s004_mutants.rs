// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file weakens one invalidation after the other (`mm::lab::TlbFault`), and shows that the machine
//! whose TLBs forget nothing by themselves catches each: a scenario that passes without the fault must
//! not pass with it. docs/TESTING.md lists them.

mod world;

use std::sync::Arc;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, Bank, SimConfig};
use mm::lab::TlbFault;
use mm::{Advice, Placement, Prot, Shmem, TlbPolicy};
use world::caught::what_is_said;
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, World, config};

const START: Vpn = Vpn::new(0x10_0000);

/// Runs `scenario` without the fault, where it must pass, and with it, where it must not, on machines
/// with hardware dirty state and without. Returns what was said when it was caught.
fn caught_on(fault: TlbFault, adversary: Adversary, scenario: fn(&World)) -> String {
    let run = |fault: Option<TlbFault>, seed: u64| {
        let first = SimConfig::default().banks[0].first;
        let banks = vec![Bank { first, nr_blocks: 6 }];
        let disks = vec![8 * 256 * 16];
        let hw_dirty = seed.is_multiple_of(2);
        let nr_asids = 16;
        let world =
            World::new(SimConfig { banks, disks, hw_dirty, nr_asids, adversary, ..config(seed) });
        fault.into_iter().for_each(|fault| world.system.weaken(fault));
        scenario(&world);
    };
    let mut said = None;
    for seed in 0..8 {
        run(None, seed);
        said = said.or(what_is_said(|| run(Some(fault), seed)));
    }
    said.unwrap_or_else(|| panic!("{fault:?} was not caught"))
}

fn caught(fault: TlbFault, scenario: fn(&World)) -> String {
    caught_on(fault, Adversary::CALM, scenario)
}

/// What the machine's judges say of a stale translation, whoever comes across it first.
const JUDGES: [&str; 4] = ["stale", "is overwritten while", "break-before-make", "asid reuse"];

/// Expects that a judge catches the fault.
fn assert_judged(fault: TlbFault, scenario: fn(&World)) {
    let said = caught(fault, scenario);
    assert!(JUDGES.iter().any(|by| said.contains(by)), "{fault:?} was caught otherwise: {said}");
}

/// Expects that the fault is caught with these words.
fn assert_caught(fault: TlbFault, by: &str, scenario: fn(&World)) {
    let said = caught(fault, scenario);
    assert!(said.contains(by), "{fault:?} was caught otherwise: {said}");
}

/// A process on CPU 0 with `nr` pages, all stored to, which has run on CPU 1 too.
fn process(world: &World, nr: u64) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), nr, RW);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    (p, pages)
}

/// Lets CPU 1 have the pages in its TLB, writable.
fn known_elsewhere(p: &Process, pages: PageRange) {
    p.world.on(CPU1, || {
        p.mm.activate();
        for page in pages.pages() {
            p.world.machine.store(CPU1, page.base(), page.get()).expect("it is mapped");
        }
    });
}

/// Allocates and zeroes what is free: a frame that a TLB still knows is found.
fn use_all_frames(world: &World) {
    // What a CPU has freed is had again by that CPU first.
    for cpu in [CPU0, CPU1] {
        let mut q = world.process(cpu);
        let pages = q.map(600, RW);
        pages.pages().for_each(|page| q.store(page.base(), 1).unwrap());
        q.exit();
    }
}

fn unmap_and_use_again(world: &World) {
    let (mut p, pages) = process(world, 16);
    known_elsewhere(&p, pages);
    p.unmap(pages);
    use_all_frames(world);
}

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
fn a_remote_dsb_alone_is_caught() {
    assert_caught(TlbFault::RemoteDsbOnly, "gone when munmap returns", unmap_under_a_batch);
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
fn an_entry_replaced_without_a_break_is_caught() {
    assert_judged(TlbFault::ReplacedUnbroken, |world| {
        let (p, pages) = process(world, 1);
        let c = p.fork(CPU1);
        p.load(pages.start.base()).unwrap();
        // Copied: another frame.
        p.store(pages.start.base(), 2).unwrap();
        drop(c);
    });
}

#[test]
fn an_entry_made_again_without_waiting_is_caught() {
    assert_judged(TlbFault::MadeBeforeCompletion, |world| {
        let (p, pages) = process(world, 1);
        let c = p.fork(CPU1);
        p.load(pages.start.base()).unwrap();
        p.store(pages.start.base(), 2).unwrap();
        drop(c);
    });
}

#[test]
fn a_run_unfolded_without_a_break_is_caught() {
    assert_judged(TlbFault::UnfoldedUnbroken, |world| {
        world.allow_order(4);
        let (mut p, pages) = process(world, 16);
        known_elsewhere(&p, pages);
        p.unmap(PageRange::of_len(pages.start, 1));
        pages.pages().skip(1).for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}

#[test]
fn a_block_split_without_a_break_is_caught() {
    assert_judged(TlbFault::BlockSplitUnbroken, |world| {
        world.allow_order(9);
        let (mut p, pages) = process(world, 512);
        p.unmap(PageRange::of_len(pages.start, 1));
        pages.pages().skip(1).for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}

#[test]
fn pages_collapsed_without_a_break_are_caught() {
    assert_judged(TlbFault::CollapsedUnbroken, |world| {
        let (p, pages) = process(world, 512);
        known_elsewhere(&p, pages);
        p.call(|mm| mm.collapse(pages)).expect("nobody uses the pages");
        pages.pages().for_each(|page| assert!(p.load(page.base()).is_ok()));
    });
}

#[test]
fn a_page_tagged_without_a_break_is_caught() {
    assert_judged(TlbFault::TaggedUnbroken, |world| {
        let (mut p, pages) = process(world, 2);
        p.protect(pages, Prot::READ | Prot::WRITE, true);
        pages.pages().for_each(|page| assert!(p.load(page.base()).is_ok()));
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

/// The only thread leaves CPU 0 with its translations there.
fn move_and_unmap(world: &World) {
    let (mut p, pages) = process(world, 16);
    world.on(CPU0, || world.system.deactivate());
    p.cpu = CPU1;
    pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
    p.unmap(pages);
    use_all_frames(world);
}

#[test]
fn a_move_that_leaves_translations_behind_is_caught() {
    assert_judged(TlbFault::MovedUnflushed, move_and_unmap);
}

#[test]
fn a_cpu_that_nobody_knows_of_is_caught() {
    assert_judged(TlbFault::RunUnnoted, unmap_and_use_again);
}

/// More processes than ASIDs, each with another page at the same place.
fn many_processes(world: &World) {
    let mut all: Vec<_> = (0..20)
        .map(|n| {
            let mut p = world.process(CPU0);
            p.map_at(Placement::Fixed(START), 1, RW);
            p.write(START, 0, n);
            p
        })
        .collect();
    all.iter_mut().for_each(Process::verify_all);
}

#[test]
fn asids_given_out_again_without_a_flush_are_caught() {
    assert_judged(TlbFault::RolloverUnflushed, many_processes);
}

#[test]
fn asids_taken_from_who_runs_are_caught() {
    assert_judged(TlbFault::RolloverForgetsRunning, |world| {
        let mut runs = world.process(CPU1);
        runs.map_at(Placement::Fixed(START), 1, RW);
        runs.write(START, 0, 1000);
        many_processes(world);
        runs.verify_all();
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

/// Faults that only an interleaving shows; the model checker finds it.
#[cfg(shuttle)]
mod interleaved {
    use super::*;
    use base::percpu::CpuId;
    use hal::sim::explore;

    /// Race R1 of the thread: what one thread discards, another finds gone, and uses.
    fn discard_twice(fault: Option<TlbFault>, seeds: u64) {
        explore(0..seeds, move |seed| {
            let four = SimConfig { nr_cpus: 4, judges_new_mappings: false, ..config(seed) };
            let world = World::new(four);
            fault.into_iter().for_each(|fault| world.system.weaken(fault));
            let (p, pages) = process(&world, 1);
            known_elsewhere(&p, pages);
            let at = pages.start.base();
            let (mm, machine) = (Arc::clone(&p.mm), world.machine.clone());
            let other = world.machine.spawn_on(CPU1, move || {
                mm.advise(pages, Advice::DontNeed).unwrap();
                // As the program would, straight on: what its TLB has is what it gets.
                machine.load(CpuId::new(1), at).unwrap_or(0)
            });
            p.call(|mm| mm.advise(pages, Advice::DontNeed)).unwrap();
            assert_eq!(other.join().unwrap(), 0, "what was discarded is seen");
        });
    }

    #[test]
    fn s004_r04_a_wait_after_the_unlock_is_caught() {
        discard_twice(None, 400);
        let said = what_is_said(|| discard_twice(Some(TlbFault::CompletedAfterUnlock), 400));
        assert!(said.expect("it is caught").contains("what was discarded is seen"));
    }
}
