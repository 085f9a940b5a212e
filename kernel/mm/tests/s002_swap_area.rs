// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts areas into service and takes them out again: with headers of all kinds, with too little
//! memory, with signals. Rows 6 to 8 of 002.3 of the facts.

mod world;

use std::cell::Cell;

use base::{PageRange, Vpn};
use hal::DiskId;
use hal::sim::{Adversary, IoFault, SimConfig};
use mm::{Advice, Placement, SwapOffError, SwapOnError};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, SWAP, World, config};

const START: Vpn = Vpn::new(0x10_0000);

fn calm(config: SimConfig) -> World {
    World::new(SimConfig { adversary: Adversary::CALM, ..config })
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

/// What `mkswap -L any -U 01234567-89ab-cdef-0123-456789abcdef` of util-linux 2.38.1 writes on a disk of
/// 64 pages of 4 KiB, but for zeroes.
const MKSWAP: [(usize, &[u8]); 4] = [
    (1024, &[1, 0, 0, 0, 63, 0, 0, 0]),
    (1036, b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"),
    (1052, b"any"),
    (4086, b"SWAPSPACE2"),
];

fn area_of(parts: &[(usize, &[u8])]) -> (World, Result<(), SwapOnError>) {
    let world = calm(SimConfig { disks: vec![8 * 64, 8 * 64], ..config(8) });
    assert_eq!(swap_off(&world), Ok(()));
    let mut pages = vec![0; 16 << 10];
    parts.iter().for_each(|(at, bytes)| pages[*at..at + bytes.len()].copy_from_slice(bytes));
    world.machine.write_medium(DiskId(1), 0, &pages);
    let result = world.on(CPU0, || world.system.swap_on(DiskId(1), None));
    (world, result)
}

#[test]
fn an_area_of_mkswap_is_taken() {
    let (world, result) = area_of(&MKSWAP);
    assert_eq!(result, Ok(()));
    assert_eq!(world.system.swap_areas()[0].nr_slots, 63);
    let mut p = with_pages(&world, 63);
    p.advise(pages(63), Advice::PageOut);
    assert_eq!(nr_used(&world), 63, "all but the header");
    p.verify_all();
    let off = world.on(CPU1, || world.system.swap_off(DiskId(1), || false));
    assert_eq!(off, Ok(()));
    p.verify_all();
}

#[test]
fn an_area_of_the_other_byte_order_is_taken_and_its_bad_pages_are_left_out() {
    let [_, uuid, label, signature] = MKSWAP;
    let words: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 63, 0, 0, 0, 2];
    let bad: &[u8] = &[0, 0, 0, 9, 0, 0, 0, 63];
    let (world, result) = area_of(&[(1024, words), uuid, label, (1536, bad), signature]);
    assert_eq!(result, Ok(()));
    assert_eq!(world.system.swap_areas()[0].nr_slots, 61);
    let (_, result) = area_of(&[(1024, &[0, 0, 0, 1, 0, 0, 0, 64]), signature]);
    assert_eq!(result, Err(SwapOnError::BadHeader), "larger than the disk");
}

/// `mkswap --pagesize 16384`: the signature is at the end of its page.
#[test]
fn an_area_of_larger_pages_is_refused() {
    let words: &[u8] = &[1, 0, 0, 0, 15, 0, 0, 0];
    let (_, result) = area_of(&[(1024, words), ((16 << 10) - 10, b"SWAPSPACE2")]);
    assert_eq!(result, Err(SwapOnError::BadHeader));
}
