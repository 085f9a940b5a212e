// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file races invalidations and switches, under every schedule of their stop points or by seed: rows 4,
//! 7 and 9 of 004.3 of the facts, R9 and R14 of the race catalogue, and rollovers of ASIDs.
//!
//! What goes wrong without one step of them can be switched on, and is caught.

mod world;

use std::sync::Arc;

use base::PageRange;
use base::percpu::CpuId;
use hal::sim::{Adversary, SimConfig, SimMachine, explore, explore_stops, replay_stops};
use mm::lab::TlbFault;
use mm::{Advice, Mm, MmEvent, Placement, Prot};
use world::folios::roomy;
use world::process::{Process, RW};
use world::races::{CPU2, CPU3};
use world::tlb::START;
use world::{CPU0, CPU1, Dice, World, config, seeds};

/// A process on CPU 0 with some pages, all stored to, which CPU 1 has in its TLB, writable.
fn known_on_two(world: &World, nr: u64) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), nr, RW);
    pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
    world.on(CPU1, || {
        p.mm.activate();
        for page in pages.pages() {
            world.machine.store(CPU1, page.base(), 1).expect("it is mapped");
        }
    });
    (p, pages)
}

fn calm_world(fault: Option<TlbFault>) -> World {
    let adversary = Adversary::CALM;
    let calm = SimConfig { nr_cpus: 4, adversary, judges_new_mappings: false, ..config(7) };
    let world = World::new(calm);
    fault.into_iter().for_each(|fault| world.system.weaken(fault));
    world
}

type Call = fn(&Mm<SimMachine>, PageRange);

/// What takes the right to store away, one way or another.
const CALLS: [Call; 4] = [
    |mm, pages| mm.unmap(pages).unwrap(),
    |mm, pages| mm.protect(pages, Prot::READ, false).unwrap(),
    |mm, pages| mm.advise(pages, Advice::DontNeed).unwrap(),
    |mm, pages| mm.protect(pages, Prot::empty(), false).unwrap(),
];

/// R9: reclaim on CPU 0 takes a page away, and waits for a batch; CPU 1 takes the right to store to it
/// away meanwhile, and has done so when the call returns.
fn called_under_a_batch(fault: Option<TlbFault>, call: Call) {
    let world = calm_world(fault);
    // The second page stays: no table goes, which would be reason enough for a TLBI.
    let (mut p, both) = known_on_two(&world, 2);
    let page = PageRange::of_len(both.start, 1);
    p.advise(page, Advice::Cold);
    let system = Arc::clone(&world.system);
    let reclaim = world.machine.spawn_on(CPU0, move || _ = system.reclaim_pages(8));
    let (mm, machine) = (Arc::clone(&p.mm), world.machine.clone());
    let calls = world.machine.spawn_on(CPU1, move || {
        call(&mm, page);
        assert!(machine.store(CPU1, START.base(), 3).is_err(), "gone when the call returns");
    });
    reclaim.join().unwrap();
    calls.join().unwrap();
    world.assert_no_stale(&p.mm);
    p.oracle.pages.clear();
    world.on(CPU1, || world.system.deactivate());
    p.exit();
    world.audit();
}

/// The call comes, and returns, between the TLBI of reclaim and its DSB.
const WITHIN_A_BATCH: [(usize, Option<&str>); 3] =
    [(1, Some("batch not waited for")), (2, None), (1, None)];

#[test]
fn race_r09_what_reclaim_has_begun_is_complete_when_a_call_returns() {
    for call in CALLS {
        replay_stops(&WITHIN_A_BATCH, move || called_under_a_batch(None, call));
        explore_stops(2, move || called_under_a_batch(None, call));
    }
}

/// Race R1 of the thread: what one thread discards, another finds gone, and uses.
fn discard_twice(fault: Option<TlbFault>, nr_seeds: u64) {
    explore(0..nr_seeds, move |seed| {
        let four = SimConfig { nr_cpus: 4, judges_new_mappings: false, ..config(seed) };
        let world = World::new(four);
        fault.into_iter().for_each(|fault| world.system.weaken(fault));
        let (p, pages) = known_on_two(&world, 1);
        let (mm, machine) = (Arc::clone(&p.mm), world.machine.clone());
        let other = world.machine.spawn_on(CPU1, move || {
            mm.advise(pages, Advice::DontNeed).unwrap();
            // As the program would, straight on: what its TLB has is what it gets.
            machine.load(CPU1, START.base()).unwrap_or(0)
        });
        p.call(|mm| mm.advise(pages, Advice::DontNeed)).unwrap();
        assert_eq!(other.join().unwrap(), 0, "what was discarded is seen");
    });
}

#[test]
fn s004_r04_what_is_discarded_is_gone_for_who_finds_it_gone() {
    discard_twice(None, 400);
}

/// R14: a run is unfolded while another CPU stores to it; hardware may mark any of the 16 entries.
fn unfolded_while_stored_to(seed: u64) {
    let (hw_access_flag, hw_dirty) = (!seed.is_multiple_of(3), seed % 3 == 2);
    let judges_new_mappings = false;
    let world = World::new(SimConfig {
        nr_cpus: 4,
        hw_access_flag,
        hw_dirty,
        judges_new_mappings,
        ..roomy(seed)
    });
    world.allow_order(4);
    let (mut p, pages) = known_on_two(&world, 16);
    // Nothing but the entries knows of a store from here on.
    p.advise(pages, Advice::Free);
    let at = pages.start.add(seed % 15 + 1);
    let (its, mm) = (world.clone(), Arc::clone(&p.mm));
    let writer = world.machine.spawn_on(CPU1, move || {
        let other = Process { world: its, mm, cpu: CPU1, oracle: Default::default() };
        (2..10).for_each(|n| other.store(at.base(), n).unwrap());
    });
    p.call(|mm| mm.unmap(PageRange::of_len(pages.start, 1))).unwrap();
    writer.join().unwrap();
    let rest = PageRange::new(pages.start.add(1), pages.end);
    p.call(|mm| mm.advise(rest, Advice::PageOut)).unwrap();
    assert_eq!(p.load(at.base()), Ok(9), "the last store");
    p.oracle.pages.clear();
    world.on(CPU1, || world.system.deactivate());
    p.exit();
    world.audit();
}

