// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets two threads of a process, its children and reclaim take translations away from each
//! other, under seeded schedules and every policy: no access goes through one that is gone, and none is
//! left at the end.
//!
//! Under `--cfg shuttle` the seed is the schedule. `GRANULE_SEEDS=0..100000` and `GRANULE_TLB=page`,
//! `batch` or `generation` choose; docs/TESTING.md has what was run.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use base::{PageRange, Vpn};
use hal::sim::{SimConfig, explore};
use mm::{Advice, MapRequest, Placement, Prot, TlbPolicy};
use world::process::{Process, RW};
use world::races::{CPU2, one};
use world::{CPU0, CPU1, Dice, World, config, seeds, tlb_policy_of};

const START: Vpn = Vpn::new(0x10_0000);
const NR_PAGES: u64 = 6;

/// A machine whose features the seed chooses; on some, ASIDs run out.
fn world_of(seed: u64) -> World {
    let hw_access_flag = seed % 4 != 3;
    let hw_dirty = hw_access_flag && seed.is_multiple_of(2);
    let nr_asids = if seed.is_multiple_of(5) { 11 } else { 1 << 16 };
    // fork maps pages anew; what is unmapped is nobody's, and reclaim may come across it.
    let machine = SimConfig {
        nr_cpus: 3,
        hw_access_flag,
        hw_dirty,
        nr_asids,
        judges_new_mappings: false,
        judges_unmapped_stores: false,
        ..config(seed)
    };
    let world = World::new(machine);
    world.system.set_tlb_policy(tlb_policy_of(seed));
    if seed % 3 == 1 {
        world.allow_order(2);
    }
    world
}

/// Does one thing to one page, or to all, as `dice` say. Whatever another thread has done to it, a call
/// may find the page gone.
fn step(p: &Process, dice: &mut Dice) {
    let page = START.add(dice.roll(NR_PAGES));
    let part = if dice.one_in(3) { PageRange::of_len(START, NR_PAGES) } else { one(page) };
    match dice.roll(9) {
        0 | 1 => _ = p.store(page.base(), dice.next()),
        2 => _ = p.load(page.base()),
        3 => _ = p.call(|mm| mm.protect(part, Prot::READ, false)),
        4 => _ = p.call(|mm| mm.protect(part, Prot::READ | Prot::WRITE, false)),
        5 => _ = p.call(|mm| mm.advise(part, Advice::DontNeed)),
        6 => _ = p.call(|mm| mm.advise(part, Advice::PageOut)),
        7 => {
            let again = MapRequest::anon(Placement::Fixed(page), 1, RW);
            _ = p.call(|mm| mm.unmap(one(page)));
            _ = p.call(|mm| mm.map(again));
        }
        _ => {
            let child = p.fork(p.cpu);
            _ = child.store(page.base(), dice.next());
            child.exit();
        }
    }
}

#[test]
fn s004_no_schedule_leads_through_a_translation_that_is_gone() {
    explore(seeds(300), |seed| {
        let world = world_of(seed);
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(START), NR_PAGES, RW);
        pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
        let spawn = |cpu: CpuId, steps: u64| {
            let (other, mm) = (world.clone(), Arc::clone(&p.mm));
            world.machine.spawn_on(cpu, move || {
                let p = Process { world: other, mm, cpu, oracle: Default::default() };
                let mut dice = Dice::new(seed * 3 + cpu.get() as u64);
                (0..steps).for_each(|_| step(&p, &mut dice));
            })
        };
        let thread = spawn(CPU1, 4);
        let system = Arc::clone(&world.system);
        let reclaim = world.machine.spawn_on(CPU2, move || _ = system.reclaim_pages(8));
        let mut dice = Dice::new(seed * 3);
        (0..4).for_each(|_| step(&p, &mut dice));
        thread.join().unwrap();
        reclaim.join().unwrap();
        world.audit();
        world.assert_no_stale(&p.mm);
        [CPU1, CPU2].iter().for_each(|cpu| world.on(*cpu, || world.system.deactivate()));
        p.exit();
        world.audit();
    });
}

/// The policy is what it is said to be.
#[test]
fn every_policy_has_its_seeds() {
    explore(0..1, |_| {
        let seen: Vec<_> = (0..9).map(|seed| world_of(seed).system.tlb_policy()).collect();
        if std::env::var("GRANULE_TLB").is_err() {
            assert!(TlbPolicy::ALL.iter().all(|policy| seen.contains(policy)));
        }
    });
}
