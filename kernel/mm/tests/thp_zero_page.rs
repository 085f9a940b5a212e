// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the 2 MiB of zeroes that loads map as one block, with all that can be done to a
//! mapping.

mod world;

use base::{PageRange, Vpn};
use mm::{Advice, AreaFlags, MmEvent, PageView, Prot, ThpStat};
use world::folios::{Body, for_orders, one};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, SWAP, World};

const BLOCK: u64 = 512;

/// Runs `body` on machines where memory may have blocks, and checks all counts afterwards.
fn on_machines(body: impl Body) {
    for_orders(&[9], body);
}

/// Maps so many blocks and loads a word of each.
fn zeroes(p: &mut Process, nr: u64, flags: AreaFlags) -> PageRange {
    let pages = p.map_folios(9, nr, flags);
    (0..nr).for_each(|n| assert_eq!(p.load(pages.start.add(n * BLOCK + 77).base()), Ok(0)));
    pages
}

/// Runs `body` with a process that has loaded from two tagged blocks, and checks that it has what it
/// should have.
fn with_zeroes(body: impl Fn(&World, &mut Process, PageRange) + Copy + Send + Sync + 'static) {
    on_machines(move |world, _| {
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 2, TAGGED);
        world.audit();
        body(world, &mut p, pages);
        world.audit();
        p.verify_all();
        world.assert_no_stale(p.mm.id());
        p.exit();
        world.audit();
    });
}

/// Returns the first frames of the blocks that map `pages`.
fn heads(p: &Process, pages: PageRange) -> Vec<base::Pfn> {
    let frame = |view: &PageView| match view {
        PageView::Present { pfn, .. } => *pfn,
        other => panic!("{other:?}"),
    };
    let frames: Vec<_> = p.views(pages).iter().map(frame).collect();
    let is_whole =
        |block: &[base::Pfn]| (1..).zip(&block[1..]).all(|(n, pfn)| *pfn == block[0].add(n));
    assert!(frames.chunks(BLOCK as usize).all(is_whole), "adjacent frames");
    frames.into_iter().step_by(BLOCK as usize).collect()
}

/// Tells whether all pages are the small zero page.
fn is_small(p: &Process, pages: PageRange) -> bool {
    let views = p.views(pages);
    matches!(views[0], PageView::Present { .. }) && views.iter().all(|view| *view == views[0])
}

/// Returns (anonymous pages, those of them that blocks map).
fn resident(p: &Process) -> (u64, u64) {
    let stats = p.call(|mm| mm.stats());
    (stats.anon, stats.block_mapped)
}

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

#[test]
fn they_are_unmapped_as_a_whole_or_in_part() {
    with_zeroes(|world, p, pages| {
        p.unmap(PageRange::of_len(pages.start, BLOCK));
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        world.audit();
        let part = PageRange::of_len(pages.start.add(BLOCK + 10), 20);
        p.unmap(part);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
        assert_eq!(p.nr_present(PageRange::new(pages.start, pages.end)), 492);
        assert!(is_small(p, PageRange::new(part.end, pages.end)));
    });
}

#[test]
fn discarded_zeroes_are_mapped_again() {
    with_zeroes(|world, p, pages| {
        p.advise(pages, Advice::DontNeed);
        assert_eq!(p.nr_present(pages), 0);
        world.audit();
        assert_eq!(p.load(pages.start.base()), Ok(0));
        assert_eq!(p.nr_present(pages), 512);
        p.advise(one(pages.start), Advice::DontNeed);
        assert_eq!(p.nr_present(pages), 511);
        assert_eq!(world.count(MmEvent::ThpZeroPageAlloc), 1);
    });
}

#[test]
fn advice_about_their_use_leaves_them_whole() {
    with_zeroes(|world, p, pages| {
        let first = heads(p, pages);
        for part in [pages, PageRange::of_len(pages.start.add(3), 5)] {
            for advice in [Advice::Free, Advice::Cold, Advice::PageOut] {
                p.advise(part, advice);
            }
        }
        assert_eq!(heads(p, pages), first);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
    });
}

#[test]
fn rights_change_of_the_whole_or_a_part() {
    with_zeroes(|world, p, pages| {
        let block = PageRange::of_len(pages.start, BLOCK);
        for prot in [Prot::empty(), Prot::READ, Prot::READ | Prot::WRITE] {
            p.protect(block, prot, false);
            world.audit();
            assert_eq!(p.load(block.start.base()).is_ok(), !prot.is_empty());
        }
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        p.write(block.start, 0, 3);
        assert_eq!(resident(p), (512, 512), "the right to write alone gives no page");
        p.protect(one(pages.start.add(BLOCK + 5)), Prot::READ, false);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
        assert!(is_small(p, PageRange::of_len(pages.start.add(BLOCK), BLOCK)));
        p.write(pages.start.add(BLOCK + 4), 0, 4);
        assert_eq!(resident(p), (513, 512));
    });
}

#[test]
fn memory_that_becomes_tagged_keeps_them() {
    on_machines(|world, _| {
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 2, RW);
        let block = PageRange::of_len(pages.start, BLOCK);
        p.protect(block, Prot::READ | Prot::WRITE, true);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 0);
        world.audit();
        p.assert_all_zero(block.start.add(9));
        p.protect(one(block.end), Prot::READ | Prot::WRITE, true);
        assert_eq!(world.count(MmEvent::ThpSplitPmd), 1);
        world.audit();
        p.assert_all_zero(block.end);
        assert_eq!(resident(&p), (0, 0));
        p.retag(block.start.add(9), 1, 6);
        p.retag(block.end, 1, 7);
        assert_eq!(resident(&p), (513, 512));
        p.verify_all();
        p.exit();
    });
}

#[test]
fn they_are_moved_as_pages() {
    world::folios::for_orders_of(moving, &[9], |world, _| {
        let mut p = world.tagged_process();
        let pages = zeroes(&mut p, 1, TAGGED);
        let to = p.remap(pages, Some(Vpn::new(0x20_0003)));
        assert_eq!(p.nr_present(to), 512);
        assert!(is_small(&p, to));
        world.audit();
        p.write(to.start, 0, 5);
        p.verify_all();
        p.exit();
    });
}

/// mremap stores a moved entry before the invalidation of its old place is complete.
fn moving(_: u8, seed: u64) -> hal::sim::SimConfig {
    hal::sim::SimConfig { judges_new_mappings: false, ..world::folios::roomy(seed) }
}

#[test]
fn the_kernel_reads_them_and_swapoff_passes_them_by() {
    with_zeroes(|world, p, pages| {
        let mut bytes = [1; 8];
        let at = pages.start.add(7).base();
        p.call(|mm| mm.read_remote(at, &mut bytes)).unwrap();
        assert_eq!(bytes, [0; 8]);
        world.on(CPU0, || world.system.swap_off(SWAP, || false)).unwrap();
        world.swap_on_again();
        assert_eq!(resident(p), (0, 0));
        p.call(|mm| mm.write_remote(at, &[7; 8])).unwrap();
        assert_eq!(resident(p), (512, 512));
        assert_eq!(p.load(at), Ok(u64::from_le_bytes([7; 8])));
        // The oracle does not know of what the kernel wrote.
        p.call(|mm| mm.write_remote(at, &[0; 8])).unwrap();
    });
}
