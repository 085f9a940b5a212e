// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts areas into service and takes them out again: with too little memory, with signals, with
//! disks that fail. Rows 6 to 8 and 19 of 002.3 of the facts.

mod world;

use std::cell::Cell;
use std::sync::Arc;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, IoFault, SimConfig};
use hal::{BlockOp, DiskId};
use mm::{Advice, FaultError, MmEvent, Placement, Shmem, ShmemError, SwapOffError, SwapOnError};
use world::process::{AccessError, Process, RW, TAGGED};
use world::{CPU0, CPU1, SWAP, World, config};

const START: Vpn = Vpn::new(0x10_0000);
const BUS_ERROR: AccessError = AccessError::Fault(FaultError::NoContent);

fn calm(config: SimConfig) -> World {
    World::new(SimConfig { adversary: Adversary::CALM, ..config })
}

fn page(n: u64) -> PageRange {
    PageRange::of_len(START.add(n), 1)
}

fn pages(nr: u64) -> PageRange {
    PageRange::of_len(START, nr)
}

fn with_pages(world: &World, nr: u64) -> Process {
    let mut p = world.process(CPU0);
    p.check_tags(hal::TagCheckMode::Sync);
    p.map_at(Placement::Fixed(START), nr, TAGGED);
    for page in pages(nr).pages() {
        p.write(page, 0, page.get());
        p.retag(page, 1, (page.get() % 15 + 1) as u8);
    }
    p
}

/// A process with `nr` pages in swap.
fn swapped(world: &World, nr: u64) -> Process {
    let mut p = with_pages(world, nr);
    p.advise(pages(nr), Advice::PageOut);
    pages(nr).pages().for_each(|page| assert!(p.is_swapped(page)));
    p
}

fn swap_off(world: &World) -> Result<(), SwapOffError> {
    world.on(CPU1, || world.system.swap_off(SWAP, || false))
}

fn nr_used(world: &World) -> u64 {
    world.system.swap_areas().first().map_or(0, |area| area.nr_used)
}

fn end(world: &World, p: Process) {
    world.audit();
    p.exit();
    world.audit();
    assert_eq!((nr_used(world), world.system.tag_bytes_stored()), (0, 0));
}

#[test]
fn s002_r06_too_little_memory_is_refused_and_the_area_stays() {
    // 512 frames, and 1000 pages.
    let world = calm(config(1));
    let mut p = with_pages(&world, 1000);
    let used = nr_used(&world);
    assert!(used > 500);
    assert_eq!(swap_off(&world), Err(SwapOffError::OutOfMemory));
    assert_eq!(nr_used(&world), used, "nothing was begun");
    p.verify_all();
    p.unmap(PageRange::of_len(START.add(300), 700));
    assert_eq!(swap_off(&world), Ok(()));
    p.verify_all();
    end(&world, p);
}

#[test]
fn s002_r06_memory_that_ends_on_the_way_puts_the_area_back_into_service() {
    let world = calm(config(2));
    let mut p = swapped(&world, 40);
    world.machine.fail_nth_alloc(10);
    assert_eq!(swap_off(&world), Err(SwapOffError::OutOfMemory));
    world.machine.fail_allocs(0);
    assert!((1..40).contains(&nr_used(&world)), "what has come back stays: {}", nr_used(&world));
    p.advise(pages(40), Advice::PageOut);
    assert_eq!(nr_used(&world), 40, "slots are handed out again");
    p.verify_all();
    assert_eq!(swap_off(&world), Ok(()));
    end(&world, p);
}

#[test]
fn s002_r07_an_interrupted_swapoff_keeps_what_has_come_back() {
    let world = calm(config(3));
    let mut p = swapped(&world, 30);
    let mut used = nr_used(&world);
    let mut nr_interrupted = 0;
    loop {
        let asked = Cell::new(0);
        let should_stop = || {
            asked.set(asked.get() + 1);
            asked.get() == 4
        };
        let off = world.on(CPU1, || world.system.swap_off(SWAP, should_stop));
        match off {
            Ok(()) => break,
            Err(why) => assert_eq!(why, SwapOffError::Interrupted),
        }
        nr_interrupted += 1;
        assert!(nr_used(&world) < used, "the next begins where this one was");
        used = nr_used(&world);
        // In service: another page goes there.
        let mut q = world.process(CPU1);
        let more = q.map(1, RW);
        q.write(more.start, 0, 1);
        q.advise(more, Advice::PageOut);
        assert_eq!(nr_used(&world), used + 1);
        q.exit();
    }
    assert!(nr_interrupted >= 5, "{nr_interrupted}");
    p.verify_all();
    end(&world, p);
}

