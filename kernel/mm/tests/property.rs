// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file drives random operations of several processes on several CPUs, under memory pressure,
//! against the oracle.
//!
//! A case is a seed: it chooses the machine's features, the operations, what the adversaries do and,
//! under the model checker (`--cfg shuttle`), every interleaving. `GRANULE_SEEDS=a..b` chooses the
//! range, so `GRANULE_SEEDS=7..8` replays seed 7.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use hal::BlockOp;
use hal::sim::{IoFault, SimConfig, explore};
use mm::lab::{Refault, Restore};
use mm::{MmEvent, Shmem, TlbPolicy};
use world::actor::{Actor, MOST_PAGES};
use world::oracle::Object;
use world::process::{Process, TAGGED};
use world::{CPU0, Dice, Footprint, World, config, seeds, tlb_policy_of};

/// Returns a machine whose features the seed chooses. Tagged memory in all of them.
fn machine_of(seed: u64, nr_cpus: usize) -> SimConfig {
    let mut dice = Dice::new(seed ^ 0xfeed);
    let hw_access_flag = !dice.one_in(4);
    let hw_dirty = hw_access_flag && !dice.one_in(3);
    // mremap stores a moved entry before the invalidation of its old place is complete, with both
    // tables locked. Where the judge minds that, nothing is moved.
    // Where an exit does not wait, its entries for pages that live on may be in a TLB for a while.
    let is_complete = tlb_policy_of(seed) != TlbPolicy::Generation;
    let judges_new_mappings = dice.one_in(2) && is_complete;
    // So few that they are given out again and again, once there are some processes.
    let nr_asids = if seed.is_multiple_of(3) { 11 } else { 1 << 16 };
    SimConfig {
        nr_cpus,
        hw_access_flag,
        hw_dirty,
        judges_new_mappings,
        judges_unmapped_stores: is_complete,
        nr_asids,
        ..config(seed)
    }
}

/// Lets anonymous memory have the sizes of folios that the seed chooses.
fn choose_sizes(world: &World, seed: u64) {
    let mut dice = Dice::new(seed ^ 0x512e5);
    for order in 2..=9 {
        if dice.one_in(3) {
            world.allow_order(order);
        }
    }
}

/// Lets every other seed restore tags as one of the interfaces does that linux-mm discussed, and map
/// one page a fault.
fn choose_refault(world: &World, seed: u64) {
    let mut dice = Dice::new(seed ^ 0x11_2023);
    if dice.one_in(2) {
        let restore = Restore::ALL[dice.roll(Restore::ALL.len() as u64) as usize];
        let refault = Refault { restore, maps_one_page: dice.one_in(2), stays_cached: false };
        world.system.set_refault(refault);
    }
}

/// Several processes take turns; everything is checked between turns now and then.
#[test]
fn processes_in_turn_agree_with_the_oracle() {
    explore(seeds(if cfg!(shuttle) { 40 } else { 1000 }), |seed| {
        let world = World::new(machine_of(seed, 3));
        choose_sizes(&world, seed);
        choose_refault(&world, seed);
        world.system.set_tlb_policy(tlb_policy_of(seed));
        let before = world.footprint();
        let mut dice = Dice::new(seed);
        let mut actors = vec![Actor::new(world.process(CPU0), dice.next())];
        let (object, model) = shared_object(&world, 24);
        for step in 0..250 {
            let turn = dice.roll(actors.len() as u64) as usize;
            match dice.roll(60) {
                0 if actors.len() < 5 => {
                    let cpu = CpuId::new(dice.roll(3) as usize);
                    let child = actors[turn].p.fork(cpu);
                    actors.push(Actor::new(child, dice.next()));
                }
                1 if actors.len() > 1 => actors.swap_remove(turn).p.exit(),
                2 if actors[turn].p.oracle.pages.len() < MOST_PAGES => {
                    actors[turn].p.map_object(&object, &model, TAGGED);
                }
                _ => actors[turn].step(),
            }
            if step % 25 == 24 {
                world.audit();
            }
        }
        for actor in &mut actors {
            actor.p.verify_all();
            world.assert_no_stale(&actor.p.mm);
        }
        world.audit();
        actors.into_iter().for_each(|actor| actor.p.exit());
        world.on(CPU0, || drop(object));
        world.audit();
        assert_eq!(world.footprint(), before, "everything is given back");
    });
}

