// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file races faults, splits, forks and swapoff over the slots of one folio, under every schedule
//! of their stop points: rows 4, 5, 13, 14 and 18 of 002.3 of the facts, and R2 to R5 and R12 of the
//! race catalogue beside them.
//!
//! Each race has a lab switch that lets it go wrong as it did in Linux, and is caught with it.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use base::{PageRange, Vpn};
use hal::DiskId;
use hal::sim::{Adversary, SimConfig, explore_stops, replay_stops};
use mm::lab::{Fault, Refault};
use mm::{Advice, MmEvent, PageView, Placement, Shmem};
use world::process::{Process, RW};
use world::{CPU0, CPU1, SWAP, World, config};

const CPU2: CpuId = CpuId::new(2);
const START: Vpn = Vpn::new(0x10_0000);
/// Another area, on another disk.
const OTHER: DiskId = DiskId(1);

#[cfg(shuttle)]
type Handle<T> = shuttle::thread::JoinHandle<T>;
#[cfg(not(shuttle))]
type Handle<T> = std::thread::JoinHandle<T>;

fn world(fault: Option<Fault>) -> World {
    let calm = SimConfig { adversary: Adversary::CALM, nr_cpus: 4, ..config(7) };
    let disks = vec![8 * 64, 8 * 64];
    let world = World::new(SimConfig { judges_new_mappings: false, disks, ..calm });
    fault.into_iter().for_each(|fault| world.system.commit(fault));
    world
}

/// What is written to swap stays in the cache.
fn keep_cached(world: &World, keep: bool) {
    world.system.set_refault(Refault { stays_cached: keep, ..Refault::default() });
}

fn pages(nr: u64) -> PageRange {
    PageRange::of_len(START, nr)
}

fn page(n: u64) -> PageRange {
    PageRange::of_len(START.add(n), 1)
}

/// A process with `nr` pages in swap.
fn swapped(world: &World, nr: u64) -> Process {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), nr, RW);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    p.advise(pages, Advice::PageOut);
    pages.pages().for_each(|page| assert!(p.is_swapped(page)));
    p
}

/// Verifies pages of a process in a thread of its own.
fn verify(p: Process, pages: PageRange) -> Handle<Process> {
    let machine = p.world.machine.clone();
    machine.spawn_on(p.cpu, move || {
        let mut p = p;
        pages.pages().for_each(|page| p.verify(page));
        p
    })
}

fn end(world: &World, all: impl IntoIterator<Item = Process>) {
    let mut all: Vec<_> = all.into_iter().collect();
    world.audit();
    all.iter_mut().for_each(Process::verify_all);
    world.audit();
    all.into_iter().for_each(Process::exit);
    world.audit();
    assert_eq!(world.system.tag_bytes_stored(), 0);
    assert!(world.system.swap_areas().iter().all(|area| area.nr_used == 0));
}

/// Row 4: a fault has read an entry; its area goes, and another gets the number and the slots.
fn stale_entry(of_object: bool) {
    let world = world(None);
    let reader = swapped(&world, 4);
    let fault = verify(reader, page(0));
    let other = world.clone();
    let swapper = world.machine.spawn_on(CPU1, move || {
        other.system.swap_off(SWAP, || false).expect("room for 4 pages");
        other.make_swap(OTHER);
        other.system.swap_on(OTHER, None).expect("an area");
        let mut q = other.process(CPU1);
        let object = Shmem::new(&other.system, 4 * 4096, None).expect("an object");
        let pages = match of_object {
            true => q.map_object(&object, &Default::default(), RW),
            false => q.map(4, RW),
        };
        pages.pages().for_each(|page| q.write(page, 0, !page.get()));
        match of_object {
            true => _ = other.system.reclaim_pages(400),
            false => q.advise(pages, Advice::PageOut),
        }
        (q, object)
    });
    let reader = fault.join().unwrap();
    let (q, object) = swapper.join().unwrap();
    let mut all = [reader, q];
    all.iter_mut().for_each(Process::verify_all);
    world.audit();
    all.into_iter().for_each(Process::exit);
    world.on(CPU0, || drop(object));
    world.audit();
}

