// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the 2 MiB of zeroes that loads map as one block: who gets them, who stores to
//! them, and when they go.

mod world;

use base::PageRange;
use mm::{Advice, AreaFlags, MmEvent, Prot, ThpStat};
use world::process::{RW, TAGGED};
use world::zeroes::{BLOCK, heads, is_small, on_machines, resident, with_zeroes, zeroes};
use world::{CPU0, CPU1};

#[test]
fn loads_of_all_processes_map_the_same_zeroes() {
    with_zeroes(|world, p, pages| {
        let first = heads(p, pages);
        assert_eq!(first[0], first[1]);
        let mut other = world.tagged_process();
        let theirs = zeroes(&mut other, 1, RW);
        assert_eq!(heads(&other, theirs)[0], first[0], "tagged or not");
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 1);
        assert_eq!(world.count(MmEvent::ThpFaultAlloc), 0);
        world.audit();
        other.verify_all();
        other.exit();
    });
}

#[test]
fn zeroes_are_not_resident() {
    with_zeroes(|_, p, pages| {
        assert_eq!(resident(p), (0, 0));
        assert_eq!(p.call(|mm| mm.resident_view(pages)), Default::default());
        assert_eq!(p.nr_present(pages), 1024, "but mincore and pagemap see them");
        assert!(!p.is_exclusive(pages.start));
    });
}

#[test]
fn a_store_gets_a_folio_in_their_place() {
    with_zeroes(|world, p, pages| {
        p.write(pages.start.add(3), 0, 9);
        assert_eq!(resident(p), (512, 512));
        assert_eq!(world.count(MmEvent::ThpFaultAlloc), 1);
        p.retag(pages.end.sub(1), 2, 5);
        assert_eq!(resident(p), (1024, 1024));
        assert_eq!(world.stat(ThpStat::NrAnon, 9), 2);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        assert_eq!(world.count(MmEvent::CowCopy), 0, "there was nothing to copy");
    });
}

#[test]
fn a_store_without_frames_for_a_folio_gets_a_page() {
    with_zeroes(|world, p, pages| {
        world.machine.fail_nth_alloc(1);
        p.write(pages.start.add(3), 0, 9);
        assert_eq!(resident(p), (1, 0));
        assert!(is_small(p, PageRange::of_len(pages.start.add(4), 508)));
        assert_eq!(world.count(MmEvent::ThpFaultFallback), 1);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
    });
}

#[test]
fn a_store_beside_the_area_it_was_mapped_for_gets_a_page() {
    with_zeroes(|world, p, pages| {
        let part = PageRange::of_len(pages.start, 100);
        p.advise(part, Advice::Huge(false));
        p.write(part.start, 0, 9);
        assert_eq!(resident(p), (1, 0));
        assert_eq!(world.count(MmEvent::ThpFaultFallback), 0, "none was asked for");
    });
}

#[test]
fn a_load_gets_a_folio_where_it_may_not_have_zeroes() {
    on_machines(|world, _| {
        world.system.thp().settings().set_use_zero_page(false);
        let mut p = world.tagged_process();
        let writable = zeroes(&mut p, 1, TAGGED);
        let read_only = zeroes(&mut p, 1, AreaFlags::READ);
        assert_eq!(resident(&p), (1024, 1024));
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 0);
        world.audit();
        assert!(p.store(read_only.start.base(), 1).is_err());
        p.write(writable.start, 0, 1);
        p.protect(read_only, Prot::READ | Prot::WRITE, false);
        p.write(read_only.start, 0, 2);
        assert_eq!(world.stat(ThpStat::AnonFaultAlloc, 9), 2);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn without_frames_for_them_a_load_maps_the_small_zero_page() {
    on_machines(|world, _| {
        let mut p = world.tagged_process();
        let pages = p.map_folios(9, 2, RW);
        // All tables but the one to be set aside are there then.
        p.write(pages.start, 0, 1);
        world.machine.fail_nth_alloc(2);
        let page = pages.start.add(BLOCK + 1);
        assert_eq!(p.load(page.base()), Ok(0));
        assert_eq!(p.nr_present(PageRange::of_len(page.sub(1), BLOCK)), 1);
        assert_eq!(world.count(MmEvent::ThpZeroPageAllocFailed), 1);
        assert_eq!(world.count(MmEvent::ThpFaultFallback), 1);
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 0);
        world.audit();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn fork_shares_them_and_each_side_stores_for_itself() {
    with_zeroes(|world, p, pages| {
        let mut child = p.fork(CPU1);
        child.check_tags(hal::TagCheckMode::Sync);
        assert_eq!(heads(&child, pages), heads(p, pages));
        assert_eq!((resident(&child), resident(p)), ((0, 0), (0, 0)));
        world.audit();
        child.write(pages.start, 0, 7);
        p.write(pages.start.add(BLOCK), 0, 8);
        world.audit();
        p.verify_all();
        child.verify_all();
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 1);
        child.exit();
    });
}

#[test]
fn a_child_keeps_them_when_its_parent_ends() {
    on_machines(|world, _| {
        let mut p = world.tagged_process();
        zeroes(&mut p, 1, TAGGED);
        let mut child = p.fork(CPU1);
        p.exit();
        assert_eq!(world.on(CPU0, || world.system.shrink_huge_zero_page()), 0);
        world.audit();
        child.check_tags(hal::TagCheckMode::Sync);
        child.verify_all();
        child.exit();
    });
}

#[test]
fn reclaim_frees_them_when_nobody_uses_them() {
    on_machines(|world, _| {
        let free = world.footprint().free;
        let now = || world.on(CPU0, || world.system.meminfo().free);
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 1, TAGGED);
        p.unmap(pages);
        world.on(CPU0, || world.system.reclaim_pages(1));
        assert!(now() + BLOCK <= free, "an address space is a user until its end");
        p.exit();
        assert_eq!(now() + BLOCK, free, "kept for the next load");
        world.audit();
        assert_eq!(world.on(CPU0, || world.system.reclaim_pages(1)), BLOCK);
        assert_eq!(now(), free);
        let mut p = world.tagged_process();
        zeroes(&mut p, 1, TAGGED);
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 2, "made again");
        p.exit();
    });
}
