// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives pages to a device for itself and checks who takes them back: the requests EXCLUSIVE
//! and CHECK_EXCLUSIVE of 004.2 F15 of the facts, and what make_device_exclusive() owes the rest of
//! the memory manager.

mod world;

use base::{PageRange, Vpn};
use hal::Access;
use hal::sim::{Adversary, SimMachine};
use mm::{
    Advice, AreaFlags, Glimpse, MirrorError, Mirroring, MmEvent, PageView, Placement, Prot, Shmem,
};
use world::device::{DEVICE, OTHER, for_orders, for_orders_on};
use world::folios::{nr_pages, one};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, World};

/// A device, as a process has it mirror its memory.
struct Device {
    mirror: Mirroring<SimMachine>,
    world: World,
}

impl Device {
    fn of(p: &Process, device: hal::DeviceId) -> Self {
        let mirror = p.call(|mm| mm.mirror(device)).expect("a mirror");
        Self { mirror, world: p.world.clone() }
    }

    fn take(&self, page: Vpn) -> Result<(), MirrorError> {
        self.world.on(CPU0, || self.mirror.make_exclusive(page))
    }

    /// Takes all of some pages, of which the device has none.
    fn take_all(&self, pages: PageRange) {
        assert_eq!(self.nr_had(pages), 0);
        pages.pages().for_each(|page| assert_eq!(self.take(page), Ok(())));
        assert_eq!(self.nr_had(pages), pages.nr_pages());
        self.world.audit();
    }

    fn has(&self, page: Vpn) -> bool {
        self.mirror.has_exclusive(one(page))
    }

    fn nr_had(&self, pages: PageRange) -> u64 {
        pages.pages().filter(|page| self.has(*page)).count() as u64
    }

    /// Adds to the first word of a page, as the device does with a page that it has for itself.
    fn add(&self, page: Vpn, n: u64) -> Result<u64, MirrorError> {
        self.world.on(CPU0, || self.mirror.update(page, 0, |old| old.wrapping_add(n)))
    }

    fn drop(self) {
        let Self { mirror, world } = self;
        world.on(CPU0, || drop(mirror));
    }
}

/// A process with one folio of an order, and a device.
fn on_folio(
    orders: &[u8],
    body: impl Fn(&World, &mut Process, &Device, PageRange) + Copy + Send + Sync + 'static,
) {
    for_orders(orders, move |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let device = Device::of(&p, DEVICE);
        body(world, &mut p, &device, pages);
        world.audit();
        p.verify_all();
        device.drop();
        p.exit();
    });
}

const ORDERS: [u8; 4] = [0, 2, 4, 9];

/// The pages of a folio that a test takes: all, or some where there are many.
fn some(pages: PageRange) -> PageRange {
    PageRange::of_len(pages.start, pages.nr_pages().min(20))
}

#[test]
fn s004_exclusive_a_cpus_access_takes_one_page_back() {
    on_folio(&ORDERS, |world, p, device, pages| {
        let taken = some(pages);
        device.take_all(taken);
        assert!(matches!(p.page_view(taken.start), PageView::DeviceExclusive(_)));
        let frame = p.mm.page_views(one(taken.start));
        p.verify(taken.start);
        assert!(!device.has(taken.start), "a load takes it back");
        assert_eq!(device.nr_had(taken), taken.nr_pages() - 1, "and no other");
        let PageView::DeviceExclusive(pfn) = frame[0] else { panic!("{frame:?}") };
        let PageView::Present { pfn: now, .. } = p.page_view(taken.start) else { panic!() };
        assert_eq!(pfn, now, "it has not moved");
        world.audit();
    });
}

#[test]
fn s004_exclusive_a_store_takes_one_fault() {
    for_orders_on(Adversary::CALM, &[0, 4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        let device = Device::of(&p, DEVICE);
        device.take_all(pages);
        assert_eq!(p.faults_of(|p| p.write(pages.start, 0, 77)), 1, "faults of a store");
        assert_eq!(p.faults_of(|p| p.write(pages.start, 0, 78)), 0);
        assert_eq!(world.count(MmEvent::DeviceExclusive), pages.nr_pages());
        assert_eq!(world.count(MmEvent::DeviceExclusiveEnd), 1);
        p.verify_all();
        device.drop();
        p.exit();
    });
}

