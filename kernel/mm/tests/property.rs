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
use base::{PageRange, Vpn};
use hal::sim::{SimConfig, explore};
use mm::{Advice, Prot, Shmem};
use world::oracle::{CELLS, GRANULES, Object};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, Dice, World, config};

/// Returns the seeds to run: those asked for, or `default`.
fn seeds(default: u64) -> std::ops::Range<u64> {
    match std::env::var("GRANULE_SEEDS") {
        Err(_) => 0..default,
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("GRANULE_SEEDS=first..end");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
    }
}

/// Returns a machine whose features the seed chooses. Tagged memory in all of them.
fn machine_of(seed: u64, nr_cpus: usize) -> SimConfig {
    let mut dice = Dice::new(seed ^ 0xfeed);
    let hw_access_flag = !dice.one_in(4);
    let hw_dirty = hw_access_flag && !dice.one_in(3);
    // mremap stores a moved entry before the invalidation of its old place is complete, with both
    // tables locked. Where the judge minds that, nothing is moved.
    let judges_new_mappings = dice.one_in(2);
    SimConfig { nr_cpus, hw_access_flag, hw_dirty, judges_new_mappings, ..config(seed) }
}

/// Most pages a process maps: a few processes together want more than there is.
const MOST_PAGES: usize = 160;

/// A process that does random things.
struct Actor {
    p: Process,
    dice: Dice,
}

impl Actor {
    fn new(p: Process, seed: u64) -> Self {
        p.check_tags(hal::TagCheckMode::Sync);
        Self { p, dice: Dice::new(seed) }
    }

    fn page(&mut self) -> Option<Vpn> {
        let pages = self.p.oracle.mapped();
        (!pages.is_empty()).then(|| pages[self.dice.roll(pages.len() as u64) as usize])
    }

    /// Chooses some mapped pages that lie side by side.
    fn range(&mut self, most: u64) -> Option<PageRange> {
        let start = self.page()?;
        let want = 1 + self.dice.roll(most);
        let is_mapped = |n: &u64| self.p.oracle.pages.contains_key(&start.add(*n));
        let nr = (0..want).take_while(is_mapped).count() as u64;
        Some(PageRange::of_len(start, nr))
    }

    /// Does one random thing other than fork and exit.
    fn step(&mut self) {
        let action = self.dice.roll(100);
        match action {
            0..8 => self.map(),
            8..45 => self.write_some(),
            45..60 => self.retag(),
            60..74 => self.verify(),
            74..77 => self.unmap(),
            77..81 => self.protect(),
            81..84 => self.remap(),
            _ => self.advise(),
        }
    }

    fn map(&mut self) {
        if self.p.oracle.pages.len() < MOST_PAGES {
            let flags = if self.dice.one_in(2) { TAGGED } else { RW };
            let nr_pages = 1 + self.dice.roll(40);
            self.p.map(nr_pages, flags);
        }
    }

    fn write_some(&mut self) {
        let Some(pages) = self.range(6) else { return };
        for page in pages.pages() {
            if self.p.oracle.pages[&page].prot.contains(Prot::WRITE) {
                let (cell, value) = (self.dice.roll(CELLS.len() as u64), self.dice.next());
                // Zero pages are swapped without I/O: make some.
                let value = if self.dice.one_in(5) { 0 } else { value };
                self.p.write(page, cell as usize, value);
            }
        }
    }

    fn retag(&mut self) {
        let Some(page) = self.page() else { return };
        if self.p.oracle.pages[&page].prot.contains(Prot::WRITE) {
            let granule = self.dice.roll(GRANULES.len() as u64) as usize;
            let tag = self.dice.roll(16) as u8;
            self.p.retag(page, granule, tag);
        }
    }

    fn verify(&mut self) {
        let Some(pages) = self.range(8) else { return };
        pages.pages().for_each(|page| self.p.verify(page));
    }

    fn unmap(&mut self) {
        if let Some(pages) = self.range(24) {
            self.p.unmap(pages);
        }
    }

    fn protect(&mut self) {
        let Some(pages) = self.range(12) else { return };
        let prot = match self.dice.roll(4) {
            0 => Prot::empty(),
            1 => Prot::READ,
            _ => Prot::READ | Prot::WRITE,
        };
        let tag = self.dice.one_in(3);
        self.p.protect(pages, prot, tag);
    }

    fn remap(&mut self) {
        if self.p.world.machine.config().judges_new_mappings {
            return;
        }
        let Some(pages) = self.range(8) else { return };
        // mremap wants one area; take the one the first page is in.
        let area = self.p.call(|mm| mm.area_view(pages.start)).expect("mapped").pages;
        self.p.remap(pages.intersect(area), None);
    }

    fn advise(&mut self) {
        let Some(pages) = self.range(32) else { return };
        let is_private =
            |page| matches!(self.p.oracle.pages[&page].home, world::oracle::Home::Private(_));
        let all_private = pages.pages().all(is_private);
        let advice = match self.dice.roll(8) {
            0 => Advice::DontNeed,
            1 if all_private => Advice::Free,
            2 => Advice::Cold,
            _ => Advice::PageOut,
        };
        self.p.advise(pages, advice);
    }
}

/// Several processes take turns; everything is checked between turns now and then.
#[test]
fn processes_in_turn_agree_with_the_oracle() {
    explore(seeds(if cfg!(shuttle) { 40 } else { 1000 }), |seed| {
        let world = World::new(machine_of(seed, 3));
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
            world.assert_no_stale(actor.p.mm.id());
        }
        world.audit();
        actors.into_iter().for_each(|actor| actor.p.exit());
        world.on(CPU0, || drop(object));
        world.audit();
        assert_eq!(world.footprint(), before, "everything is given back");
    });
}

/// Several processes at once, each on its CPU, with reclaim in the background.
#[test]
fn processes_at_once_agree_with_the_oracle() {
    explore(seeds(if cfg!(shuttle) { 1000 } else { 100 }), |seed| {
        // A page may be mapped anew (by fork) while another address space that unmaps it has not
        // completed its invalidation: both see a page that is read-only and alive.
        let world = World::new(SimConfig { judges_new_mappings: false, ..machine_of(seed, 4) });
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