#[test]
fn s002_r04_an_entry_of_an_area_that_is_gone_reads_nothing_of_the_next() {
    replay_stops(&[(1, Some("swap entry read")), (2, None), (1, None)], || stale_entry(false));
    explore_stops(1, || stale_entry(false));
}

#[test]
fn s002_r04_nor_does_it_make_another_page_of_what_an_object_has_there() {
    replay_stops(&[(1, Some("swap entry read")), (2, None), (1, None)], || stale_entry(true));
    replay_stops(&[(1, Some("only on disk")), (2, None), (1, None)], || stale_entry(true));
}

/// Row 5: swapoff is through between the look at the entry and the look for its area.
#[test]
fn s002_r05_a_fault_that_finds_no_area_is_tried_again() {
    replay_stops(&[(1, Some("swap entry read")), (2, None), (1, None)], || {
        let world = world(None);
        let fault = verify(swapped(&world, 4), pages(4));
        let other = world.clone();
        let off = world.machine.spawn_on(CPU2, move || other.system.swap_off(SWAP, || false));
        let p = fault.join().unwrap();
        assert_eq!(off.join().unwrap(), Ok(()));
        assert_eq!(world.system.swap_slots(), (0, 0));
        end(&world, [p]);
    });
}

/// Row 13: the last entry goes while the folio is being written.
#[test]
fn s002_r13_a_folio_that_is_being_written_stays_in_the_cache() {
    replay_stops(&[(1, Some("writes started")), (2, None), (1, None)], || {
        let world = world(None);
        let mut p = world.process(CPU0);
        p.map_at(Placement::Fixed(START), 1, RW);
        p.write(START, 0, 1);
        let mm = Arc::clone(&p.mm);
        let out = world.machine.spawn_on(CPU1, move || mm.advise(page(0), Advice::PageOut));
        let other = world.clone();
        let gone = world.machine.spawn_on(CPU2, move || {
            let was_out = p.is_swapped(START);
            p.advise(page(0), Advice::DontNeed);
            let nr_used = other.system.swap_areas()[0].nr_used;
            assert!(!cfg!(shuttle) || (was_out && nr_used == 1), "{was_out} {nr_used}");
            p
        });
        out.join().unwrap().expect("advice");
        let p = gone.join().unwrap();
        assert_eq!(world.system.swap_areas()[0].nr_used, 0, "who ends the write frees it");
        end(&world, [p]);
    });
}

/// A folio of 4 pages, mapped by one process and still in the cache, since another has entries that
/// name its slots. The first unmaps a part; reclaim splits it, and the second wants a page.
fn split_while_cached(fault: Option<Fault>) {
    let world = world(fault);
    world.allow_order(2);
    keep_cached(&world, true);
    let mut p = swapped(&world, 4);
    let q = p.fork(CPU1);
    p.verify_all();
    assert!(matches!(p.page_view(START), PageView::Present { .. }));
    p.unmap(page(3));
    let lookup = verify(q, page(1));
    let other = world.clone();
    let split = world.machine.spawn_on(CPU2, move || other.system.reclaim_pages(1));
    let q = lookup.join().unwrap();
    split.join().unwrap();
    keep_cached(&world, false);
    end(&world, [p, q]);
}

#[test]
fn s002_r14_a_folio_split_between_lookup_and_lock_is_looked_up_again() {
    explore_stops(2, || split_while_cached(None));
    replay_stops(&[(1, Some("folio found")), (2, None), (1, None)], || split_while_cached(None));
    replay_stops(&[(1, Some("swap entry read")), (2, None), (1, None)], || {
        split_while_cached(None)
    });
}