#[test]
fn s002_r08_what_is_no_area_is_refused_and_so_is_what_is_one_twice() {
    let world = calm(SimConfig { disks: vec![8 * 64, 8 * 64, 8], ..config(4) });
    let system = &world.system;
    let off = |disk| world.on(CPU0, || system.swap_off(DiskId(disk), || false));
    let on = |disk| world.on(CPU0, || system.swap_on(DiskId(disk), None));
    assert_eq!(off(1), Err(SwapOffError::NotInService));
    assert_eq!(off(9), Err(SwapOffError::NotInService));
    assert_eq!(on(9), Err(SwapOnError::NoDisk));
    assert_eq!(on(0), Err(SwapOnError::Busy));
    assert_eq!((off(0), off(0)), (Ok(()), Err(SwapOffError::NotInService)));
    assert_eq!(on(1), Err(SwapOnError::BadHeader), "no header at all");
    // What the header says: version, last page, number of bad pages, a bad page, the signature.
    let good = (1u32, 63u32, 0u32, 0u32, b"SWAPSPACE2");
    let bad = [
        (2, 63, 0, 0, b"SWAPSPACE2"),
        (1, 0, 0, 0, b"SWAPSPACE2"),
        (1, 64, 0, 0, b"SWAPSPACE2"),
        (1, u32::MAX, 0, 0, b"SWAPSPACE2"),
        (1, 63, 638, 0, b"SWAPSPACE2"),
        (1, 63, u32::MAX, 0, b"SWAPSPACE2"),
        (1, 63, 1, 64, b"SWAPSPACE2"),
        (1, 63, 1, 0, b"SWAPSPACE2"),
        (1, 63, 0, 0, b"SWAP-SPACE"),
        (1, 63, 0, 0, b"S1SUSPEND\0"),
    ];
    for header in bad {
        write_header(&world, DiskId(1), header);
        assert_eq!(on(1), Err(SwapOnError::BadHeader), "{header:?}");
    }
    // Made for pages of 16 KiB: the signature is elsewhere.
    write_header(&world, DiskId(1), (1, 63, 0, 0, &[0; 10]));
    world.machine.write_medium(DiskId(1), 24, &[0xff; 4096]);
    assert_eq!(on(1), Err(SwapOnError::BadHeader));
    write_header(&world, DiskId(1), good);
    world.machine.fail_io(IoFault::any().on(DiskId(1)));
    assert_eq!(on(1), Err(SwapOnError::Unreadable));
    world.machine.clear_io_faults();
    assert_eq!((on(1), on(1)), (Ok(()), Err(SwapOnError::Busy)));
    write_header(&world, DiskId(2), (1, 1, 0, 0, b"SWAPSPACE2"));
    assert_eq!(on(2), Err(SwapOnError::BadHeader), "a disk of one page");
    assert_eq!(off(1), Ok(()));
    world.audit();
}

type Header<'a> = (u32, u32, u32, u32, &'a [u8; 10]);

