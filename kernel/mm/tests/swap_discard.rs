// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file asks for discards at swapon, and looks at what the disk is told.

mod world;

use base::{Order, PageRange};
use hal::BlockOp;
use hal::sim::{IoFault, SimConfig, explore};
use mm::SwapOn;
use world::folios::roomy;
use world::process::{Process, RW};
use world::{CPU0, SWAP, World};

const CLUSTER: u64 = 512;
/// Sectors of a cluster.
const SECTORS: u32 = 8 * CLUSTER as u32;

/// Returns a machine whose swap area, of eight clusters, is put into service as `how` says.
fn world_of(seed: u64, how: SwapOn) -> World {
    let world = World::new(SimConfig { disks: vec![u64::from(SECTORS) * 8], ..roomy(seed) });
    world.allow_order(Order::BLOCK.get());
    world.on(CPU0, || {
        world.system.swap_off(SWAP, || false).expect("nothing is on it");
        world.system.swap_on(SWAP, how).expect("the area is there as before");
    });
    world
}

fn discards_free() -> SwapOn {
    SwapOn { discards_free: true, ..SwapOn::default() }
}

/// Fills a cluster.
fn page_out_block(p: &mut Process) -> PageRange {
    let pages = p.new_folios(Order::BLOCK.get(), 1, RW);
    p.page_out(pages);
    pages
}

/// Lets the background thread do what it was woken for, once.
fn run_kswapd(world: &World) {
    let mut nr_asked = 0;
    world.on(CPU0, || {
        world.system.run_kswapd(|| {
            nr_asked += 1;
            nr_asked > 1
        });
    });
}

fn nr_discards(world: &World) -> u64 {
    world.machine.disk_counts(SWAP).discards
}

#[test]
fn a_cluster_is_discarded_when_its_last_slot_is_free() {
    explore(0..8, |seed| {
        let world = world_of(seed, discards_free());
        let free = world.footprint().swap_free;
        let mut p = world.process(CPU0);
        let pages = page_out_block(&mut p);
        let (half, rest) =
            (PageRange::of_len(pages.start, 256), PageRange::of_len(pages.start.add(256), 256));
        p.unmap(half);
        assert_eq!(nr_discards(&world), 0);
        p.unmap(rest);
        run_kswapd(&world);
        assert_eq!(nr_discards(&world), 1);
        assert_eq!(world.footprint().swap_free, free, "its slots can be used again");
        // Used again, and discarded again.
        let pages = page_out_block(&mut p);
        p.verify_all();
        p.unmap(pages);
        run_kswapd(&world);
        assert_eq!(nr_discards(&world), 2);
        world.audit();
    });
}

#[test]
fn a_cluster_in_use_again_is_left_alone() {
    explore(0..8, |seed| {
        let world = world_of(seed, discards_free());
        let mut p = world.process(CPU0);
        // All seven clusters that are wholly free, one after the other, while nobody discards.
        for _ in 0..7 {
            let pages = page_out_block(&mut p);
            p.unmap(pages);
        }
        let mut kept = Vec::new();
        for _ in 0..7 {
            kept.push(page_out_block(&mut p));
        }
        run_kswapd(&world);
        assert_eq!(nr_discards(&world), 0);
        p.verify_all();
        world.audit();
    });
}

#[test]
fn a_disk_that_refuses_is_not_asked_again() {
    explore(0..4, |seed| {
        let world = world_of(seed, discards_free());
        let free = world.footprint().swap_free;
        world.machine.fail_io(IoFault::any().of(BlockOp::Discard { nr_sectors: SECTORS }));
        let mut p = world.process(CPU0);
        let pages = page_out_block(&mut p);
        p.unmap(pages);
        run_kswapd(&world);
        assert_eq!(nr_discards(&world), 1);
        assert_eq!(world.footprint().swap_free, free);
        world.machine.clear_io_faults();
        let pages = page_out_block(&mut p);
        p.unmap(pages);
        assert_eq!(nr_discards(&world), 1);
    });
}

#[test]
fn swapoff_does_not_mind_stale_clusters() {
    explore(0..8, |seed| {
        let world = world_of(seed, discards_free());
        let mut p = world.process(CPU0);
        let pages = page_out_block(&mut p);
        p.unmap(pages);
        let left = page_out_block(&mut p);
        world.on(CPU0, || world.system.swap_off(SWAP, || false)).expect("there is room");
        run_kswapd(&world);
        assert_eq!(nr_discards(&world), 0);
        p.verify_all();
        p.unmap(left);
        world.audit();
    });
}

#[test]
fn the_whole_area_is_discarded_but_for_its_header() {
    explore(0..4, |seed| {
        let world = world_of(seed, SwapOn { discards_all: true, ..SwapOn::default() });
        assert_eq!(nr_discards(&world), 1);
        let mut signature = [0; 4096];
        world.machine.read_medium(SWAP, 0, &mut signature);
        assert_eq!(&signature[4086..], b"SWAPSPACE2");
        let mut p = world.process(CPU0);
        let pages = page_out_block(&mut p);
        p.verify_all();
        p.unmap(pages);
        assert_eq!(nr_discards(&world), 1, "nothing is discarded that becomes free");
    });
}
