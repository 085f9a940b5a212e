// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs swapoff beside everything else, under seeded schedules. Rows 3, 8 and 17 of 002.3 of the
//! facts.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use hal::sim::{SimConfig, explore};
use mm::{Advice, SwapOffError};
use world::actor::Actor;
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, Dice, SWAP, World, config};

/// Three CPUs of processes that do anything, and one that takes the area out and puts it back.
#[test]
fn s002_r03_swapoff_under_load_loses_nothing_and_leaves_nothing() {
    let is_long = std::env::var_os("GRANULE_LONG").is_some();
    let nr = match (is_long, cfg!(shuttle)) {
        (true, false) => 10_000,
        (true, true) => 1000,
        (false, _) => 60,
    };
    explore(0..nr, |seed| {
        let four = SimConfig { nr_cpus: 4, judges_new_mappings: false, ..config(seed) };
        let world = World::new(four).patient();
        [2, 4]
            .into_iter()
            .filter(|order| seed & order == 0)
            .for_each(|n| world.allow_order(n as u8));
        let mut first = Actor::new(world.process(CPU0), seed);
        (0..3).for_each(|_| first.map());
        (0..20).for_each(|_| first.step());
        let actors: Vec<_> = (0..3)
            .map(|cpu| (CpuId::new(cpu), first.p.fork(CpuId::new(cpu))))
            .map(|(cpu, p)| world.machine.spawn_on(cpu, move || act(p, seed ^ cpu.get() as u64)))
            .collect();
        let other = world.clone();
        let off = world.machine.spawn_on(CpuId::new(3), move || {
            for _ in 0..3 {
                // It may be refused: there is less memory than there is on the area.
                if other.system.swap_off(SWAP, || false).is_ok() {
                    other.system.swap_on(SWAP, None).expect("the area that was there");
                }
            }
        });
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        off.join().unwrap();
        first.p.verify_all();
        world.audit();
        first.p.exit();
        world.audit();
        assert_eq!((world.system.swap_areas()[0].nr_used, world.system.tag_bytes_stored()), (0, 0));
        let off = world.on(CPU1, || world.system.swap_off(SWAP, || false));
        assert_eq!(off, Ok(()));
        assert_eq!(world.system.swap_slots(), (0, 0));
        assert_eq!(world.system.swap_metadata_frames(), 0);
    });
}

fn act(p: Process, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut actor = Actor::new(p, dice.next());
    for _ in 0..25 {
        match dice.roll(8) {
            0 => {
                let child = actor.p.fork(actor.p.cpu);
                let mut child = Actor::new(child, dice.next());
                (0..3).for_each(|_| child.access());
                child.p.exit();
            }
            _ => actor.step(),
        }
    }
    actor.p.verify_all();
    actor.p.exit();
}

#[test]
fn s002_r08_of_two_swapoffs_at_once_one_has_the_area() {
    explore(0..if cfg!(shuttle) { 200 } else { 30 }, |seed| {
        let world = World::new(config(seed));
        let mut p = world.process(CPU0);
        let pages = p.map(8, RW);
        pages.pages().for_each(|page| p.write(page, 0, page.get()));
        p.advise(pages, Advice::PageOut);
        let offs = [0, 1].map(|cpu| {
            let system = Arc::clone(&world.system);
            world.machine.spawn_on(CpuId::new(cpu), move || system.swap_off(SWAP, || false))
        });
        let mut results = offs.map(|off| off.join().unwrap());
        results.sort_by_key(Result::is_err);
        assert_eq!(results, [Ok(()), Err(SwapOffError::NotInService)]);
        p.verify_all();
        world.audit();
        p.exit();
        world.audit();
    });
}

#[test]
fn s002_r17_who_sees_an_unused_area_sees_no_tags_left() {
    let nr = if cfg!(shuttle) { 300 } else { 50 };
    explore(0..nr, |seed| {
        let world = World::new(config(seed));
        let mut p = world.process(CPU0);
        let pages = p.map(3, TAGGED);
        for page in pages.pages() {
            p.write(page, 0, page.get());
            // Three kinds of records.
            (0..4).for_each(|granule| {
                p.retag(page, granule, (page.get() as usize + granule) as u8 & 15)
            });
        }
        p.advise(pages, Advice::PageOut);
        let other = world.clone();
        let observer = world.machine.spawn_on(CPU1, move || {
            while other.system.swap_areas()[0].nr_used > 0 {
                base::sync::relax();
            }
            assert_eq!(other.system.tag_bytes_stored(), 0, "tags of slots that are not in use");
            assert_eq!(
                other.system.swap_metadata_frames(),
                0,
                "words of slots that are not in use"
            );
        });
        p.exit();
        observer.join().unwrap();
        world.audit();
    });
}
