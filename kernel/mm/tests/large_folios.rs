// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes folios of several orders through everything that can happen to a mapping.

mod world;

use base::{Order, PageRange, Vpn};
use hal::sim::{Adversary, Bank, IoFault, SimConfig, explore};
use hal::{BlockOp, TagCheckMode};
use mm::{Advice, FaultError, MmEvent, PageView, Placement, Prot, ThpStat};
use world::process::{AccessError, Process, RW, TAGGED};
use world::{CPU0, CPU1, World, config};

const ORDERS: [u8; 4] = [2, 4, 5, 9];

/// A machine with room for some folios of 2 MiB, which gives tagged and other memory folios of one
/// order.
fn world(seed: u64, order: u8, adversary: Adversary) -> World {
    let first = SimConfig::default().banks[0].first;
    let banks = vec![Bank { first, nr_blocks: 6 }];
    let disks = vec![8 * 256 * 16];
    // mremap stores a moved entry before the invalidation of its old place is complete. Where the
    // judge minds that, nothing is moved.
    let judges_new_mappings = seed.is_multiple_of(2);
    let config = SimConfig { banks, disks, adversary, judges_new_mappings, ..config(seed) };
    let world = World::new(config);
    world.allow_order(order);
    world
}

fn nr_pages(order: u8) -> u64 {
    Order::new(order).nr_pages().into()
}

/// Maps two folios' worth of pages where folios fit, and stores to each page.
fn two_folios(p: &mut Process, order: u8) -> PageRange {
    let nr = nr_pages(order);
    let start = Vpn::new(0x10_0000).align_down(512);
    let pages = p.map_at(Placement::Fixed(start), 2 * nr, TAGGED);
    fill(p, pages);
    pages
}

/// Stores to each page a value and a tag of its own.
fn fill(p: &mut Process, pages: PageRange) {
    for page in pages.pages() {
        p.retag(page, 1, (page.get() % 15 + 1) as u8);
        p.write(page, 0, page.get());
    }
}

fn stat(world: &World, stat: ThpStat, order: u8) -> u64 {
    world.system.thp().stats().total(stat, Order::new(order))
}

/// Runs `test` for all orders and some seeds, checks all bytes, tags and counts afterwards, and that
/// everything comes back.
fn for_orders(test: fn(&World, &mut Process, PageRange, u8)) {
    for_orders_on(Adversary::FULL, test);
}

fn for_orders_on(adversary: Adversary, test: fn(&World, &mut Process, PageRange, u8)) {
    for order in ORDERS {
        explore(0..4, move |seed| {
            let world = world(seed, order, adversary);
            let before = world.footprint();
            let mut p = world.process(CPU0);
            p.check_tags(TagCheckMode::Sync);
            let pages = two_folios(&mut p, order);
            assert_eq!(stat(&world, ThpStat::AnonFaultAlloc, order), 2, "order {order}");
            world.audit();
            test(&world, &mut p, pages, order);
            world.audit();
            p.verify_all();
            world.assert_no_stale(&p.mm);
            p.exit();
            world.audit();
            assert_eq!(world.footprint(), before, "everything is given back");
        });
    }
}

#[test]
fn fork_shares_and_each_side_copies_the_pages_it_stores_to() {
    for_orders(|world, p, pages, _| {
        let mut child = p.fork(CPU1);
        child.check_tags(TagCheckMode::Sync);
        world.audit();
        child.verify_all();
        child.write(pages.start.add(1), 0, 7);
        p.write(pages.end.sub(1), 0, 8);
        p.retag(pages.start.add(2), 1, 3);
        world.audit();
        child.verify_all();
        p.verify_all();
        assert_eq!(world.count(MmEvent::CowCopy), 3);
        child.exit();
    });
}

#[test]
fn the_survivor_of_a_fork_stores_without_copying() {
    for_orders(|world, p, pages, _| {
        p.fork(CPU1).exit();
        fill(p, pages);
        assert_eq!(world.count(MmEvent::CowCopy), 0);
    });
}

#[test]
fn a_whole_folio_goes_out_and_comes_back_with_one_request_each_or_a_neighbour_s() {
    for_orders(|world, p, pages, order| {
        let moved = || world.count(MmEvent::SwapRequest) + world.count(MmEvent::SwapMerged);
        p.advise(pages, Advice::PageOut);
        assert!(pages.pages().all(|page| p.is_swapped(page)), "all is out, order {order}");
        assert_eq!(stat(world, ThpStat::Swpout, order), 2);
        assert_eq!(moved(), 2);
        world.audit();
        p.verify_all();
        assert_eq!(stat(world, ThpStat::Swpin, order), 2);
        assert_eq!(moved(), 4);
        assert_eq!(world.count(MmEvent::ThpSplitPage), 0);
    });
}

#[test]
fn part_of_a_folio_is_unmapped() {
    for_orders(|world, p, pages, order| {
        let nr = nr_pages(order);
        p.unmap(PageRange::of_len(pages.start.add(1), 1));
        world.audit();
        p.verify_all();
        p.unmap(PageRange::of_len(pages.start.add(nr / 2), nr));
    });
}

#[test]
fn part_of_a_folio_is_protected() {
    for_orders(|world, p, pages, order| {
        let nr = nr_pages(order);
        p.protect(PageRange::of_len(pages.start.add(1), 2), Prot::READ, false);
        world.audit();
        p.protect(PageRange::of_len(pages.start.add(nr - 1), 2), Prot::empty(), false);
        world.audit();
        p.protect(pages, Prot::READ | Prot::WRITE, false);
        fill(p, pages);
    });
}

