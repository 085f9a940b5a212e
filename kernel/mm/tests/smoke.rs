// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows one page through its life: fault, store, fork, swap, unmap.

mod world;

use mm::{Advice, MmEvent};
use world::process::{RW, TAGGED};
use world::{CPU0, CPU1, World, config};

#[test]
fn a_page_keeps_its_bytes_and_tags_through_swap() {
    hal::sim::explore(0..20, |seed| {
        let world = World::new(config(seed));
        let before = world.footprint();
        let mut p = world.process(CPU0);
        p.check_tags(hal::TagCheckMode::Sync);
        let pages = p.map(4, TAGGED);
        p.write(pages.start, 0, 0x1234);
        p.retag(pages.start, 0, 7);
        p.write(pages.start, 1, 0x5678);
        p.verify_all();
        p.advise(pages, Advice::PageOut);
        assert!(p.is_swapped(pages.start));
        world.audit();
        p.verify_all();
        assert_eq!(world.count(MmEvent::MteTagsSaved), 1);
        assert_eq!(world.count(MmEvent::MteTagsRestored), 1);
        world.audit();
        p.exit();
        world.audit();
        assert_eq!(world.footprint(), before);
    });
}

#[test]
fn fork_shares_until_a_store() {
    hal::sim::explore(0..20, |seed| {
        let world = World::new(config(seed));
        let mut p = world.process(CPU0);
        let pages = p.map(3, RW);
        p.write(pages.start, 2, 1);
        let mut c = p.fork(CPU1);
        world.audit();
        c.write(pages.start, 2, 2);
        c.write(pages.start.add(1), 0, 3);
        p.write(pages.start, 1, 4);
        p.verify_all();
        c.verify_all();
        world.audit();
        p.exit();
        c.write(pages.start, 0, 9);
        c.verify_all();
        world.audit();
        c.exit();
        world.audit();
    });
}

#[test]
fn a_new_address_space_does_not_walk_the_past_of_its_root_table() {
    hal::sim::explore(0..20, |seed| {
        // Walks read what a store without a barrier replaced, whenever they may.
        let adversary = hal::sim::Adversary { late_store: 1, ..hal::sim::Adversary::CALM };
        let world = World::new(hal::sim::SimConfig { adversary, ..config(seed) });
        for _ in 0..4 {
            let mut p = world.process(CPU0);
            let pages = p.map(2, RW);
            // Zeroes, and nothing of the process before.
            p.verify_all();
            p.write(pages.start, 0, 1);
            p.verify_all();
            p.exit();
        }
        world.audit();
    });
}

#[test]
fn code_written_by_the_kernel_is_synchronised_before_it_can_be_fetched() {
    use mm::{AreaFlags, MapRequest, Placement, Prot, Shmem};
    use std::sync::Arc;
    hal::sim::explore(0..4, |seed| {
        let world = World::new(config(seed));
        let object = world.on(CPU0, || Shmem::new(&world.system, 8192, None)).unwrap();
        let write = |index, value: u64| {
            let write = |pfn: base::Pfn| {
                hal::PhysMem::write_bytes(&world.machine, pfn.at(0), &value.to_le_bytes());
            };
            world.on(CPU0, || object.write_page(index, write)).unwrap();
        };
        write(0, 1);
        write(1, 2);
        let p = world.process(CPU0);
        let rx = AreaFlags::READ | AreaFlags::EXEC;
        let request = MapRequest::shmem(Placement::Hint(None), 2, rx, Arc::clone(&object), 0);
        let start = p.call(|mm| mm.map(request)).unwrap();
        // Mapped by a load first; the fetch then finds the entry and takes no fault.
        let at = start.base();
        assert_eq!(p.load(at), Ok(1));
        assert_eq!(p.access(|machine| machine.fetch(p.cpu, at)), Ok(1));
        // Made executable after it was mapped, and copied by a store to a private mapping.
        let second = base::PageRange::of_len(start.add(1), 1);
        p.call(|mm| mm.protect(second, Prot::READ | Prot::WRITE, false)).unwrap();
        p.store(second.start.base().wrapping_add(8), 5).unwrap();
        p.call(|mm| mm.protect(second, Prot::READ | Prot::EXEC, false)).unwrap();
        assert_eq!(p.access(|machine| machine.fetch(p.cpu, second.start.base())), Ok(2));
        // Out and in again: the frame is another.
        p.call(|mm| mm.advise(second, Advice::PageOut)).unwrap();
        assert_eq!(p.load(second.start.base()), Ok(2));
        assert_eq!(p.access(|machine| machine.fetch(p.cpu, second.start.base())), Ok(2));
        p.exit();
        world.on(CPU0, || drop(object));
    });
}

#[test]
fn memory_full_of_pages_that_cannot_go_is_out_of_memory() {
    use mm::FaultError;
    use world::process::AccessError;

    hal::sim::explore(0..3, |seed| {
        // No disk: what is in memory stays there.
        let world = World::new(hal::sim::SimConfig { disks: vec![], ..config(seed) });
        let mut p = world.process(CPU0);
        let pages = p.map(600, RW);
        let fits = pages.pages().take_while(|page| match p.store(page.base(), page.get()) {
            Ok(()) => true,
            Err(why) => {
                assert_eq!(why, AccessError::Fault(FaultError::OutOfMemory));
                false
            }
        });
        let nr = fits.count() as u64;
        assert!(nr > 256 && nr < 512, "{nr} of 512 frames");
        for page in pages.pages().take(nr as usize) {
            assert_eq!(p.load(page.base()), Ok(page.get()));
        }
        world.audit();
        p.exit();
        world.audit();
    });
}

#[test]
fn pages_that_may_only_be_written_take_a_store_after_fork() {
    use mm::Prot;
    hal::sim::explore(0..4, |seed| {
        let world = World::new(config(seed));
        let mut p = world.process(CPU0);
        let pages = p.map(2, RW);
        p.write(pages.start, 0, 1);
        // The first page is read-only since the child shared it: its next store has yet to fault, and
        // must find an entry that can be made writable.
        p.fork(CPU0).exit();
        p.protect(pages, Prot::WRITE, false);
        p.write(pages.start, 0, 2);
        p.write(pages.start.add(1), 0, 3);
        p.verify_all();
        p.exit();
        world.audit();
    });
}

#[test]
fn many_pages_that_cannot_go_do_not_keep_active_ones_from_going() {
    use hal::sim::{Adversary, SimConfig};
    use std::sync::Arc;

    // 512 frames.
    let world = World::new(SimConfig { adversary: Adversary::CALM, ..config(0) });
    // Two processes have used these: the first look at them makes them active.
    let mut user = world.process(CPU0);
    let used = user.map(100, RW);
    used.pages().for_each(|page| user.write(page, 0, 1));
    let mut child = user.fork(CPU0);
    child.verify_all();
    // These are somebody's to hold as soon as they are there.
    let mut holder = world.process(CPU0);
    let held = holder.map(440, RW);
    let mm = Arc::clone(&holder.mm);
    let mut holds = Vec::new();
    for page in held.pages() {
        holder.write(page, 0, 1);
        holds.push(holder.call(|_| mm.hold_folio_of(page)).expect("a mapped page"));
    }
    assert!(user.mm.stats().swap > 50, "active pages went");
    holder.call(|_| drop(holds));
    for mut p in [holder, user, child] {
        p.verify_all();
        p.exit();
    }
    world.audit();
}