#[test]
fn s004_exclusive_what_the_device_adds_the_program_sees() {
    on_folio(&ORDERS, |_, p, device, pages| {
        let page = pages.start.add(pages.nr_pages() / 2);
        p.write(page, 0, 1000);
        device.take_all(one(page));
        assert_eq!(device.add(page, 7), Ok(1000));
        assert_eq!(device.add(page, 7), Ok(1007));
        p.oracle.pages.get_mut(&page).unwrap().change(|content| content.cells[0] = 1014);
        p.verify(page);
        assert_eq!(device.add(page, 7), Err(MirrorError::Unknown), "it has been taken back");
    });
}

#[test]
fn s004_exclusive_the_device_reads_its_page_and_asks_for_the_right_to_write_it() {
    on_folio(&[0, 4], |world, p, device, pages| {
        let page = pages.start;
        p.write(page, 0, 5);
        device.take_all(one(page));
        let mut word = [0; 8];
        world.on(CPU0, || device.mirror.read(page, &mut word)).expect("its own");
        assert_eq!(u64::from_le_bytes(word), 5);
        // As test_hmm: a write wants an entry with that right, and the fault takes the page back.
        let write = || world.on(CPU0, || device.mirror.write(page, &[5, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(write(), Err(MirrorError::Unknown));
        world.on(CPU0, || device.mirror.fault_in(one(page), Access::Write)).expect("a page");
        assert!(!device.has(page));
        assert_eq!(write(), Ok(()));
    });
}

#[test]
fn s004_exclusive_another_device_takes_it_over() {
    on_folio(&[0, 4], |world, p, device, pages| {
        let page = pages.start;
        let other = Device::of(p, OTHER);
        world.on(CPU0, || other.mirror.fault_in(one(page), Access::Read)).expect("a page");
        device.take_all(one(page));
        assert_eq!(other.mirror.nr_known(one(page)), 0, "nobody else knows the page");
        let seen = world.on(CPU0, || other.mirror.glimpse(page));
        assert_eq!(seen, Ok(Glimpse::None), "a look takes nothing back");
        other.take_all(one(page));
        assert!(!device.has(page));
        world.on(CPU0, || device.mirror.fault_in(one(page), Access::Read)).expect("a page");
        assert!(!other.has(page), "a device's fault is like the program's");
        other.drop();
    });
}

#[test]
fn s004_exclusive_fork_takes_back_what_it_shares() {
    on_folio(&ORDERS, |world, p, device, pages| {
        let taken = some(pages);
        device.take_all(taken);
        let mut child = p.fork(CPU1);
        child.check_tags(hal::TagCheckMode::Sync);
        assert_eq!(device.nr_had(taken), 0, "what two programs have is no device's alone");
        world.audit();
        child.write(taken.start, 0, 4711);
        child.verify_all();
        p.verify_all();
        // A device that wants it now makes the program copy it.
        device.take_all(one(taken.start));
        child.verify_all();
        child.exit();
    });
}

#[test]
fn s004_exclusive_mprotect_and_mremap_take_it_from_the_device() {
    on_folio(&[0, 4], |world, p, device, pages| {
        device.take_all(pages);
        p.protect(pages, Prot::READ, false);
        assert_eq!(device.nr_had(pages), 0);
        assert_eq!(device.take(pages.start), Err(MirrorError::Fault), "no right to store");
        p.verify_all();
        p.protect(pages, Prot::READ | Prot::WRITE, false);
        device.take_all(pages);
        p.protect(pages, Prot::empty(), false);
        assert_eq!(device.nr_had(pages), 0);
        p.protect(pages, Prot::READ | Prot::WRITE, false);
        device.take_all(pages);
        let moved = p.remap(pages, Some(Vpn::new(0x30_0000)));
        assert_eq!((device.nr_had(pages), device.nr_had(moved)), (0, 0));
        world.audit();
        p.write(moved.start, 0, 3);
    });
}

#[test]
fn s004_exclusive_prot_mte_is_added_to_what_a_device_has() {
    for_orders(&[0, 4], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, RW);
        let device = Device::of(&p, DEVICE);
        device.take_all(pages);
        p.protect(pages, Prot::READ | Prot::WRITE, true);
        assert_eq!(device.nr_had(pages), 0);
        p.verify_all();
        device.drop();
        p.exit();
    });
}

#[test]
fn s004_exclusive_munmap_discard_and_exit_free_the_page() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 3, RW);
        let part =
            |n: u64| some(PageRange::of_len(pages.start.add(n * nr_pages(order)), nr_pages(order)));
        let device = Device::of(&p, DEVICE);
        (0..3).for_each(|n| device.take_all(part(n)));
        p.unmap(part(0));
        p.advise(part(1), Advice::DontNeed);
        assert_eq!(device.nr_had(pages), part(2).nr_pages());
        world.audit();
        p.verify_all();
        device.take_all(part(1));
        p.exit();
        assert_eq!(device.take(pages.start), Err(MirrorError::Gone));
        assert!(!device.mirror.has_exclusive(pages), "exit takes everything");
        device.drop();
    });
}

