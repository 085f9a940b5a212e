// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes every single allocation of a scenario fail once: nothing is lost, nothing leaks,
//! and the same again succeeds.

mod world;

use base::PageRange;
use hal::TagCheckMode;
use hal::sim::{Adversary, SimConfig};
use mm::{Advice, FaultError, Mm, Shmem};
use std::sync::Arc;
use world::process::{AccessError, Process, RW, TAGGED};
use world::{CPU0, CPU1, World, config};

/// Runs `act` after `prepare`, once for each allocation it makes, with that one failing. `act` says
/// whether it went through; either way all counts must add up and the oracle must agree.
fn fail_each_allocation(prepare: impl Fn(&World) -> Process, act: impl Fn(&mut Process) -> bool) {
    let mut n = 1;
    let mut failed = 0;
    loop {
        // mremap stores a moved entry before its old place is invalidated, both tables locked.
        let calm =
            SimConfig { adversary: Adversary::CALM, judges_new_mappings: false, ..config(n) };
        let world = World::new(calm);
        let before = world.footprint();
        let mut p = prepare(&world);
        let asked = world.machine.asked_allocs();
        world.machine.fail_nth_alloc(n);
        failed += !act(&mut p) as u32;
        let is_past_the_last = world.machine.asked_allocs() < asked + n;
        world.machine.fail_allocs(0);
        world.audit();
        p.verify_all();
        assert!(act(&mut p), "allocation {n} failed before, and none fails now");
        p.verify_all();
        world.audit();
        p.exit();
        world.audit();
        assert_eq!(world.footprint(), before, "allocation {n}");
        if is_past_the_last {
            break;
        }
        n += 1;
    }
    assert!(failed > 0, "no allocation of the scenario could fail");
    assert!(n > 1, "the scenario allocates nothing");
}

fn with_pages(world: &World, swapped: bool) -> Process {
    let mut p = world.process(CPU0);
    p.check_tags(TagCheckMode::Sync);
    let pages = p.map(6, TAGGED);
    for page in pages.pages() {
        p.write(page, 0, page.get());
        p.retag(page, 2, 6);
    }
    if swapped {
        p.advise(pages, Advice::PageOut);
    }
    p
}

fn first_pages(p: &Process, nr: u64) -> PageRange {
    PageRange::of_len(p.oracle.mapped()[0], nr)
}

const OUT_OF_MEMORY: AccessError = AccessError::Fault(FaultError::OutOfMemory);

#[test]
fn first_touch() {
    fail_each_allocation(
        |world| {
            let mut p = world.process(CPU0);
            p.map(1, RW);
            p
        },
        |p| {
            let page = first_pages(p, 1).start;
            match p.store(page.base(), 0) {
                Ok(()) => true,
                Err(why) => {
                    assert_eq!(why, OUT_OF_MEMORY);
                    false
                }
            }
        },
    );
}

#[test]
fn fork() {
    for swapped in [false, true] {
        fail_each_allocation(
            |world| with_pages(world, swapped),
            |p| match p.call(|mm: &Arc<Mm<_>>| mm.fork()) {
                Ok(mm) => {
                    // What the child does then is not what fails here.
                    p.world.machine.fail_allocs(0);
                    let world = p.world.clone();
                    let mut child = Process { world, mm, cpu: CPU1, oracle: p.oracle.fork() };
                    child.check_tags(TagCheckMode::Sync);
                    child.verify_all();
                    child.exit();
                    true
                }
                Err(mm::OutOfMemory) => false,
            },
        );
    }
}

#[test]
fn copy_on_write() {
    fail_each_allocation(
        |world| with_pages(world, false),
        |p| {
            let Ok(mm) = p.call(|mm: &Arc<Mm<_>>| mm.fork()) else { return false };
            let world = p.world.clone();
            let child = Process { world, mm, cpu: CPU1, oracle: p.oracle.fork() };
            let page = first_pages(p, 1).start;
            let at = page.base().wrapping_add(8);
            let stored = p.store(at, 0);
            child.exit();
            stored.map_err(|why| assert_eq!(why, OUT_OF_MEMORY)).is_ok()
        },
    );
}

#[test]
fn swap_out() {
    // A failure here is no error to anybody: the page stays.
    let count_failed = std::cell::Cell::new(0);
    fail_each_allocation(
        |world| with_pages(world, false),
        |p| {
            let pages = first_pages(p, 6);
            p.advise(pages, Advice::PageOut);
            let all_out = pages.pages().all(|page| p.is_swapped(page));
            count_failed.set(count_failed.get() + !all_out as u32);
            all_out
        },
    );
    assert!(count_failed.get() > 0);
}

#[test]
fn swap_in() {
    fail_each_allocation(
        |world| with_pages(world, true),
        |p| {
            let page = first_pages(p, 1).start;
            let loaded = p.load_tag(page.base());
            loaded.map_err(|why| assert_eq!(why, OUT_OF_MEMORY)).is_ok()
        },
    );
}

#[test]
fn mremap_to_another_table() {
    fail_each_allocation(
        |world| with_pages(world, false),
        |p| {
            let old = first_pages(p, 6);
            // 2 MiB further down: other table pages.
            let to = old.start.sub(1024);
            let request =
                mm::RemapRequest { old, new_nr_pages: 6, may_move: true, fixed: Some(to) };
            match p.call(|mm| mm.remap(request)) {
                Ok(start) => {
                    let moved: Vec<_> =
                        old.pages().map(|page| p.oracle.pages.remove(&page).unwrap()).collect();
                    for (n, page) in moved.into_iter().enumerate() {
                        p.oracle.pages.insert(start.add(n as u64), page);
                    }
                    true
                }
                Err(why) => {
                    assert_eq!(why, mm::RemapError::NoRoom);
                    false
                }
            }
        },
    );
}

#[test]
fn pages_of_an_object() {
    fail_each_allocation(
        |world| {
            let object = world.on(CPU0, || Shmem::new(&world.system, 4 * 4096, None)).unwrap();
            let mut p = world.process(CPU0);
            p.map_object(&object, &Default::default(), RW);
            p
        },
        |p| {
            let page = first_pages(p, 1).start;
            let stored = p.store(page.base(), 0);
            stored.map_err(|why| assert_eq!(why, OUT_OF_MEMORY)).is_ok()
        },
    );
}
