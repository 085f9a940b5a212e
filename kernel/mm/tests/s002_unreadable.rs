// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file fails requests of a swap area, one after the other, and has it taken out of service: row 19 of
//! 002.3 of the facts.

mod world;

use std::sync::Arc;

use base::{PageRange, Vpn};
use hal::BlockOp;
use hal::sim::{Adversary, IoFault, SimConfig};
use mm::{Advice, FaultError, MmEvent, Placement, Shmem, ShmemError, SwapOffError, SwapOnError};
use world::folios::one;
use world::process::{AccessError, Process, TAGGED};
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

/// Pages out, each page by a request of its own.
fn page_out_singly(p: &mut Process, pages: PageRange) {
    pages.pages().for_each(|page| p.advise(one(page), Advice::PageOut));
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
        page_out_singly(&mut p, pages(6));
        // A read that fails is a fault that fails, and the next one goes through.
        for n in 0..3 {
            if p.load_tag(page(n).start.base()) == Err(BUS_ERROR) {
                p.verify(page(n).start);
            }
        }
        page_out_singly(&mut p, pages(6));
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