/// R3: some pages of a run are cached alone by the time that a fault wants the run.
fn run_wanted_late(fault: Option<Fault>) {
    let world = world(fault);
    world.allow_order(2);
    let p = swapped(&world, 4);
    // It has one page of the run, so it reads that alone.
    let mut q = p.fork(CPU1);
    [0, 2, 3].into_iter().for_each(|n| q.unmap(page(n)));
    let one = verify(q, page(1));
    let all = verify(p, pages(4));
    let (q, p) = (one.join().unwrap(), all.join().unwrap());
    end(&world, [p, q]);
}

#[test]
fn race_r03_a_run_of_which_a_page_is_cached_comes_in_page_by_page() {
    explore_stops(2, || run_wanted_late(None));
}

/// R5: two faults on one slot; the sole owner reuses its page, and there is one read.
fn two_faults(fault: Option<Fault>) {
    let world = world(fault);
    let p = swapped(&world, 1);
    let q = p.fork(CPU1);
    let [a, b] = [p, q].map(|p| verify(p, page(0)));
    let mut a = a.join().unwrap();
    b.join().unwrap().exit();
    assert_eq!(world.count(MmEvent::PswpIn), 1, "one of them read it");
    a.write(START, 0, 2);
    assert_eq!(world.count(MmEvent::CowCopy), 0, "the only owner keeps its page");
    end(&world, [a]);
}

#[test]
fn race_r05_two_faults_on_a_slot_find_one_folio() {
    explore_stops(3, || two_faults(None));
}

/// R12: fork copies entries to an address space that swapoff has been to.
fn fork_behind_swapoff(fault: Option<Fault>) {
    let world = world(fault);
    // A number below that of the parent, free again.
    let early = world.process(CPU1);
    let parent = swapped(&world, 2);
    early.exit();
    let fork = world.machine.spawn_on(CPU0, move || {
        let child = parent.fork(CPU1);
        (parent, child)
    });
    let other = world.clone();
    let off = world.machine.spawn_on(CPU2, move || other.system.swap_off(SWAP, || false));
    let (parent, child) = fork.join().unwrap();
    assert_eq!(off.join().unwrap(), Ok(()));
    assert!(world.count(MmEvent::SwapoffRound) <= 1, "the child comes after its parent");
    end(&world, [parent, child]);
}

#[test]
fn race_r12_fork_behind_swapoff_is_met_in_the_same_round() {
    explore_stops(3, || fork_behind_swapoff(None));
}

/// The same with what went wrong in Linux.
#[cfg(shuttle)]
mod caught {
    use super::*;
    use world::caught::what_is_said;

    /// Returns what the first schedule that catches the fault says.
    fn said(run: fn(Option<Fault>), preemptions: usize, fault: Fault) -> String {
        let said = what_is_said(|| _ = explore_stops(preemptions, move || run(Some(fault))));
        said.unwrap_or_else(|| panic!("{fault:?} was not caught"))
    }

    #[test]
    fn race_r02_slots_behind_the_first_that_name_the_old_folio() {
        let said = said(split_while_cached, 1, Fault::OnlyHeadRenamed);
        assert!(said.contains("'s folio"), "{said}");
    }

    #[test]
    fn race_r03_a_fault_that_insists_on_its_order() {
        let said = said(run_wanted_late, 2, Fault::OrderInsistedOn);
        assert!(said.contains("left: Err(Fault(NoContent))"), "{said}");
    }

    #[test]
    fn race_r04_slots_cleared_before_they_are_renamed() {
        let said = said(split_while_cached, 2, Fault::ClearedBeforeRenamed);
        assert!(said.contains("'s folio"), "{said}");
    }

    #[test]
    fn race_r05_a_slot_cached_twice() {
        let said = said(two_faults, 2, Fault::CachedTwice);
        assert!(said.contains("one of them read it"), "{said}");
    }

    #[test]
    fn race_r12_one_round_of_swapoff() {
        let said = said(fork_behind_swapoff, 3, Fault::SwapoffVisitsOnce);
        assert!(said.contains("'s folio"), "{said}");
    }
}