#[test]
fn s004_exclusive_a_closed_device_leaves_pages_to_be_taken_back() {
    on_folio(&[0, 4], |_, p, _, pages| {
        let other = Device::of(p, OTHER);
        other.take_all(pages);
        other.drop();
        assert!(matches!(p.page_view(pages.start), PageView::DeviceExclusive(_)));
        p.verify_all();
        assert!(matches!(p.page_view(pages.start), PageView::Present { .. }));
    });
}

#[test]
fn s004_exclusive_reclaim_writes_what_the_device_has_changed() {
    on_folio(&[0, 2, 4], |world, p, device, pages| {
        // Clean, with its slots, but for what the device does.
        p.page_out(pages);
        p.verify_all();
        let page = pages.start;
        let content = p.oracle.pages[&page].content();
        device.take_all(some(pages));
        assert_eq!(device.add(page, 3), Ok(content.cells[0]));
        p.oracle.pages.get_mut(&page).unwrap().change(|content| content.cells[0] += 3);
        world.reclaim(p, pages);
        assert_eq!(device.nr_had(pages), 0, "what has left memory is no device's");
        world.audit();
        p.verify_all();
    });
}

#[test]
fn s004_exclusive_madv_free_keeps_what_the_device_changes_after_it() {
    on_folio(&[0], |_, p, device, pages| {
        let page = pages.start;
        device.take_all(pages);
        p.advise(pages, Advice::Free);
        assert!(!device.has(page), "the device is told that its changes may go");
        device.take_all(pages);
        let old = device.add(page, 9).expect("its own");
        p.advise(pages, Advice::PageOut);
        assert_eq!(p.load(with_tag_of(p, page)), Ok(old + 9), "written since");
        let model = p.oracle.pages.get_mut(&page).unwrap();
        model.may_be_zero = false;
        model.change(|content| content.cells[0] = old + 9);
    });
}

/// The address of a page's first cell, with its tag.
fn with_tag_of(p: &Process, page: Vpn) -> base::VirtAddr {
    let tag = p.oracle.pages[&page].content().tags[world::oracle::granule_of(0)];
    world::process::with_tag(page.base(), tag)
}

#[test]
fn s004_exclusive_swapoff_has_nothing_to_do_with_it() {
    on_folio(&[0], |world, p, device, pages| {
        p.page_out(pages);
        p.verify_all();
        device.take_all(pages);
        let off = world.on(CPU0, || world.system.swap_off(world::SWAP, || false));
        assert_eq!(off, Ok(()));
        assert_eq!(device.nr_had(pages), 1);
        world.swap_on_again();
    });
}

#[test]
fn s004_exclusive_a_page_that_a_device_has_does_not_migrate() {
    on_folio(&[0, 4, 9], |world, p, device, pages| {
        let middle = pages.start.add(pages.nr_pages() / 2);
        device.take_all(one(middle));
        assert_eq!(p.to_device(one(middle)), 0, "as on Linux");
        assert!(device.has(middle));
        // A folio that is split for its other pages is put together again without devices.
        let moved = p.to_device(pages);
        assert_eq!(moved, if pages.nr_pages() == 1 { 0 } else { pages.nr_pages() });
        world.audit();
        p.verify_all();
    });
}

