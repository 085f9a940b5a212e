// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs a few threads, one per CPU, under seeded schedules.
//!
//! Under `--cfg shuttle` the seed is the schedule; without, the host decides.

use std::sync::Arc;

use base::percpu::CpuId;
use base::{PageRange, Vpn};
use hal::TagCheckMode;
use hal::sim::{SimConfig, SimMachine, explore};
use mm::Mm;

use super::process::Process;
use super::{World, config, seeds};

pub const CPU2: CpuId = CpuId::new(2);
pub const CPU3: CpuId = CpuId::new(3);

#[cfg(shuttle)]
pub type Handle<T> = shuttle::thread::JoinHandle<T>;
#[cfg(not(shuttle))]
pub type Handle<T> = std::thread::JoinHandle<T>;

/// Runs `body` on a four-CPU machine per seed. mremap and fork may map a page anew while another
/// mapping of it is on its way out (see `property.rs`).
pub fn schedules(body: fn(World)) {
    schedules_on(1, body);
}

/// Like [`schedules`], with `nr_blocks` times 2 MiB of RAM.
pub fn schedules_on(nr_blocks: u32, body: fn(World)) {
    let nr = if cfg!(shuttle) { 300 } else { 50 };
    explore(seeds(nr), move |seed| {
        let hw_access_flag = seed % 4 != 3;
        let hw_dirty = hw_access_flag && seed % 2 == 0;
        let judges_new_mappings = false;
        let config = config(seed);
        let first = config.banks[0].first;
        let banks = vec![hal::sim::Bank { first, nr_blocks }];
        let nr_cpus = 4;
        body(World::new(SimConfig {
            nr_cpus,
            hw_access_flag,
            hw_dirty,
            judges_new_mappings,
            banks,
            ..config
        }));
    });
}

/// A second thread of `p`, on `cpu`.
pub fn thread<R: Send + 'static>(
    p: &Process,
    cpu: CpuId,
    body: impl FnOnce(Process) -> R + Send + 'static,
) -> Handle<R> {
    let (world, mm) = (p.world.clone(), Arc::clone(&p.mm));
    p.world.machine.spawn_on(cpu, move || {
        let p = Process { world, mm, cpu, oracle: Default::default() };
        p.check_tags(TagCheckMode::Sync);
        body(p)
    })
}

pub fn call(p: &Process, f: impl FnOnce(&Arc<Mm<SimMachine>>)) {
    p.call(f);
}

pub fn one(page: Vpn) -> PageRange {
    PageRange::of_len(page, 1)
}

/// Lets some steps of the others pass, up to `most`, differently many for each seed.
pub fn wait(world: &World, most: u64) {
    let steps = world.machine.config().seed * 7 % most;
    (0..steps).for_each(|_| base::sync::schedule_point());
}
