// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file replays "mm: swap: Remove CLUSTER_FLAG_HUGE from swap_cluster_info:flags" (linux-mm, March
//! 2024): free_swap_and_cache() against swapoff(). Rows 1, 2 and 18 of 002.3 of the facts.
//!
//! docs/experiments/002-swapoff.md tells the story. The schedules take the model checker
//! (`--cfg shuttle`); without it the same threads run as the host likes.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::percpu::CpuId;
use base::{PageRange, Vpn};
use hal::sim::{Adversary, Leg, SimConfig, explore_stops, replay_stops};
use mm::lab::{Fault, Refault};
use mm::{Advice, MmEvent, PageView, Placement, SwapOffError};
use world::process::{Process, RW};
use world::{CPU0, CPU1, SWAP, World, config};

const CPU3: CpuId = CpuId::new(3);
const START: Vpn = Vpn::new(0x10_0000);

fn world(fault: Option<Fault>) -> World {
    let calm = SimConfig { adversary: Adversary::CALM, nr_cpus: 4, ..config(7) };
    let world = World::new(SimConfig { judges_new_mappings: false, ..calm });
    world.system.set_refault(Refault { stays_cached: true, ..Refault::default() });
    fault.into_iter().for_each(|fault| world.system.commit(fault));
    world
}

fn page_range() -> PageRange {
    PageRange::of_len(START, 1)
}

/// As many processes, the first on CPU 0, as share a folio of 4 pages that is in the swap cache and
/// mapped by nobody. Each has kept one page of it: the first process page 0, and so on. A folio of one
/// page is every process's.
fn sharers(world: &World, nr: u64, order: u8) -> Vec<Process> {
    if order > 0 {
        world.allow_order(order);
    }
    let mut first = world.process(CPU0);
    let pages = first.map_at(Placement::Fixed(START), 1 << order, RW);
    pages.pages().for_each(|page| first.write(page, 0, page.get()));
    first.advise(pages, Advice::PageOut);
    let mut all = vec![first];
    for n in 1..nr {
        let child = all[0].fork(CpuId::new(n as usize));
        all.push(child);
    }
    for (own, p) in all.iter_mut().enumerate() {
        if order > 0 {
            let others = pages.pages().filter(|page| page.get() != START.get() + own as u64);
            others.for_each(|page| p.unmap(PageRange::of_len(page, 1)));
        }
        assert!(matches!(p.page_view(own_page(order, own)), PageView::Swapped(_)));
    }
    all
}

fn own_page(order: u8, own: usize) -> Vpn {
    START.add(if order > 0 { own as u64 } else { 0 })
}

/// The most preemptions of a schedule.
fn bound() -> usize {
    if std::env::var_os("GRANULE_LONG").is_some() { 3 } else { 2 }
}

fn swapoff(world: &World) -> Result<(), SwapOffError> {
    world.system.swap_off(SWAP, || false)
}

/// The thread's parties: each process exits on its CPU, in a thread of its own; the last thread is
/// swapoff. Returns whether the first process was gone when swapoff returned.
fn exits_against_swapoff(fault: Option<Fault>, nr: u64, order: u8) -> bool {
    let world = world(fault);
    let processes = sharers(&world, nr, order);
    let gone = Arc::new(AtomicU64::new(0));
    let exits: Vec<_> = (0..)
        .zip(processes)
        .map(|(own, p)| {
            let gone = Arc::clone(&gone);
            world.machine.spawn_on(p.cpu, move || {
                p.exit();
                gone.fetch_or(1 << own, Ordering::SeqCst);
            })
        })
        .collect();
    let other = world.clone();
    let off = world.machine.spawn_on(CPU3, move || {
        assert_eq!(swapoff(&other), Ok(()));
        gone.load(Ordering::SeqCst)
    });
    exits.into_iter().for_each(|exit| exit.join().unwrap());
    let gone = off.join().unwrap();
    assert_eq!(world.system.swap_slots(), (0, 0));
    world.audit();
    gone & 1 != 0
}

/// The five steps of the thread: P1 lowers its count and stops; P2 lowers its own, goes on and frees
/// the folio and all slots; swapoff finds nothing in use; P1 resumes.
const FIVE_STEPS: &[Leg] = &[(1, Some("counts lowered")), (2, None), (3, None), (1, None)];

/// The same with P1 stopped before it lowers its count.
const STOPPED_BEFORE: &[Leg] = &[(1, Some("area found")), (2, None), (3, None), (1, None)];

/// The same with a small folio, whose slot both share: P1 lowers the last count, and swapoff itself
/// frees the folio.
const SMALL_FOLIO: &[Leg] = &[(2, None), (1, Some("counts lowered")), (3, None), (1, None)];

/// In a schedule where the first process is stopped before swapoff starts, and goes on when that waits.
fn swapoff_comes_last(order: u8) {
    let is_gone = exits_against_swapoff(None, 2, order);
    assert!(is_gone || !cfg!(shuttle), "swapoff returned while a process still had the area");
}

#[test]
fn s002_r01_swapoff_waits_for_who_has_lowered_the_last_count() {
    replay_stops(FIVE_STEPS, || swapoff_comes_last(2));
}

#[test]
fn s002_r01_no_schedule_uses_an_area_after_swapoff() {
    explore_stops(bound(), || _ = exits_against_swapoff(None, 2, 2));
}

#[test]
fn s002_r02_with_a_small_folio_no_schedule_does() {
    replay_stops(SMALL_FOLIO, || swapoff_comes_last(0));
    explore_stops(bound(), || _ = exits_against_swapoff(None, 2, 0));
}

