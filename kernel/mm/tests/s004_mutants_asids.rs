// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file weakens what is known of ASIDs and of who runs them, and shows that the machine whose TLBs
//! forget nothing by themselves catches each.

mod world;

use mm::Placement;
use mm::lab::TlbFault;
use world::process::{Process, RW};
use world::weakened::{START, assert_judged, process, unmap_and_use_again, use_all_frames};
use world::{CPU0, CPU1, World};

/// The only thread leaves CPU 0 with its translations there.
fn move_and_unmap(world: &World) {
    let (mut p, pages) = process(world, 16);
    world.on(CPU0, || world.system.deactivate());
    p.cpu = CPU1;
    pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
    p.unmap(pages);
    use_all_frames(world);
}

#[test]
fn a_move_that_leaves_translations_behind_is_caught() {
    assert_judged(TlbFault::MovedUnflushed, move_and_unmap);
}

#[test]
fn a_cpu_that_nobody_knows_of_is_caught() {
    assert_judged(TlbFault::RunUnnoted, unmap_and_use_again);
}

/// More processes than ASIDs, each with another page at the same place.
fn many_processes(world: &World) {
    let mut all: Vec<_> = (0..20)
        .map(|n| {
            let mut p = world.process(CPU0);
            p.map_at(Placement::Fixed(START), 1, RW);
            p.write(START, 0, n);
            p
        })
        .collect();
    all.iter_mut().for_each(Process::verify_all);
}

#[test]
fn asids_given_out_again_without_a_flush_are_caught() {
    assert_judged(TlbFault::RolloverUnflushed, many_processes);
}

#[test]
fn asids_taken_from_who_runs_are_caught() {
    assert_judged(TlbFault::RolloverForgetsRunning, |world| {
        let mut runs = world.process(CPU1);
        runs.map_at(Placement::Fixed(START), 1, RW);
        runs.write(START, 0, 1000);
        many_processes(world);
        runs.verify_all();
    });
}