#[test]
fn part_of_an_untagged_folio_becomes_tagged() {
    for order in ORDERS {
        explore(0..4, move |seed| {
            let world = world(seed, order, Adversary::FULL);
            let mut p = world.process(CPU0);
            p.check_tags(TagCheckMode::Sync);
            let nr = nr_pages(order);
            let pages = p.map_at(Placement::Fixed(Vpn::new(0x10_0000)), nr, RW);
            pages.pages().for_each(|page| p.write(page, 0, page.get()));
            let part = PageRange::of_len(pages.start.add(1), 2);
            p.protect(part, Prot::READ | Prot::WRITE, true);
            world.audit();
            part.pages().for_each(|page| p.retag(page, 1, 5));
            p.verify_all();
            assert_eq!(world.count(MmEvent::MteTagsZeroed), 2);
            p.advise(pages, Advice::PageOut);
            p.verify_all();
            p.exit();
            world.audit();
        });
    }
}

#[test]
fn part_of_a_folio_is_dropped_and_is_zero_again() {
    for_orders(|world, p, pages, _| {
        p.advise(PageRange::of_len(pages.start.add(1), 2), Advice::DontNeed);
        world.audit();
        p.verify_all();
        p.advise(pages, Advice::DontNeed);
    });
}

#[test]
fn a_folio_is_moved_to_a_place_with_another_alignment() {
    for_orders(|world, p, pages, _| {
        if world.machine.config().judges_new_mappings {
            return;
        }
        let to = p.remap(pages, Some(Vpn::new(0x20_0001)));
        world.audit();
        p.verify_all();
        fill(p, to);
        p.advise(to, Advice::PageOut);
        p.verify_all();
    });
}

/// To another table and back, within one table, and on top of what a table was left for.
#[test]
fn a_folio_is_moved_whole_to_a_place_with_the_same_alignment() {
    for_orders(|world, p, pages, order| {
        // A block is nowhere until no TLB has it.
        if order < 9 && world.machine.config().judges_new_mappings {
            return;
        }
        let far = Vpn::new(0x20_0000);
        let near = pages.start.add(1024);
        let mut at = pages;
        for to in [far, pages.start, near, pages.start] {
            at = p.remap(at, Some(to));
            world.audit();
            p.verify_all();
            fill(p, at);
        }
        let split = world.count(MmEvent::ThpSplitPmd);
        assert_eq!(split, 0, "order {order}: blocks are moved as they are");
        p.advise(at, Advice::PageOut);
        p.verify_all();
    });
}

#[test]
fn only_the_part_that_is_advised_goes_out() {
    for_orders(|world, p, pages, order| {
        let part = PageRange::of_len(pages.start.add(1), 2);
        p.advise(part, Advice::PageOut);
        world.audit();
        for page in pages.pages() {
            assert_eq!(p.is_swapped(page), part.contains(page), "order {order}, {page:?}");
        }
        assert_eq!(stat(world, ThpStat::Split, order), 1);
        p.verify_all();
    });
}

#[test]
fn pressure_frees_what_is_not_mapped_of_a_folio() {
    for_orders(|world, p, pages, order| {
        let nr = nr_pages(order);
        let free = world.footprint().free;
        p.unmap(PageRange::of_len(pages.start, nr / 2));
        assert_eq!(stat(world, ThpStat::SplitDeferred, order), 1);
        assert_eq!(world.footprint().free, free, "the folio is whole");
        p.call(|mm| mm.system().reclaim_pages(1));
        assert_eq!(stat(world, ThpStat::Split, order), 1);
        assert!(world.footprint().free >= free + nr / 2);
    });
}

#[test]
fn a_folio_is_split_in_the_swap_cache_while_another_process_has_swap_entries() {
    // A CPU that speculates keeps pages young for ever.
    for_orders_on(Adversary::CALM, |world, p, pages, order| {
        let mut child = p.fork(CPU1);
        child.check_tags(TagCheckMode::Sync);
        // A folio that two processes have used goes round the active list first.
        let is_out = |_: &u32| {
            world.on(CPU0, || world.system.reclaim_pages(4096));
            pages.pages().all(|page| child.is_swapped(page))
        };
        (0..20).find(is_out).expect("everything goes out");
        // Mapped by this process alone; the child's entries still name the slots.
        p.verify_all();
        p.advise(PageRange::of_len(pages.start.add(1), 1), Advice::PageOut);
        assert_eq!(stat(world, ThpStat::Split, order), 1);
        assert!(child.is_swapped(pages.start));
        world.audit();
        child.verify_all();
        child.unmap(PageRange::of_len(pages.start, nr_pages(order) / 2));
        world.audit();
        child.exit();
    });
}

#[test]
fn one_page_that_cannot_be_read_costs_only_itself() {
    for order in ORDERS {
        explore(0..2, move |seed| {
            let world = world(seed, order, Adversary::CALM);
            let mut p = world.process(CPU0);
            p.check_tags(TagCheckMode::Sync);
            let pages = two_folios(&mut p, order);
            p.advise(pages, Advice::PageOut);
            let PageView::Swapped(entry) = p.page_view(pages.start) else { panic!("swapped") };
            let bad = entry.slot as u64 * 8;
            world.machine.fail_io(IoFault::any().of(BlockOp::Read).at(bad..bad + 8));
            let lost = p.load(pages.start.base());
            assert_eq!(lost, Err(AccessError::Fault(FaultError::NoContent)));
            for page in pages.pages().skip(1) {
                p.verify(page);
            }
            world.machine.clear_io_faults();
            p.verify_all();
            world.audit();
        });
    }
}