#[test]
fn s002_r02_with_three_processes_no_schedule_does() {
    explore_stops(bound() - 1, || _ = exits_against_swapoff(None, 3, 2));
}

#[test]
fn s002_r02_stopped_before_the_decrement_the_process_keeps_the_area() {
    replay_stops(STOPPED_BEFORE, || swapoff_comes_last(2));
}

/// Row 18: swapoff finds the pages of a process that is exiting, or finds none. Either way both end.
#[test]
fn s002_r18_an_exit_and_swapoff_both_end_whoever_comes_first() {
    let found = Arc::new([const { AtomicU64::new(0) }; 2]);
    for stays_cached in [false, true] {
        let found = Arc::clone(&found);
        explore_stops(bound(), move || {
            let world = world(None);
            world.system.set_refault(Refault { stays_cached, ..Refault::default() });
            let p = sharers(&world, 1, 2).pop().expect("a process");
            let exit = world.machine.spawn_on(CPU0, move || p.exit());
            let other = world.clone();
            let off = world.machine.spawn_on(CPU3, move || swapoff(&other));
            exit.join().unwrap();
            assert_eq!(off.join().unwrap(), Ok(()));
            assert_eq!(world.system.swap_slots(), (0, 0));
            world.audit();
            let rounds = world.count(MmEvent::SwapoffRound);
            assert!(rounds <= 1, "{rounds} rounds for one process");
            found[rounds as usize].fetch_add(1, Ordering::Relaxed);
        });
    }
    let found = [0, 1].map(|rounds| found[rounds].load(Ordering::Relaxed));
    assert!(!cfg!(shuttle) || !found.contains(&0), "schedules without and with pages: {found:?}");
}

/// A process that has pages in the cache and mapped, read-only.
fn process_with_cached_page(world: &World) -> Process {
    let mut p = sharers(world, 1, 0).pop().expect("a process");
    p.verify(START);
    assert!(matches!(p.page_view(START), PageView::Present { .. }));
    p
}

/// folio_free_swap(): the store finds the page its own, and gives its slot back.
fn store_against_swapoff(fault: Option<Fault>) {
    let world = world(fault);
    let mut p = process_with_cached_page(&world);
    let store = world.machine.spawn_on(CPU0, move || {
        p.write(START, 1, 5);
        p
    });
    let other = world.clone();
    let off = world.machine.spawn_on(CPU3, move || swapoff(&other));
    let mut p = store.join().unwrap();
    assert_eq!(off.join().unwrap(), Ok(()));
    p.verify_all();
    world.audit();
}

/// swp_swapcount(): /proc/PID/smaps asks how many share a swapped page.
fn smaps_against_swapoff(fault: Option<Fault>) {
    let world = world(fault);
    let mut p = sharers(&world, 1, 0).pop().expect("a process");
    let mm = Arc::clone(&p.mm);
    let look = world.machine.spawn_on(CPU1, move || mm.resident_view(page_range()));
    let other = world.clone();
    let off = world.machine.spawn_on(CPU3, move || swapoff(&other));
    let view = look.join().unwrap();
    assert_eq!((view.swap, view.rss), if view.swap == 1 { (1, 0) } else { (0, 1) });
    assert_eq!(off.join().unwrap(), Ok(()));
    p.verify_all();
    world.audit();
}

#[test]
fn s002_folio_free_swap_and_swp_swapcount_hold_the_area() {
    explore_stops(bound(), || store_against_swapoff(None));
    explore_stops(bound(), || smaps_against_swapoff(None));
}

/// What the thread suspected, run as of before the fix: nobody holds the area.
#[cfg(shuttle)]
mod as_of_2024 {
    use super::*;
    use world::caught::what_is_said;

    const FAULT: Option<Fault> = Some(Fault::AreaNotHeld);

    fn is_used_after_swapoff(run: impl FnOnce()) -> bool {
        match what_is_said(run) {
            None => false,
            Some(said) => {
                assert!(said.contains("is used after swapoff"), "{said}");
                true
            }
        }
    }

    #[test]
    fn s002_r01_the_five_steps_are_caught() {
        assert!(is_used_after_swapoff(|| {
            replay_stops(FIVE_STEPS, || _ = exits_against_swapoff(FAULT, 2, 2));
        }));
        assert!(is_used_after_swapoff(|| {
            replay_stops(SMALL_FOLIO, || _ = exits_against_swapoff(FAULT, 2, 0));
        }));
    }

    #[test]
    fn s002_r02_a_process_stopped_before_the_decrement_is_safe_its_entry_keeps_the_slot() {
        assert!(!is_used_after_swapoff(|| {
            replay_stops(STOPPED_BEFORE, || _ = exits_against_swapoff(FAULT, 2, 2));
        }));
    }

    #[test]
    fn s002_r01_two_preemptions_are_enough_to_find_them() {
        assert!(is_used_after_swapoff(|| {
            explore_stops(2, || _ = exits_against_swapoff(FAULT, 2, 2));
        }));
    }

    /// Folio lock and cache pin slot and area up to the last slot's end, and not through the unlock
    /// of its cluster.
    #[test]
    fn s002_folio_free_swap_is_caught_as_it_unlocks() {
        assert!(is_used_after_swapoff(|| {
            replay_stops(&[(1, Some("slots freed")), (2, None), (1, None)], || {
                store_against_swapoff(FAULT);
            });
        }));
    }

    /// The table stays locked, and the entry keeps its slot in use: no schedule goes wrong.
    #[test]
    fn s002_swp_swapcount_needs_no_reference() {
        assert!(!is_used_after_swapoff(|| {
            explore_stops(bound(), || smaps_against_swapoff(FAULT));
        }));
    }
}