fn write_header(world: &World, disk: DiskId, (version, last, nr_bad, bad, name): Header<'_>) {
    let mut page = vec![0; 4096];
    for (at, word) in [(1024, version), (1028, last), (1032, nr_bad), (1536, bad)] {
        page[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    page[4086..].copy_from_slice(name);
    world.machine.write_medium(disk, 0, &page);
}

/// What swapoff cannot read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unreadable {
    /// Its n-th read, once.
    Read(u64),
    /// A slot, however often it tries.
    Slot(u64),
}

/// Pages of a process, in folios of an order, and of an object, of which swapoff cannot read something.
/// Returns whether it tried to.
fn unreadable_at(order: u8, what: Unreadable) -> bool {
    let world = calm(config(5));
    if order > 0 {
        world.allow_order(order);
    }
    let mut p = swapped(&world, 8);
    let object = world.on(CPU0, || Shmem::new(&world.system, 4 * 4096, None)).expect("an object");
    (0..4).for_each(|index| write_word(&world, &object, index));
    world.on(CPU0, || world.system.reclaim_pages(200));
    let in_swap = object.nr_pages().1;
    let reads = IoFault::any().of(BlockOp::Read);
    world.machine.fail_io(match what {
        Unreadable::Read(n) => reads.nth(n),
        Unreadable::Slot(slot) => reads.at(8 * slot..8 * slot + 1),
    });
    let failures = world.machine.disk_counts(SWAP).failures;
    assert_eq!(swap_off(&world), Ok(()), "{what:?}");
    let is_hit = world.machine.disk_counts(SWAP).failures > failures;
    world.machine.clear_io_faults();
    assert_eq!(world.system.swap_slots(), (0, 0));
    world.audit();
    // One page at most: of a request that fails, each page is read on its own, and of a large folio.
    let lost: Vec<_> =
        pages(8).pages().filter(|page| p.load(page.base()) == Err(BUS_ERROR)).collect();
    let read = |index| world.on(CPU0, || object.read_page(index, |frame| frame.is_some()));
    let gone: Vec<_> = (0..4).filter(|index| read(*index) == Err(ShmemError::Unreadable)).collect();
    let nr_lost = lost.len() + gone.len();
    assert_eq!(nr_lost as u64, world.count(MmEvent::SwpInError));
    assert!(nr_lost <= usize::from(is_hit), "{lost:?} {gone:?}");
    let is_bad = matches!(what, Unreadable::Slot(_));
    assert!(!is_bad || nr_lost == usize::from(is_hit), "{what:?}: {lost:?} {gone:?} of {in_swap}");
    for page in pages(8).pages().filter(|page| !lost.contains(page)) {
        p.verify(page);
    }
    // A lost page is lost for a child, too; given up, it is a new page.
    let child = p.fork(CPU1);
    lost.iter().for_each(|page| assert_eq!(child.load(page.base()), Err(BUS_ERROR)));
    child.exit();
    lost.iter().for_each(|page| p.advise(PageRange::of_len(*page, 1), Advice::DontNeed));
    p.verify_all();
    world.on(CPU0, || object.truncate(0)).expect("truncate");
    assert_eq!(object.nr_pages(), (0, 0));
    world.on(CPU0, || drop(object));
    end(&world, p);
    is_hit
}

fn write_word(world: &World, object: &Arc<Shmem<hal::sim::SimMachine>>, index: u64) {
    use hal::PhysMem;
    let write = |frame| world.machine.store_word(frame, 0, index + 1);
    world.on(CPU0, || object.write_page(index, write)).expect("a page");
}

#[test]
fn s002_r19_each_read_of_swapoff_fails_once_and_one_page_at_most_is_lost() {
    for order in [0, 2] {
        let mut n = 1;
        while unreadable_at(order, Unreadable::Read(n)) {
            n += 1;
        }
        assert!(n > 2, "order {order}: swapoff reads");
    }
}

#[test]
fn s002_r19_of_each_slot_that_cannot_be_read_just_that_page_is_lost() {
    for order in [0, 2] {
        let nr_hit = (1..128).filter(|slot| unreadable_at(order, Unreadable::Slot(*slot))).count();
        assert_eq!(nr_hit, 12, "order {order}: slots in use");
    }
}

#[test]
fn s002_r19_a_disk_that_is_gone_ends_swapoff_all_the_same() {
    // From the n-th request on, everything fails.
    for n in 1..20 {
        let world = calm(config(6));
        let mut p = with_pages(&world, 8);
        world.machine.fail_io(IoFault::any().since(n));
        p.advise(pages(8), Advice::PageOut);
        let kept = pages(8).pages().filter(|page| !p.is_swapped(*page));
        kept.collect::<Vec<_>>().into_iter().for_each(|page| p.verify(page));
        assert_eq!(swap_off(&world), Ok(()), "request {n}");
        assert_eq!(world.system.swap_slots(), (0, 0));
        for page in pages(8).pages() {
            if p.load(page.base()) != Err(BUS_ERROR) {
                p.verify(page);
            }
        }
        end(&world, p);
    }
}

/// Every request of a life in swap fails once.
#[test]
fn each_request_from_swapon_to_swapoff_fails_once_and_nothing_else_is_hurt() {
    let mut n = 1;
    loop {
        let world = calm(config(7));
        assert_eq!(swap_off(&world), Ok(()));
        world.machine.fail_io(IoFault::any().nth(n));
        let on = || world.on(CPU0, || world.system.swap_on(SWAP, None));
        let mut result = on();
        if result == Err(SwapOnError::Unreadable) {
            result = on();
        }
        assert_eq!(result, Ok(()));
        let mut p = with_pages(&world, 6);
        p.advise(pages(6), Advice::PageOut);
        // A read that fails is a fault that fails, and the next one goes through.
        for n in 0..3 {
            if p.load_tag(page(n).start.base()) == Err(BUS_ERROR) {
                p.verify(page(n).start);
            }
        }
        p.advise(pages(6), Advice::PageOut);
        assert_eq!(swap_off(&world), Ok(()), "request {n}");
        let failures = world.machine.disk_counts(SWAP).failures;
        world.machine.clear_io_faults();
        let lost =
            pages(6).pages().filter(|page| p.load_tag(page.base()) == Err(BUS_ERROR)).count();
        assert!(lost <= 1, "request {n}: {lost} pages");
        for page in pages(6).pages() {
            if p.load_tag(page.base()) != Err(BUS_ERROR) {
                p.verify(page);
            }
        }
        end(&world, p);
        if failures == 0 {
            break;
        }
        n += 1;
    }
    assert!(n > 10, "{n} requests");
}
