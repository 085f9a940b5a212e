// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that what programs and devices do reaches pages on a device: rows 18 and 19 of 004.3 of the facts.

mod world;

use base::{PageRange, Vpn};
use mm::{Advice, PageView, Prot};
use world::device::{DEVICE, OTHER, for_orders};
use world::folios::nr_pages;
use world::process::{RW, TAGGED};
use world::{CPU0, CPU1};

/// A page, the smallest large folio, 64 KiB, 2 MiB.
const ORDERS: [u8; 4] = [0, 2, 4, 9];

#[test]
fn s004_r18_a_child_that_writes_leaves_its_parent_alone() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.all_to_device(pages);
        let mut child = p.fork(CPU1);
        child.check_tags(hal::TagCheckMode::Sync);
        assert_eq!(child.nr_on_device(pages), pages.nr_pages(), "both have device entries");
        world.audit();
        child.write(pages.start, 0, 4711);
        world.audit();
        child.verify_all();
        p.verify_all();
        child.exit();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r18_exit_unmap_and_discard_free_the_device() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 3, RW);
        p.all_to_device(pages);
        let part =
            |n: u64| PageRange::of_len(pages.start.add(n * nr_pages(order)), nr_pages(order));
        p.unmap(part(0));
        p.advise(part(1), Advice::DontNeed);
        assert_eq!(world.nr_on_device(DEVICE), nr_pages(order));
        world.audit();
        p.verify_all();
        p.to_device(part(1));
        p.exit();
    });
}

#[test]
fn s004_r18_mremap_and_mprotect_move_nothing() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 2, TAGGED);
        p.all_to_device(pages);
        p.protect(pages, Prot::empty(), false);
        let pages = p.remap(pages, Some(Vpn::new(0x30_0000)));
        p.protect(pages, Prot::READ, false);
        assert_eq!(p.nr_on_device(pages), pages.nr_pages());
        world.audit();
        p.verify_all();
        p.protect(pages, Prot::READ | Prot::WRITE, false);
        p.write(pages.start, 0, 3);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r18_a_device_that_is_released_gives_everything_back() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.all_to_device(pages);
        let mut child = p.fork(CPU1);
        child.check_tags(hal::TagCheckMode::Sync);
        assert_eq!(world.on(CPU0, || world.system.evict_device(DEVICE)), 0);
        assert_eq!(p.nr_on_device(pages) + child.nr_on_device(pages), 0);
        world.audit();
        p.verify_all();
        child.verify_all();
        child.exit();
        p.exit();
    });
}

#[test]
fn s004_r18_swapoff_has_nothing_to_do_with_pages_on_a_device() {
    for_orders(&[0], |world, _| {
        let mut p = world.process(CPU0);
        let pages = p.map(4, RW);
        p.fill(pages);
        p.page_out(PageRange::of_len(pages.start, 2));
        p.to_device(pages);
        assert_eq!(p.nr_on_device(pages), 2, "swapped pages stay where they are");
        let off = world.on(CPU0, || world.system.swap_off(world::SWAP, || false));
        assert_eq!(off, Ok(()));
        assert_eq!(p.nr_on_device(pages), 2);
        world.swap_on_again();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r19_pages_of_another_device_are_not_touched() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        assert_eq!(p.to(OTHER, pages), pages.nr_pages());
        assert_eq!(p.to_device(pages), 0, "what is on a device is not in RAM");
        assert_eq!(p.to_ram(pages), 0, "and not on this device");
        assert_eq!(p.page_view(pages.start), PageView::OnDevice(OTHER));
        assert_eq!(world.on(CPU0, || world.system.evict_device(DEVICE)), 0);
        assert_eq!(p.nr_on_device(pages), pages.nr_pages());
        p.verify_all();
        p.exit();
    });
}