#[test]
fn s004_exclusive_a_split_of_its_folio_ends_it() {
    on_folio(&[2, 4], |_, p, device, pages| {
        let middle = pages.start.add(pages.nr_pages() / 2);
        device.take_all(one(middle));
        // Advice about a part has the folio split.
        p.page_out(one(pages.start));
        assert!(!device.has(middle));
    });
}

#[test]
fn s004_exclusive_a_page_on_a_device_comes_home_for_it() {
    on_folio(&[0, 4], |_, p, device, pages| {
        p.all_to_device(pages);
        device.take_all(one(pages.start));
        assert_eq!(p.nr_on_device(pages), 0, "the whole folio");
    });
}

#[test]
fn s004_exclusive_a_hole_and_the_page_of_zeroes_become_pages() {
    for_orders(&[0], |world, _| {
        let mut p = world.process(CPU0);
        let pages = p.map(3, RW);
        p.verify(pages.start.add(1));
        let device = Device::of(&p, DEVICE);
        device.take_all(pages);
        assert_eq!(device.add(pages.start.add(1), 1), Ok(0));
        p.oracle.pages.get_mut(&pages.start.add(1)).unwrap().change(|page| page.cells[0] = 1);
        p.verify_all();
        device.drop();
        p.exit();
    });
}

#[test]
fn s004_exclusive_a_pin_takes_it_back() {
    on_folio(&[0, 4], |world, p, device, pages| {
        device.take_all(pages);
        let pin = world.on(CPU0, || p.mm.pin(pages.start, Access::Read)).expect("a pin");
        assert!(!device.has(pages.start));
        // A pinned page may be a device's alone, as on Linux: what the pin reads is the driver's affair.
        assert_eq!(device.take(pages.start), Ok(()));
        world.on(CPU0, || drop(pin));
    });
}

#[test]
fn s004_exclusive_only_pages_of_the_programs_own_are_given() {
    for_orders(&[0], |world, _| {
        let mut p = world.process(CPU0);
        let device = Device::of(&p, DEVICE);
        let object = Shmem::new(&world.system, 4096, None).expect("an object");
        let shared = p.map_object(&object, &Default::default(), RW);
        assert_eq!(device.take(shared.start), Err(MirrorError::NotAnonymous));
        let special = RW | AreaFlags::SPECIAL;
        let special = p.map_at(Placement::Fixed(Vpn::new(0x2000)), 1, special);
        assert_eq!(device.take(special.start), Err(MirrorError::Fault));
        let read_only = p.map(1, AreaFlags::READ);
        assert_eq!(device.take(read_only.start), Err(MirrorError::Fault));
        assert_eq!(device.take(Vpn::new(0x9000)), Err(MirrorError::Fault), "no area");
        p.verify_all();
        device.drop();
        p.exit();
        world.on(CPU0, || drop(object));
    });
}

#[test]
fn s004_exclusive_without_memory_nothing_changes() {
    for_orders_on(Adversary::CALM, &[0], |world, _| {
        let mut p = world.process(CPU0);
        let pages = p.map(2, RW);
        p.write(pages.start, 0, 1);
        let device = Device::of(&p, DEVICE);
        world.machine.fail_allocs(1);
        assert_eq!(device.take(pages.start.add(1)), Err(MirrorError::OutOfMemory), "a hole");
        // The device's table is on the heap too.
        assert_eq!(device.take(pages.start), Err(MirrorError::OutOfMemory));
        world.machine.fail_allocs(0);
        assert_eq!(device.nr_had(pages), 0);
        world.audit();
        p.verify_all();
        device.drop();
        p.exit();
    });
}

#[test]
fn s004_exclusive_no_cpu_keeps_a_translation() {
    for_orders_on(Adversary::CALM, &[0, 4, 9], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        let page = pages.start.add(pages.nr_pages() / 2);
        p.write(page, 0, 1);
        let device = Device::of(&p, DEVICE);
        device.take_all(one(page));
        world.on(CPU0, || {
            p.mm.activate();
            assert!(world.machine.store(CPU0, page.base(), 2).is_err(), "a fault is due");
        });
        world.assert_no_stale(&p.mm);
        p.verify_all();
        device.drop();
        p.exit();
    });
}
