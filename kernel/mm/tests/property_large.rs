// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file does what `property.rs` does with areas of megabytes, which have folios of up to 2 MiB,
//! and makes sure that what these are about did happen.
//!
//! A case is a seed, as there: `GRANULE_SEEDS=7..8` replays seed 7.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Order;
use base::percpu::CpuId;
use hal::sim::{SimConfig, explore};
use mm::{MmEvent, ThpStat};
use world::actor::Actor;
use world::folios::roomy;
use world::{CPU0, CPU1, Dice, World, seeds};

/// What must have happened over all seeds.
#[derive(Default)]
struct Happened([AtomicU64; WHAT.len()]);

/// Its names, in the order of [`what_happened`].
const WHAT: [&str; 9] = [
    "folios of 2 MiB made",
    "folios with contiguous runs made",
    "folios of 2 MiB out as a whole",
    "smaller ones out as a whole",
    "smaller ones back as a whole",
    "folios of 2 MiB split",
    "smaller ones split",
    "blocks split",
    "huge zero pages made",
];

/// Counts it on one machine.
fn what_happened(world: &World) -> [u64; WHAT.len()] {
    let block = |stat| world.stat(stat, Order::BLOCK.get());
    let smaller = |stat, from: u8| (from..9).map(|order| world.stat(stat, order)).sum();
    [
        block(ThpStat::AnonFaultAlloc),
        smaller(ThpStat::AnonFaultAlloc, 4),
        block(ThpStat::Swpout),
        smaller(ThpStat::Swpout, 2),
        smaller(ThpStat::Swpin, 2),
        block(ThpStat::Split),
        smaller(ThpStat::Split, 2),
        world.count(MmEvent::ThpSplitPmd),
        world.count(MmEvent::ThpZeroPageAlloc),
    ]
}

impl Happened {
    fn add(&self, world: &World) {
        for (sum, nr) in self.0.iter().zip(what_happened(world)) {
            sum.fetch_add(nr, Ordering::Relaxed);
        }
    }
}

/// Runs `body` for so many seeds, or for those asked for; of the former, all must have happened.
fn cases(nr: u64, body: fn(&World, u64)) {
    let happened = Arc::new(Happened::default());
    let sums = Arc::clone(&happened);
    explore(seeds(nr), move |seed| {
        let world = World::new(machine_of(seed));
        choose_sizes(&world, seed);
        let before = world.footprint();
        body(&world, seed);
        world.audit();
        assert_eq!(world.footprint(), before, "everything is given back");
        sums.add(&world);
    });
    for (what, sum) in WHAT.iter().zip(&happened.0) {
        let sum = sum.load(Ordering::Relaxed);
        println!("{sum} {what}");
        assert!(sum > 0 || seeds(nr) != (0..nr), "no {what} in {nr} seeds");
    }
}

/// Returns a machine of 12 MiB whose features the seed chooses.
fn machine_of(seed: u64) -> SimConfig {
    let mut dice = Dice::new(seed ^ 0x2feed);
    let hw_access_flag = !dice.one_in(4);
    let hw_dirty = hw_access_flag && !dice.one_in(3);
    SimConfig {
        nr_cpus: 3,
        hw_access_flag,
        hw_dirty,
        // fork and mremap map a page anew while another mapping of it is on its way out.
        judges_new_mappings: false,
        // No objects here. A folio may be written while part of it is being unmapped.
        judges_unmapped_stores: false,
        ..roomy(seed)
    }
}

/// Lets anonymous memory have the sizes of folios that the seed chooses, 2 MiB mostly.
fn choose_sizes(world: &World, seed: u64) {
    let mut dice = Dice::new(seed ^ 0x21a26e);
    for order in 2..=9 {
        if dice.one_in(3) || (order == 9 && !dice.one_in(4)) {
            world.allow_order(order);
        }
    }
}

/// Several processes take turns; everything is checked between turns now and then.
#[test]
fn large_processes_in_turn_agree_with_the_oracle() {
    cases(if cfg!(shuttle) { 10 } else { 60 }, |world, seed| {
        let mut dice = Dice::new(seed);
        let mut actors = vec![Actor::large(world.process(CPU0), dice.next())];
        actors[0].map();
        for step in 0..120 {
            let turn = dice.roll(actors.len() as u64) as usize;
            match dice.roll(40) {
                0 if actors.len() < 3 => {
                    let child = actors[turn].p.fork(CpuId::new(dice.roll(3) as usize));
                    actors.push(Actor::large(child, dice.next()));
                }
                1 if actors.len() > 1 => actors.swap_remove(turn).p.exit(),
                2 => _ = world.on(CPU1, || world.system.reclaim_pages(512)),
                _ => actors[turn].step(),
            }
            if step % 30 == 29 {
                world.audit();
            }
        }
        for actor in &mut actors {
            actor.p.verify_all();
            world.assert_no_stale(&actor.p.mm);
        }
        world.audit();
        actors.into_iter().for_each(|actor| actor.p.exit());
    });
}

/// Two processes at once, and reclaim beside them.
#[test]
fn large_processes_at_once_agree_with_the_oracle() {
    cases(if cfg!(shuttle) { 25 } else { 30 }, |world, seed| {
        let mut first = Actor::large(world.process(CPU0), seed);
        (0..2).for_each(|_| first.map());
        (0..10).for_each(|_| first.step());
        let child = Actor::large(first.p.fork(CPU1), seed.wrapping_mul(31));
        let run = |mut actor: Actor| {
            move || {
                (0..30).for_each(|_| actor.step());
                actor
            }
        };
        let child = world.machine.spawn_on(CPU1, run(child));
        let system = Arc::clone(&world.system);
        let reclaim = world.machine.spawn_on(CpuId::new(2), move || {
            (0..4).for_each(|_| _ = system.reclaim_pages(600));
        });
        let first = run(first)();
        reclaim.join().unwrap();
        for mut actor in [first, child.join().unwrap()] {
            actor.p.verify_all();
            actor.p.exit();
        }
    });
}