/// Several processes take turns while allocations and disk requests fail now and then. What fails is
/// tried again; nothing else may differ.
#[test]
fn processes_in_turn_survive_failing_disks_and_allocations() {
    explore(seeds(if cfg!(shuttle) { 20 } else { 300 }), |seed| {
        let world = World::new(machine_of(seed, 2)).patient();
        choose_sizes(&world, seed);
        choose_refault(&world, seed);
        world.system.set_tlb_policy(tlb_policy_of(seed));
        let before = world.footprint();
        let mut dice = Dice::new(seed);
        let mut actors = vec![Actor::new(world.process(CPU0), dice.next())];
        for step in 0..200 {
            let turn = dice.roll(actors.len() as u64) as usize;
            match dice.roll(50) {
                0 if actors.len() < 4 => {
                    let child = actors[turn].p.fork(CpuId::new(dice.roll(2) as usize));
                    actors.push(Actor::new(child, dice.next()));
                }
                1 if actors.len() > 1 => actors.swap_remove(turn).p.exit(),
                _ => {
                    trouble(&world, &mut dice);
                    actors[turn].access();
                    world.machine.fail_allocs(0);
                    world.machine.clear_io_faults();
                    actors[turn].step();
                }
            }
            if step % 25 == 24 {
                world.audit();
            }
        }
        actors.iter_mut().for_each(|actor| actor.p.verify_all());
        actors.into_iter().for_each(|actor| actor.p.exit());
        world.audit();
        let retired = world.count(MmEvent::SwpOutError);
        let expected = Footprint { swap_free: before.swap_free - retired, ..before };
        assert_eq!(world.footprint(), expected, "everything is given back but {retired} slots");
    });
}

/// Lets allocations and requests fail from now on.
fn trouble(world: &World, dice: &mut Dice) {
    world.machine.fail_allocs([0, 2, 5, 20][dice.roll(4) as usize]);
    for op in [BlockOp::Read, BlockOp::Write] {
        if dice.one_in(2) {
            let nth = 1 + dice.roll(6);
            world.machine.fail_io(IoFault::any().of(op).nth(nth));
            if dice.one_in(2) {
                // What is tried again fails again.
                world.machine.fail_io(IoFault::any().of(op).nth(nth + 1));
            }
        }
    }
}

/// Several processes at once, each on its CPU, with reclaim in the background.
#[test]
fn processes_at_once_agree_with_the_oracle() {
    explore(seeds(if cfg!(shuttle) { 1000 } else { 100 }), |seed| {
        // A page may be mapped anew (by fork) while another address space that unmaps it has not
        // completed its invalidation: both see a page that is read-only and alive.
        let world = World::new(SimConfig { judges_new_mappings: false, ..machine_of(seed, 4) });
        choose_sizes(&world, seed);
        choose_refault(&world, seed);
        world.system.set_tlb_policy(tlb_policy_of(seed));
        let before = world.footprint();
        let mut first = Actor::new(world.process(CPU0), seed);
        (0..3).for_each(|_| first.map());
        (0..20).for_each(|_| first.step());
        let others: Vec<_> = (1..3).map(|cpu| (cpu, first.p.fork(CpuId::new(cpu)))).collect();
        let mut threads = Vec::new();
        for (cpu, p) in others {
            threads.push(spawn_actor(
                &world,
                CpuId::new(cpu),
                p,
                seed.wrapping_mul(31) + cpu as u64,
            ));
        }
        threads.push(spawn_actor(&world, CPU0, first.p, seed ^ 0x5a5a));
        let reclaim = spawn_reclaim(&world, CpuId::new(3));
        let left: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        reclaim();
        world.audit();
        for actor in left {
            let mut actor = actor;
            actor.p.verify_all();
            actor.p.exit();
        }
        world.audit();
        assert_eq!(world.footprint(), before, "everything is given back");
    });
}

#[cfg(shuttle)]
type Handle<T> = shuttle::thread::JoinHandle<T>;
#[cfg(not(shuttle))]
type Handle<T> = std::thread::JoinHandle<T>;

fn spawn_actor(world: &World, cpu: CpuId, p: Process, seed: u64) -> Handle<Actor> {
    world.machine.spawn_on(cpu, move || {
        let mut actor = Actor::new(p, seed);
        for _ in 0..40 {
            actor.step();
        }
        actor.p.verify_all();
        actor
    })
}

/// Starts the background reclaimer; the function returned stops it.
fn spawn_reclaim(world: &World, cpu: CpuId) -> impl FnOnce() + use<> {
    use base::sync::atomic::{AtomicBool, Ordering};
    let stop = Arc::new(AtomicBool::new(false));
    let system = Arc::clone(&world.system);
    let asked = Arc::clone(&stop);
    let thread =
        world.machine.spawn_on(cpu, move || system.run_kswapd(|| asked.load(Ordering::SeqCst)));
    let system = Arc::clone(&world.system);
    let machine = world.machine.clone();
    move || {
        stop.store(true, Ordering::SeqCst);
        machine.run_on(CPU0, || system.poke_kswapd());
        thread.join().unwrap();
    }
}

fn shared_object(world: &World, nr_pages: u64) -> (Arc<Shmem<hal::sim::SimMachine>>, Object) {
    let object = world.on(CPU0, || Shmem::new(&world.system, nr_pages * 4096, None));
    (object.expect("an object"), Object::default())
}
