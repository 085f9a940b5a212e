// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sets up a machine on which invalidations are counted.

use base::{PageRange, Vpn};
use hal::sim::{Adversary, Bank, SimConfig};
use mm::{MmEvent, Placement, TlbPolicy};

use super::process::{Process, RW};
use super::{CPU0, CPU1, World, config};

pub const START: Vpn = Vpn::new(0x10_0000);

/// 32 MiB of RAM, 32 MiB of swap, and a machine that does nothing of its own accord.
pub fn calm_world(policy: TlbPolicy) -> World {
    calm_world_of(policy, 1 << 16)
}

pub fn calm_world_of(policy: TlbPolicy, nr_asids: u32) -> World {
    let first = SimConfig::default().banks[0].first;
    let banks = vec![Bank { first, nr_blocks: 16 }];
    let disks = vec![8 * 256 * 32];
    let world =
        World::new(SimConfig { banks, disks, nr_asids, adversary: Adversary::CALM, ..config(1) });
    world.system.set_tlb_policy(policy);
    world
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub pages: u64,
    pub ranges: u64,
    pub asids: u64,
    pub local: u64,
    pub covered: u64,
    pub elided: u64,
    pub dsbs: u64,
}

pub fn counts(world: &World) -> Counts {
    Counts {
        pages: world.count(MmEvent::TlbiPage),
        ranges: world.count(MmEvent::TlbiRange),
        asids: world.count(MmEvent::TlbiAsid),
        local: world.count(MmEvent::TlbiLocal),
        covered: world.count(MmEvent::TlbiRangePages),
        elided: world.count(MmEvent::TlbiElided),
        dsbs: world.count(MmEvent::TlbDsb),
    }
}

/// Returns what `body` costs.
pub fn cost(world: &World, body: impl FnOnce()) -> Counts {
    let before = counts(world);
    body();
    let after = counts(world);
    Counts {
        pages: after.pages - before.pages,
        ranges: after.ranges - before.ranges,
        asids: after.asids - before.asids,
        local: after.local - before.local,
        covered: after.covered - before.covered,
        elided: after.elided - before.elided,
        dsbs: after.dsbs - before.dsbs,
    }
}

/// A process with `nr` pages in folios of `order`, all stored to.
pub fn process_with(world: &World, order: u8, at: Vpn, nr: u64) -> (Process, PageRange) {
    if order > 0 {
        world.allow_order(order);
    }
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(at), nr, RW);
    pages.pages().for_each(|page| p.store(page.base(), page.get()).unwrap());
    (p, pages)
}

/// Another CPU runs the process, so that invalidations are broadcast.
pub fn run_elsewhere_too(p: &Process) {
    p.world.on(CPU1, || p.mm.activate());
}

pub const ONE_RANGE: Counts =
    Counts { pages: 0, ranges: 1, asids: 0, local: 0, covered: 512, elided: 0, dsbs: 1 };
