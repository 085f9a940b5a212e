// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves level-3 tables whole, and looks whether reclaim, fork, faults, splits and munmap find
//! their pages there, and whatever is mapped meanwhile where they were.

mod world;

use std::sync::Arc;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, Bank, SimConfig};
use mm::{
    Advice, AreaFlags, MapRequest, MmEvent, Placement, Prot, RemapError, RemapRequest, Shmem,
};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, World, config};

const START: Vpn = Vpn::new(0x10_0000);
const AWAY: Vpn = Vpn::new(0x20_0000);
const FAR: Vpn = Vpn::new(0x900_0000);

/// Pages of a table.
const TABLE: u64 = 512;

/// A machine of 12 MiB, which has mapped folios of 2^`order` pages.
fn world(seed: u64, order: u8, adversary: Adversary) -> World {
    let first = SimConfig::default().banks[0].first;
    let banks = vec![Bank { first, nr_blocks: 6 }];
    let (hw_access_flag, hw_dirty) = (!seed.is_multiple_of(3), seed % 3 == 2);
    let world = World::new(SimConfig {
        banks,
        disks: vec![8 * 256 * 16],
        adversary,
        hw_access_flag,
        hw_dirty,
        judges_new_mappings: false,
        ..config(seed)
    });
    if order > 0 {
        world.allow_order(order);
    }
    world
}

fn tables(start: Vpn, nr: u64) -> PageRange {
    PageRange::of_len(start, nr * TABLE)
}

/// Stores to some pages of each table: first, last, and some in between.
fn fill(p: &mut Process, pages: PageRange, seed: u64) {
    for page in pages.pages().filter(|page| [0, 1, 2, 100, 511].contains(&(page.get() % TABLE))) {
        p.retag(page, 1, ((page.get() + seed) % 15 + 1) as u8);
        p.write(page, 0, page.get() + seed);
    }
}

fn with_tables(world: &World, nr: u64) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    p.check_tags(hal::TagCheckMode::Sync);
    let pages = p.map_at(Placement::Fixed(START), nr * TABLE, TAGGED);
    fill(&mut p, pages, 0);
    (p, pages)
}

/// Takes away every page, those that were used lately in the end.
fn reclaim(world: &World) {
    for _ in 0..4 {
        world.on(CPU1, || world.system.reclaim_pages(4000));
    }
    world.audit();
}

/// Runs `body` for some sizes of folios and kinds of machines, and sees that everything is given back.
fn cases(body: fn(&World)) {
    let kinds = [(0, Adversary::CALM), (0, Adversary::FULL), (4, Adversary::FULL)];
    for (seed, (order, adversary)) in (0..).zip(kinds) {
        let world = world(seed, order, adversary);
        let before = world.footprint();
        body(&world);
        world.audit();
        assert_eq!(world.footprint(), before, "everything is given back");
    }
}

#[test]
fn every_page_of_a_moved_table_is_found() {
    for order in [0, 4] {
        let world = world(0, order, Adversary::CALM);
        let (mut p, pages) = with_tables(&world, 3);
        p.remap(pages, Some(AWAY));
        reclaim(&world);
        let is_swapped = |page: &Vpn| p.is_swapped(*page);
        let found = tables(AWAY, 3).pages().filter(is_swapped).count();
        assert_eq!(found, if order == 0 { 3 * 5 } else { 3 * 3 * 16 }, "order {order}");
        p.verify_all();
    }
}

