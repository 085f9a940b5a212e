// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs what must not pass once an invalidation is weakened.

use base::{PageRange, Vpn};
use hal::sim::{Adversary, Bank, SimConfig};
use mm::Placement;
use mm::lab::TlbFault;

use super::caught::what_is_said;
use super::process::{Process, RW};
use super::{CPU0, CPU1, World, config};

pub const START: Vpn = Vpn::new(0x10_0000);

/// Runs `scenario` without the fault, where it must pass, and with it, where it must not, on machines
/// with hardware dirty state and without. Returns what was said when it was caught.
pub fn caught_on(fault: TlbFault, adversary: Adversary, scenario: fn(&World)) -> String {
    let run = |fault: Option<TlbFault>, seed: u64| {
        let first = SimConfig::default().banks[0].first;
        let banks = vec![Bank { first, nr_blocks: 6 }];
        let disks = vec![8 * 256 * 16];
        let hw_dirty = seed.is_multiple_of(2);
        let nr_asids = 16;
        let world =
            World::new(SimConfig { banks, disks, hw_dirty, nr_asids, adversary, ..config(seed) });
        fault.into_iter().for_each(|fault| world.system.weaken(fault));
        scenario(&world);
    };
    let mut said = None;
    for seed in 0..8 {
        run(None, seed);
        said = said.or(what_is_said(|| run(Some(fault), seed)));
    }
    said.unwrap_or_else(|| panic!("{fault:?} was not caught"))
}

pub fn caught(fault: TlbFault, scenario: fn(&World)) -> String {
    caught_on(fault, Adversary::CALM, scenario)
}

/// What the machine's judges say of a stale translation, whoever comes across it first.
pub const JUDGES: [&str; 4] = ["stale", "is overwritten while", "break-before-make", "asid reuse"];

/// Expects that a judge catches the fault.
pub fn assert_judged(fault: TlbFault, scenario: fn(&World)) {
    let said = caught(fault, scenario);
    assert!(JUDGES.iter().any(|by| said.contains(by)), "{fault:?} was caught otherwise: {said}");
}

/// Expects that the fault is caught with these words.
pub fn assert_caught(fault: TlbFault, by: &str, scenario: fn(&World)) {
    let said = caught(fault, scenario);
    assert!(said.contains(by), "{fault:?} was caught otherwise: {said}");
}

/// A process on CPU 0 with `nr` pages, all stored to, which has run on CPU 1 too.
pub fn process(world: &World, nr: u64) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), nr, RW);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    (p, pages)
}

/// Lets CPU 1 have the pages in its TLB, writable.
pub fn known_elsewhere(p: &Process, pages: PageRange) {
    p.world.on(CPU1, || {
        p.mm.activate();
        for page in pages.pages() {
            p.world.machine.store(CPU1, page.base(), page.get()).expect("it is mapped");
        }
    });
}

/// Allocates and zeroes what is free: a frame that a TLB still knows is found.
pub fn use_all_frames(world: &World) {
    // What a CPU has freed is had again by that CPU first.
    for cpu in [CPU0, CPU1] {
        let mut q = world.process(cpu);
        let pages = q.map(600, RW);
        pages.pages().for_each(|page| q.store(page.base(), 1).unwrap());
        q.exit();
    }
}

pub fn unmap_and_use_again(world: &World) {
    let (mut p, pages) = process(world, 16);
    known_elsewhere(&p, pages);
    p.unmap(pages);
    use_all_frames(world);
}