#[test]
fn race_r14_no_store_is_lost_to_a_run_that_is_unfolded() {
    explore(seeds(60), unfolded_while_stored_to);
}

/// Four CPUs and no more ASIDs than they may take at once, two of each and one to give out.
fn tight_world(seed: u64, fault: Option<TlbFault>) -> World {
    let tight = SimConfig { nr_cpus: 4, nr_asids: 10, adversary: Adversary::CALM, ..config(seed) };
    let world = World::new(tight);
    fault.into_iter().for_each(|fault| world.system.weaken(fault));
    world
}

/// A process with one page at the same place as all others, which has run on `cpu` and left.
fn guest_of(world: &World, cpu: CpuId, content: u64) -> Process {
    let mut p = world.process(cpu);
    p.map_at(Placement::Fixed(START), 1, RW);
    p.write(START, 0, content);
    world.on(cpu, || world.system.deactivate());
    p
}

/// CPU 1 has looked whether it may translate with an ASID; before it does, the ASIDs run out, and others
/// get new ones.
fn rollover_while_a_cpu_enters(fault: Option<TlbFault>) {
    let world = tight_world(1, fault);
    let p = guest_of(&world, CPU1, 4711);
    let (mm, machine) = (Arc::clone(&p.mm), world.machine.clone());
    let enters = world.machine.spawn_on(CPU1, move || {
        mm.activate();
        machine.load(CPU1, START.base())
    });
    let its = world.clone();
    let others = world.machine.spawn_on(CPU2, move || {
        let mut all = Vec::new();
        while its.count(MmEvent::AsidRollover) == 0 {
            all.push(guest_of(&its, CPU2, all.len() as u64));
        }
        // The first of the new generation.
        its.on(CPU2, || all.last().expect("some").mm.activate());
        let seen = its.machine.load(CPU2, START.base()).ok();
        assert_eq!(seen, Some(all.len() as u64 - 1), "its own page");
        all
    });
    assert_eq!(enters.join().unwrap().ok(), Some(4711), "its own page");
    let all = others.join().unwrap();
    [CPU1, CPU2].iter().for_each(|cpu| world.on(*cpu, || world.system.deactivate()));
    all.into_iter().chain([p]).for_each(Process::exit);
    world.audit();
}

/// The CPU's announcement is all that the rollover can see of it.
const ENTERS_LATE: [(usize, Option<&str>); 3] = [(1, Some("may enter")), (2, None), (1, None)];

#[test]
fn a_rollover_counts_who_is_about_to_run() {
    replay_stops(&ENTERS_LATE, || rollover_while_a_cpu_enters(None));
    explore_stops(2, || rollover_while_a_cpu_enters(None));
}

/// Three CPUs switch among address spaces while ASIDs run out again and again.
#[test]
fn switches_race_rollovers() {
    explore(seeds(100), |seed| {
        let world = tight_world(seed, None);
        let all: Arc<Vec<_>> = Arc::new((0..6).map(|n| guest_of(&world, CPU0, n)).collect());
        let switching = |cpu: CpuId| {
            let (all, world) = (Arc::clone(&all), world.clone());
            world.machine.clone().spawn_on(cpu, move || {
                let mut dice = Dice::new(seed * 5 + cpu.get() as u64);
                for step in 0..8 {
                    let n = dice.roll(6);
                    all[n as usize].mm.activate();
                    if step % 2 == 0 {
                        guest_of(&world, cpu, 100).exit();
                        all[n as usize].mm.activate();
                    }
                    assert_eq!(world.machine.load(cpu, START.base()).ok(), Some(n), "its own page");
                }
                world.system.deactivate();
            })
        };
        let threads: Vec<_> = [CPU1, CPU2, CPU3].map(switching).into_iter().collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(world.count(MmEvent::AsidRollover) >= 1);
        Arc::into_inner(all).expect("no thread").into_iter().for_each(Process::exit);
        world.audit();
    });
}

/// The same with a step left out.
#[cfg(shuttle)]
mod caught {
    use super::*;
    use world::caught::what_is_said;

    /// Linux's first batching on arm64: a DSB of the CPU that did not issue the TLBI.
    #[test]
    fn s004_r09_a_remote_dsb_alone_is_caught() {
        for call in CALLS {
            let run = move || called_under_a_batch(Some(TlbFault::RemoteDsbOnly), call);
            let said = what_is_said(|| replay_stops(&WITHIN_A_BATCH, run));
            assert!(said.expect("a store goes through").contains("gone when the call returns"));
        }
    }

    #[test]
    fn s004_r04_a_wait_after_the_unlock_is_caught() {
        let said = what_is_said(|| discard_twice(Some(TlbFault::CompletedAfterUnlock), 400));
        assert!(said.expect("it is caught").contains("what was discarded is seen"));
    }

    #[test]
    fn a_cpu_that_enters_unannounced_is_caught() {
        let run = || rollover_while_a_cpu_enters(Some(TlbFault::EntersUnannounced));
        let said = what_is_said(|| replay_stops(&ENTERS_LATE, run));
        let said = said.expect("two address spaces have one ASID");
        assert!(["asid reuse", "its own page"].iter().any(|by| said.contains(by)), "{said}");
    }
}