#[test]
fn pages_of_a_moved_table_are_reclaimed_and_come_back() {
    cases(|world| {
        let (mut p, pages) = with_tables(world, 3);
        let pages = p.remap(pages, Some(AWAY));
        world.audit();
        p.verify_all();
        reclaim(world);
        p.verify_all();
        fill(&mut p, pages, 7);
        // Nobody knows how to get back: the list of moved tables has gone with the way.
        let pages = p.remap(pages, Some(START));
        world.audit();
        p.verify_all();
        p.advise(pages, Advice::PageOut);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn what_is_mapped_where_a_table_was_has_the_same_names() {
    cases(|world| {
        let (mut p, pages) = with_tables(world, 2);
        p.remap(pages, Some(AWAY));
        let pages = p.map_at(Placement::Fixed(START), 2 * TABLE, TAGGED);
        fill(&mut p, pages, 1);
        reclaim(world);
        p.verify_all();
        // Three tables for each name.
        p.remap(pages, Some(FAR));
        let pages = p.map_at(Placement::Fixed(START), 2 * TABLE, TAGGED);
        fill(&mut p, pages, 2);
        p.verify_all();
        reclaim(world);
        p.verify_all();
        p.unmap(tables(AWAY, 1));
        world.audit();
        p.unmap(tables(FAR.add(TABLE), 1));
        reclaim(world);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn a_moved_table_is_forked_protected_discarded_and_faulted_in() {
    cases(|world| {
        let (mut p, pages) = with_tables(world, 2);
        let pages = p.remap(pages, Some(AWAY));
        let mut child = p.fork(CPU1);
        child.check_tags(hal::TagCheckMode::Sync);
        world.audit();
        fill(&mut p, pages, 3);
        child.verify_all();
        reclaim(world);
        child.verify_all();
        // The child's tables have not moved, and now one does.
        child.remap(tables(AWAY, 1), Some(START));
        world.audit();
        reclaim(world);
        fill(&mut child, tables(START, 1), 4);
        p.verify_all();
        p.protect(PageRange::of_len(AWAY.add(90), 20), Prot::READ, false);
        p.advise(PageRange::of_len(AWAY.add(500), 20), Advice::DontNeed);
        p.unmap(PageRange::of_len(AWAY.add(1), 1));
        world.audit();
        p.write(AWAY.add(300), 0, 5);
        p.write(AWAY.add(511), 0, 6);
        reclaim(world);
        p.verify_all();
        child.verify_all();
        p.exit();
        child.exit();
    });
}

#[test]
fn pages_go_one_by_one_where_a_table_is_in_the_way() {
    cases(|world| {
        let (mut p, pages) = with_tables(world, 2);
        let pages = p.remap(pages, Some(AWAY));
        // A page beside the place where the tables were keeps its table, and gives it the old names.
        let other = p.map_at(Placement::Fixed(START.sub(1)), 2, TAGGED);
        p.write(other.start, 0, 8);
        p.write(START, 0, 9);
        let kept = p.map_at(Placement::Fixed(START.add(TABLE)), 1, TAGGED);
        p.write(kept.start, 0, 10);
        p.unmap(PageRange::of_len(START, 1));
        world.audit();
        p.unmap(kept);
        p.remap(PageRange::of_len(pages.start, TABLE), Some(START));
        world.audit();
        reclaim(world);
        p.verify_all();
        // To a place that no table can have.
        p.remap(tables(START, 1), Some(FAR.add(3)));
        world.audit();
        reclaim(world);
        p.verify_all();
        p.exit();
    });
}

/// A page of an object is mapped in each of more tables than may be away from one place.
#[test]
fn not_too_many_tables_are_away_from_one_place() {
    let world = world(0, 0, Adversary::CALM);
    let before = world.footprint();
    let object = world.on(CPU0, || Shmem::new(&world.system, 4096, None)).expect("an object");
    let mut p = world.process(CPU0);
    for n in 1..=70 {
        let to = START.add(n * TABLE);
        let pages = p.map_at(Placement::Fixed(START), TABLE, RW);
        p.write(START.add(9), 0, n);
        p.remap(pages, Some(to));
        p.unmap(PageRange::of_len(to.add(3), 1));
        let flags = RW | AreaFlags::SHARED;
        let place = Placement::Fixed(to.add(3));
        let request = MapRequest::shmem(place, 1, flags, Arc::clone(&object), 0);
        p.call(|mm| mm.map(request)).expect("room");
        p.store(to.add(3).base(), n).expect("a page of the object");
    }
    world.audit();
    reclaim(&world);
    for n in 1..=70 {
        let to = START.add(n * TABLE);
        assert_eq!(p.load(to.add(3).base()), Ok(70));
        p.verify(to.add(9));
    }
    world.audit();
    world.on(CPU0, || object.truncate(0)).expect("truncate");
    world.audit();
    p.exit();
    world.on(CPU0, || drop(object));
    assert_eq!(world.footprint(), before);
}

#[test]
fn whichever_allocation_fails_the_mapping_moves_or_stays() {
    for n in 1.. {
        let world = world(1, 0, Adversary::CALM);
        let (mut p, pages) = with_tables(&world, 3);
        // Parts of two level-2 tables: one is missing at least.
        let to = Vpn::new(0x4_0000 * 3 - TABLE);
        let request = RemapRequest {
            old: pages,
            new_nr_pages: pages.nr_pages(),
            may_move: true,
            fixed: Some(to),
        };
        world.machine.fail_nth_alloc(n);
        let result = p.call(|mm| mm.remap(request));
        world.machine.fail_allocs(0);
        world.audit();
        match result {
            Ok(_) => {
                assert!(n > 2, "tables were missing");
                return;
            }
            Err(why) => assert_eq!(why, RemapError::NoRoom),
        }
        p.verify_all();
        reclaim(&world);
        p.verify_all();
        p.remap(pages, Some(to));
        p.verify_all();
        p.exit();
        world.audit();
    }
}

#[test]
fn tables_that_move_together_cost_one_invalidation() {
    let invalidations = |nr_tables| {
        let world = world(1, 0, Adversary::CALM);
        world.system.set_tlb_policy(mm::TlbPolicy::Batch);
        let (mut p, pages) = with_tables(&world, nr_tables + 1);
        let counts = || {
            [MmEvent::TlbiPage, MmEvent::TlbiRange, MmEvent::TlbDsb].map(|event| world.count(event))
        };
        let before = counts();
        // What stays behind keeps its level-2 table, and what comes finds one.
        let there = p.map_at(Placement::Fixed(AWAY.sub(1)), 1, TAGGED);
        p.write(there.start, 0, 1);
        p.remap(PageRange::of_len(pages.start, nr_tables * TABLE), Some(AWAY));
        let after = counts();
        p.verify_all();
        [0, 1, 2].map(|n| after[n] - before[n])
    };
    let one = invalidations(1);
    assert_eq!(invalidations(16), one, "16 tables");
    assert_eq!(one, [0, 1, 1]);
}

#[test]
fn a_moved_table_becomes_a_block() {
    let world = world(2, 0, Adversary::CALM);
    let before = world.footprint();
    let (mut p, pages) = with_tables(&world, 1);
    p.remap(pages, Some(AWAY));
    world.allow_order(9);
    p.call(|mm| mm.collapse(tables(AWAY, 1))).expect("a block");
    world.audit();
    p.verify_all();
    p.remap(tables(AWAY, 1), Some(START));
    world.audit();
    p.verify_all();
    p.exit();
    world.audit();
    assert_eq!(world.footprint(), before);
}
