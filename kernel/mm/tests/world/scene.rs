// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sets the scene for races about one folio: machine, processes, threads, reclaim.

use std::sync::Arc;

use base::percpu::CpuId;
use base::{PageRange, Vpn};
use hal::TagCheckMode;
use hal::sim::{SimConfig, explore};
use mm::lab::{Refault, Restore};
use mm::{AreaFlags, Placement};

use super::folios::nr_pages;
use super::out::fill;
use super::process::Process;
use super::races::{CPU3, Handle};
use super::{CPU0, World, config, seeds};

/// Where the folio is.
pub const START: Vpn = Vpn::new(0x10_0000);

/// Four CPUs, and folios of `nr` pages.
#[derive(Clone)]
pub struct Scene {
    pub world: World,
    pub nr: u64,
    pub seed: u64,
}

/// Runs `body` for each of some seeds.
pub fn scenes(body: fn(&Scene)) {
    scenes_on(|config, _| config, body);
}

/// Like [`scenes`], on machines that `adjust` makes for folios of so many pages.
pub fn scenes_on(adjust: fn(SimConfig, u64) -> SimConfig, body: fn(&Scene)) {
    explore(seeds(if cfg!(shuttle) { 300 } else { 60 }), move |seed| {
        let order = if seed % 4 == 3 { 2 } else { 4 };
        let nr = nr_pages(order);
        // fork and mremap map a page anew while another mapping of it is on its way out.
        let four = SimConfig { judges_new_mappings: false, nr_cpus: 4, ..config(seed) };
        let world = World::new(adjust(four, nr));
        world.allow_order(order);
        let refault = Refault {
            restore: Restore::ALL[(seed % 5) as usize],
            maps_one_page: seed / 5 % 2 == 0,
            stays_cached: seed / 10 % 3 == 2,
        };
        world.system.set_refault(refault);
        let before = world.footprint();
        body(&Scene { world: world.clone(), nr, seed });
        world.audit();
        if refault.stays_cached {
            // A folio that was held when its last user went is left to reclaim.
            world.system.set_refault(Refault::default());
            world.on(CPU0, || world.system.reclaim_pages(64));
            world.audit();
        }
        assert_eq!(world.footprint(), before, "everything is given back");
    });
}

impl Scene {
    pub fn process(&self, cpu: CpuId) -> Process {
        let p = self.world.process(cpu);
        p.check_tags(TagCheckMode::Sync);
        p
    }

    /// Maps a folio and fills it.
    pub fn folio(&self, p: &mut Process, flags: AreaFlags) -> PageRange {
        let pages = p.map_at(Placement::Fixed(START), self.nr, flags);
        match flags.contains(AreaFlags::TAGGED) {
            true => fill(p, pages),
            false => pages.pages().for_each(|page| p.write(page, 0, page.get())),
        }
        pages
    }

    /// Lets some steps of the others pass, differently many for each seed and `who`.
    pub fn wait(&self, who: u64) {
        let steps = (self.seed * 7 + who * 13) % 96;
        (0..steps).for_each(|_| base::sync::schedule_point());
    }

    /// Does `body` on another CPU, beside its caller.
    pub fn beside<R: Send + 'static>(
        &self,
        cpu: CpuId,
        p: Process,
        body: impl FnOnce(&Scene, &mut Process) -> R + Send + 'static,
    ) -> Handle<Process> {
        let scene = self.clone();
        self.world.machine.spawn_on(cpu, move || {
            let mut p = Process { cpu, ..p };
            p.check_tags(TagCheckMode::Sync);
            scene.wait(cpu.get() as u64);
            body(&scene, &mut p);
            p
        })
    }

    /// Reclaims whatever there is, some rounds, on CPU 3.
    pub fn reclaim(&self, rounds: u32) -> Handle<()> {
        let scene = self.clone();
        self.world.machine.spawn_on(CPU3, move || {
            scene.wait(3);
            for _ in 0..rounds {
                scene.world.system.reclaim_pages(256);
            }
        })
    }
}

/// Another thread of the process, which only looks.
pub fn thread_of(p: &Process) -> Process {
    let (world, mm) = (p.world.clone(), Arc::clone(&p.mm));
    Process { world, mm, cpu: p.cpu, oracle: p.oracle.clone() }
}

pub fn page(n: u64) -> PageRange {
    PageRange::of_len(START.add(n), 1)
}
