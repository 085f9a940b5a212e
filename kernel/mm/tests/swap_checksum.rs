// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets a disk give back other bytes than it was given: with checksums nobody sees them.

mod world;

use base::{PageRange, Vpn};
use hal::BlockOp;
use hal::sim::{DiskCounts, IoFault, explore};
use mm::{FaultError, MmEvent, PageView};
use world::folios::{nr_pages, roomy};
use world::process::{AccessError, Process, TAGGED};
use world::{CPU0, SWAP, World};

const SECTORS: u64 = 8;

/// What a load says of a page that is lost.
const LOST: AccessError = AccessError::Fault(FaultError::NoContent);

/// Returns a machine whose swap area has checksums, and one folio on it.
fn swapped(seed: u64, order: u8, has_checksums: bool) -> (World, Process, PageRange) {
    let world = World::new(roomy(seed));
    world.allow_order(order);
    if has_checksums {
        world.on(CPU0, || world.system.swap_off(SWAP, || false)).expect("nothing is on it");
        world.system.set_swap_checksums();
        world.swap_on_again();
    }
    let mut p = world.tagged_process();
    let pages = p.new_folios(order, 1, TAGGED);
    p.page_out(pages);
    (world, p, pages)
}

fn sector_of(p: &Process, page: Vpn) -> u64 {
    match p.page_view(page) {
        PageView::Swapped(entry) => u64::from(entry.slot) * SECTORS,
        view => panic!("{page:?} is {view:?}"),
    }
}

/// Changes one bit of what the disk has of a page.
fn flip_bit(world: &World, p: &Process, page: Vpn) {
    let sector = sector_of(p, page) + SECTORS - 1;
    let mut bytes = [0; 512];
    world.machine.read_medium(SWAP, sector, &mut bytes);
    bytes[511] ^= 0x80;
    world.machine.write_medium(SWAP, sector, &bytes);
}

#[test]
fn a_changed_page_is_lost_and_its_neighbours_are_not() {
    for (order, index) in [(0, 0), (2, 0), (2, 3), (4, 7), (9, 511)] {
        explore(0..3, move |seed| {
            let (world, mut p, pages) = swapped(seed, order, true);
            let before = world.footprint();
            let bad = pages.start.add(index);
            flip_bit(&world, &p, bad);
            assert_eq!(p.load(bad.base()), Err(LOST));
            // The folio as a whole, and the page alone.
            let nr_reads = 1 + u64::from(order > 0);
            assert_eq!(world.count(MmEvent::SwapChecksumError), nr_reads);
            assert_eq!(world.count(MmEvent::SwpInError), 1);
            for page in pages.pages().filter(|page| *page != bad).step_by(1 + order as usize * 3) {
                p.verify(page);
            }
            assert_eq!(p.load(bad.base()), Err(LOST), "it stays lost");
            p.unmap(PageRange::of_len(bad, 1));
            p.verify_all();
            p.exit();
            world.audit();
            assert_eq!(world.footprint().swap_free, before.swap_free + nr_pages(order));
        });
    }
}

#[test]
fn pages_written_to_each_others_place_are_both_lost() {
    explore(0..4, |seed| {
        let (world, mut p, pages) = swapped(seed, 2, true);
        let (first, second) = (sector_of(&p, pages.start), sector_of(&p, pages.start.add(1)));
        let (mut one, mut other) = ([0; 4096], [0; 4096]);
        world.machine.read_medium(SWAP, first, &mut one);
        world.machine.read_medium(SWAP, second, &mut other);
        world.machine.write_medium(SWAP, first, &other);
        world.machine.write_medium(SWAP, second, &one);
        assert_eq!(p.load(pages.start.base()), Err(LOST));
        assert_eq!(p.load(pages.start.add(1).base()), Err(LOST));
        p.verify(pages.start.add(2));
        p.unmap(PageRange::of_len(pages.start, 2));
        p.verify_all();
    });
}

#[test]
fn what_was_written_last_is_what_counts() {
    for order in [0, 4] {
        explore(0..4, move |seed| {
            let (world, mut p, pages) = swapped(seed, order, true);
            for round in 0..4 {
                p.verify_all();
                pages.pages().for_each(|page| p.write(page, 3, round << 32 | page.get()));
                p.page_out(pages);
            }
            p.verify_all();
            assert_eq!(world.count(MmEvent::SwapChecksumError), 0);
            p.exit();
            world.audit();
        });
    }
}

/// Pages whose words differ from round to round, with the `n`-th request torn or short and reported as done.
/// Returns whether there was one, and how many pages were lost.
fn cut_short(order: u8, op: BlockOp, n: u64) -> (bool, usize) {
    let (world, mut p, pages) = swapped(5, order, true);
    p.verify_all();
    for page in pages.pages() {
        (0..4).for_each(|cell| p.write(page, cell, page.get() << 16 | cell as u64));
    }
    let count = || world.machine.disk_counts(SWAP);
    let nr = |counts: DiskCounts| if op == BlockOp::Read { counts.reads } else { counts.writes };
    let before = nr(count());
    world.machine.fail_io(IoFault::any().of(op).nth(n).silently());
    p.page_out(pages);
    // A frame that still has what belongs there would hide what was not read.
    let mut q = world.process(CPU0);
    let others = q.map(64, TAGGED);
    others.pages().for_each(|page| q.write(page, 3, !page.get()));
    q.exit();
    let is_lost = |page: &Vpn| p.load(page.base()) == Err(LOST);
    let lost: Vec<Vpn> = pages.pages().filter(is_lost).collect();
    let is_hit = nr(count()) - before >= n;
    world.machine.clear_io_faults();
    pages.pages().filter(|page| !lost.contains(page)).for_each(|page| p.verify(page));
    p.exit();
    world.audit();
    (is_hit, lost.len())
}

#[test]
fn a_torn_write_that_the_disk_reports_as_done_is_a_bus_error_and_never_wrong_bytes() {
    for order in [0, 2, 4] {
        let mut n = 1;
        while let (true, nr_lost) = cut_short(order, BlockOp::Write, n) {
            assert!(nr_lost > 0, "order {order}, write {n}");
            n += 1;
        }
        assert_eq!(n, 2, "one write for a folio");
    }
}

#[test]
fn a_short_read_that_the_disk_reports_as_done_is_never_wrong_bytes() {
    for order in [0, 2, 4] {
        let mut n = 1;
        while let (true, nr_lost) = cut_short(order, BlockOp::Read, n) {
            // Of a large folio the pages are read again, each on its own.
            assert_eq!(nr_lost, usize::from(order == 0), "order {order}, read {n}");
            n += 1;
        }
        assert!(n > 1, "order {order}: it is read");
    }
}

#[test]
fn without_checksums_nobody_notices() {
    explore(0..2, |seed| {
        let (world, p, pages) = swapped(seed, 0, false);
        flip_bit(&world, &p, pages.start);
        assert!(p.load(pages.start.base()).is_ok());
        assert_eq!(world.count(MmEvent::SwapChecksumError), 0);
    });
}
