// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves pages to a device and back and checks what becomes of them: rows 2, 12 to 20 of 004.3
//! of the facts.

mod world;

use base::{Order, PageRange, Vpn};
use hal::sim::Adversary;
use hal::{Access, DeviceId};
use mm::{
    Advice, AreaFlags, FaultError, From, MigrateError, MigrateRequest, MigrateWord, MmEvent,
    PageView, Placement, Prot,
};
use world::device::{DEVICE, FRAMES, OTHER, for_orders, for_orders_on};
use world::folios::{nr_pages, one};
use world::process::{AccessError, Process, RW, TAGGED};
use world::{CPU0, CPU1};

/// A page, the smallest large folio, 64 KiB, 2 MiB.
const ORDERS: [u8; 4] = [0, 2, 4, 9];
const NO_CONTENT: Result<u64, AccessError> = Err(AccessError::Fault(FaultError::NoContent));

#[test]
fn s004_r12_bytes_and_tags_come_home_as_they_went() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.set_all_tags(pages.start.add(nr_pages(order) / 2), 7);
        p.all_to_device(pages);
        world.audit();
        assert_eq!(world.nr_on_device(DEVICE), pages.nr_pages());
        p.assert_all_tags(pages.start.add(nr_pages(order) / 2), 7);
        assert_eq!(p.nr_on_device(pages), 0, "one touch brings the folio home");
        p.verify_untagged_page_free(pages);
        world.audit();
        p.exit();
    });
}

trait Verify {
    fn verify_untagged_page_free(&mut self, pages: PageRange);
}

impl Verify for Process {
    /// Verifies all pages but the one whose tags are not the oracle's.
    fn verify_untagged_page_free(&mut self, pages: PageRange) {
        let odd = pages.start.add(pages.nr_pages() / 2);
        pages.pages().filter(|page| *page != odd).for_each(|page| self.verify(page));
    }
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
        refused(trampoline, 8);
        assert_eq!(p.call(|mm| mm.migrate_to_device(pages, DeviceId(9), |_: Order| true)), Ok(0));
        world.audit();
        p.verify_all();
        p.exit();
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
