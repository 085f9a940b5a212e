// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that what is on a device comes home as it went: rows 2, 12 to 14 of 004.3 of the facts.

mod world;

use base::{PageRange, Vpn};
use hal::sim::Adversary;
use mm::{FaultError, MmEvent, Prot};
use world::CPU0;
use world::device::{DEVICE, for_orders, for_orders_on};
use world::folios::{nr_pages, one};
use world::process::{AccessError, Process, RW, TAGGED};

/// A page, the smallest large folio, 64 KiB, 2 MiB.
const ORDERS: [u8; 4] = [0, 2, 4, 9];

#[test]
fn s004_r12_bytes_and_tags_come_home_as_they_went() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let odd = pages.start.add(nr_pages(order) / 2);
        p.set_all_tags(odd, 7);
        p.all_to_device(pages);
        world.audit();
        assert_eq!(world.nr_on_device(DEVICE), pages.nr_pages());
        p.assert_all_tags(odd, 7);
        assert_eq!(p.nr_on_device(pages), 0, "one touch brings the folio home");
        verify_all_but(&mut p, odd, pages);
        world.audit();
        p.exit();
    });
}

/// Verifies all pages but the one whose tags are not the oracle's.
fn verify_all_but(p: &mut Process, odd: Vpn, pages: PageRange) {
    pages.pages().filter(|page| *page != odd).for_each(|page| p.verify(page));
}

#[test]
fn s004_r12_what_has_never_been_tagged_has_zero_tags_when_it_comes_home_to_tagged_memory() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, RW);
        p.all_to_device(pages);
        p.protect(pages, Prot::READ | Prot::WRITE, true);
        assert_eq!(p.nr_on_device(pages), pages.nr_pages(), "mprotect moves nothing");
        pages.pages().for_each(|page| assert_eq!(p.load_tag(page.base()), Ok(0)));
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r13_a_store_takes_one_fault_and_rights_are_what_they_were() {
    for_orders_on(Adversary::CALM, &[0, 4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        p.all_to_device(pages);
        let page = pages.start;
        assert_eq!(p.faults_of(|p| p.write(page, 0, 77)), 1, "faults of a store");
        assert_eq!(p.nr_on_device(pages), 0);
        p.all_to_device(pages);
        p.protect(pages, Prot::READ, false);
        let denied = p.store(page.base(), 1);
        assert_eq!(denied, Err(AccessError::Fault(FaultError::Denied)), "SIGSEGV");
        assert_eq!(p.nr_on_device(pages), pages.nr_pages(), "a refused store moves nothing");
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r14_holes_and_zero_pages_are_pages_of_zeroes_on_the_device() {
    for_orders(&[0], |world, _| {
        for flags in [RW, TAGGED] {
            let mut p = world.tagged_process();
            let pages = p.map(6, flags);
            // Page 1 is mapped for a load, page 3 has content.
            p.verify(pages.start.add(1));
            p.write(pages.start.add(3), 0, 9);
            p.all_to_device(pages);
            assert_eq!(world.nr_on_device(DEVICE), 6);
            p.verify_all();
            p.write(pages.start, 0, 1);
            p.verify_all();
            p.exit();
        }
    });
}

#[test]
fn s004_r14_shared_memory_stays() {
    for_orders(&[0], |world, _| {
        let mut p = world.process(CPU0);
        let object = mm::Shmem::new(&world.system, 4 * 4096, None).expect("an object");
        let pages = p.map_object(&object, &Default::default(), RW);
        p.write(pages.start, 0, 1);
        assert_eq!(p.to_device(pages), 0, "neither pages nor holes of an object move");
        p.verify_all();
        p.exit();
        world.on(CPU0, || drop(object));
    });
}

#[test]
fn s004_r02_dirty_state_is_carried_and_a_clean_page_stays_clean() {
    for_orders_on(Adversary::CALM, &[0], |world, _| {
        let mut p = world.process(CPU0);
        let pages = p.map(2, RW);
        p.fill(pages);
        p.page_out(pages);
        // Both clean, with their slots; then the second is written, by hardware or with a fault.
        p.verify_all();
        p.write(pages.start.add(1), 0, 4);
        for page in pages.pages() {
            let hold = p.mm.hold_folio_of(page).expect("a page");
            assert_eq!(p.to_device(one(page)), 0, "somebody holds it");
            world.on(CPU0, || drop(hold));
        }
        let written = world.count(MmEvent::PswpOut);
        p.page_out(pages);
        assert_eq!(world.count(MmEvent::PswpOut) - written, 1, "only the dirty one is written");
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_a_partly_unmapped_large_folio_comes_home() {
    for_orders(&[2, 4, 9], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.all_to_device(pages);
        p.unmap(one(pages.start.add(1)));
        world.audit();
        assert_eq!(p.to_ram(PageRange::of_len(pages.start, 1)), 1);
        p.verify_all();
        world.audit();
        p.exit();
    });
}

#[test]
fn s004_large_folios_that_find_no_run_come_home_page_by_page() {
    for_orders(&[4, 9], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.all_to_device(pages);
        world.machine.fail_nth_alloc(1);
        p.verify_all();
        assert_eq!(p.nr_on_device(pages), 0);
        world.audit();
        p.exit();
    });
}
