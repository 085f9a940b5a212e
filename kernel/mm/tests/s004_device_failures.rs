// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that a lack of memory, a copy that fails and a bad request lose nothing: rows 17, 18
//! and 20 of 004.3 of the facts.

mod world;

use base::{Order, PageRange, Vpn};
use hal::DeviceId;
use hal::sim::Adversary;
use mm::{AreaFlags, FaultError, From, MigrateError, MigrateRequest, MigrateWord, Placement};
use world::device::{DEVICE, FRAMES, for_orders, for_orders_on};
use world::folios::nr_pages;
use world::process::{AccessError, Process, RW, TAGGED};
use world::{CPU0, CPU1};

const NO_CONTENT: Result<u64, AccessError> = Err(AccessError::Fault(FaultError::NoContent));

#[test]
fn s004_r17_a_device_that_runs_out_takes_what_it_can() {
    for_orders(&[0], |world, _| {
        let mut p = world.process(CPU0);
        let pages = p.map(10, RW);
        p.fill(pages);
        for room in 0..10 {
            world.machine.fail_nth_device_alloc(room + 1, true);
            assert_eq!(p.to_device(pages), room, "pages that the device has room for");
            world.audit();
            world.machine.clear_device_faults();
            p.verify_all();
        }
        p.exit();
    });
}

#[test]
fn s004_r17_without_a_run_a_large_folio_goes_page_by_page() {
    for_orders(&[2, 4, 9], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        // The first allocation is that of the run.
        world.machine.fail_nth_device_alloc(1, false);
        p.all_to_device(pages);
        world.machine.clear_device_faults();
        assert_eq!(world.machine.device_counts().1, 1 + pages.nr_pages(), "single frames");
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r17_with_room_for_some_pages_a_large_folio_is_split() {
    for_orders(&[2, 4, 9], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let room = nr_pages(order) / 2;
        // All but `room` frames of the device are taken.
        let mut other = world.process(CPU1);
        let taken = other.map(FRAMES - room, RW);
        other.fill(PageRange::of_len(taken.start, 3));
        assert_eq!(other.to_device(taken), taken.nr_pages());
        assert_eq!(p.to_device(pages), room, "as many as there is room for");
        assert_eq!(p.nr_on_device(pages), room);
        world.audit();
        p.verify_all();
        other.exit();
        p.exit();
    });
}

#[test]
fn s004_r17_a_copy_that_fails_loses_nothing_whichever_page_it_is() {
    for_orders(&[0, 2], |world, _| {
        let mut p = world.tagged_process();
        let pages = p.map(8, TAGGED);
        p.fill(pages);
        for k in 1..=8 {
            world.machine.fail_nth_device_copy(k);
            let moved = p.to_device(pages);
            assert!(moved < 8, "copy {k} failed");
            world.audit();
            world.machine.clear_device_faults();
            // On the way home too: the toucher alone hears of it.
            p.to_device(pages);
            assert_eq!(p.nr_on_device(pages), 8);
            world.machine.fail_nth_device_copy(1);
            assert_eq!(p.load(pages.start.base()), NO_CONTENT, "SIGBUS");
            assert!(p.is_on_device(pages.start), "the device's copy is kept");
            world.audit();
            world.machine.clear_device_faults();
            p.verify_all();
        }
        p.exit();
    });
}

#[test]
fn s004_r18_without_memory_only_who_touches_a_page_fails() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        p.all_to_device(pages);
        let page = pages.start;
        world.machine.fail_allocs(1);
        assert_eq!(p.load(page.base()), NO_CONTENT, "SIGBUS");
        world.machine.fail_allocs(0);
        assert!(p.is_on_device(page));
        world.audit();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_r20_bad_ranges_and_arrays_are_refused() {
    for_orders(&[0], |world, _| {
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(Vpn::new(0x1000)), 4, RW);
        p.fill(pages);
        let special = RW | AreaFlags::SPECIAL;
        let trampoline = p.map_at(Placement::Fixed(Vpn::new(0x2000)), 1, special);
        let refused = |range: PageRange, nr_words: usize| {
            let (mut src, mut dst) =
                (vec![MigrateWord::NONE; nr_words], vec![MigrateWord::NONE; 8]);
            let request = MigrateRequest { pages: range, from: From::Ram, whole_folios: true };
            let result = p.call(|mm| mm.migrate_setup(request, &mut src, &mut dst).err());
            assert_eq!(result, Some(MigrateError::Invalid), "{range:?}");
        };
        refused(PageRange::of_len(pages.start, 0), 8);
        refused(PageRange::of_len(pages.start, 5), 8);
        refused(PageRange::of_len(pages.start.add(4), 1), 8);
        refused(PageRange::of_len(Vpn::new(0xfff), 2), 8);
        refused(pages, 3);
        refused(pages, 0);
        refused(trampoline, 8);
        assert_eq!(p.call(|mm| mm.migrate_to_device(pages, DeviceId(9), |_: Order| true)), Ok(0));
        world.audit();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s004_each_allocation_may_fail_on_the_way_there_and_back() {
    for_orders_on(Adversary::CALM, &[0, 2, 9], |world, order| {
        let mut p = world.tagged_process();
        let mut child = None;
        for shared in [false, true] {
            let pages = p.new_folios(order, 1, TAGGED);
            if shared {
                child = Some(p.fork(CPU1));
            }
            for n in 1.. {
                let asked = world.machine.asked_allocs();
                world.machine.fail_nth_alloc(n);
                let there = p.call(|mm| mm.migrate_to_device(pages, DEVICE, |_: Order| true));
                let back = p.call(|mm| mm.migrate_to_ram(pages, DEVICE, |_: Order| true));
                world.machine.fail_allocs(0);
                world.audit();
                p.verify_all();
                if world.machine.asked_allocs() - asked < n {
                    assert_eq!((there, back), (Ok(pages.nr_pages()), Ok((pages.nr_pages(), true))));
                    break;
                }
                if order == 9 && n > 20 {
                    break;
                }
            }
        }
        child.into_iter().for_each(Process::exit);
        p.exit();
    });
}
