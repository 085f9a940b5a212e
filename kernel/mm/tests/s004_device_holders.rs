// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that somebody who holds, pins or swaps a page keeps it in RAM: rows 15 and 16 of 004.3 of the facts.

mod world;

use base::Vpn;
use hal::Access;
use mm::PageView;
use world::device::for_orders;
use world::process::{Process, RW};
use world::{CPU0, CPU1};

/// The parts of an entry that a migration that fails must leave alone.
fn frame_of(p: &Process, page: Vpn) -> PageView {
    p.page_view(page)
}

#[test]
fn s004_r15_a_pinned_page_stays_and_its_mapping_is_as_before() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        let before: Vec<_> = pages.pages().map(|page| frame_of(&p, page)).collect();
        let view = p.call(|mm| mm.resident_view(pages));
        let mm = std::sync::Arc::clone(&p.mm);
        let pin = world.on(CPU0, || mm.pin(pages.start, Access::Write)).expect("a pin");
        assert_eq!(p.to_device(pages), 0, "a pinned folio moves");
        assert_eq!(pages.pages().map(|page| frame_of(&p, page)).collect::<Vec<_>>(), before);
        assert_eq!(p.call(|mm| mm.resident_view(pages)), view, "young and dirty are kept");
        assert_eq!(p.faults_of(|p| p.write(pages.start, 0, 5)), 0, "still writable");
        world.on(CPU0, || pin.unpin());
        p.all_to_device(pages);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r15_a_pin_brings_a_page_home() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        p.all_to_device(pages);
        let pin = world.on(CPU0, || p.mm.pin(pages.start, Access::Read)).expect("a pin");
        assert_eq!(p.nr_on_device(pages), 0);
        assert_eq!(p.to_device(pages), 0, "a pinned folio moves");
        world.on(CPU0, || drop(pin));
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r15_a_page_that_somebody_holds_stays() {
    for_orders(&[0, 4, 9], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        let before: Vec<_> = pages.pages().map(|page| frame_of(&p, page)).collect();
        let hold = p.mm.hold_folio_of(pages.start).expect("a page");
        assert_eq!(p.to_device(pages), 0);
        assert_eq!(pages.pages().map(|page| frame_of(&p, page)).collect::<Vec<_>>(), before);
        world.on(CPU0, || drop(hold));
        p.all_to_device(pages);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r16_a_page_stays_while_a_slot_of_it_is_anothers() {
    for_orders(&[0, 2], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        p.page_out(pages);
        let child = p.fork(CPU1);
        p.verify_all();
        assert!(pages.pages().all(|page| child.is_swapped(page)), "the child has swap entries");
        assert_eq!(p.to_device(pages), 0, "the child's entries name its slots");
        p.verify_all();
        child.exit();
        p.all_to_device(pages);
        p.verify_all();
        p.exit();
    });
}
