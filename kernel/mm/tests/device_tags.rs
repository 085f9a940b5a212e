// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the tags of swapped pages on the disk: nothing is lost, and no memory is spent.

mod world;

use base::PageRange;
use hal::BlockOp;
use hal::sim::{IoFault, explore};
use mm::{FaultError, MmEvent};
use world::actor::Actor;
use world::folios::{nr_pages, roomy, with_tags_on_device};
use world::process::{AccessError, Process, TAGGED};
use world::{World, config};

/// Slots whose tags are on one page of the disk.
const SLOTS: u64 = 32;

/// What a load says of a page that is lost.
const LOST: AccessError = AccessError::Fault(FaultError::NoContent);

/// Makes a folio in which every granule has a tag of its own.
fn new_folio(p: &mut Process, order: u8, seed: u64) -> PageRange {
    let pages = p.new_folios(order, 1, TAGGED);
    pages.pages().for_each(|page| p.set_all_tags(page, seed ^ page.get()));
    pages
}

fn assert_tags(p: &Process, pages: PageRange, seed: u64) {
    pages.pages().for_each(|page| p.assert_all_tags(page, seed ^ page.get()));
}

fn tag_requests(world: &World) -> u64 {
    world.count(MmEvent::SwapTagRequest)
}

#[test]
fn tags_come_back_and_took_no_memory() {
    for order in [0, 2, 4, 9] {
        explore(0..3, move |seed| {
            let world = with_tags_on_device(World::new(roomy(seed)));
            world.allow_order(order);
            let mut p = world.tagged_process();
            let pages = new_folio(&mut p, order, seed);
            let before = world.system.swap_metadata_frames();
            p.page_out(pages);
            assert_eq!(world.count(MmEvent::MteTagDevice), nr_pages(order));
            assert_eq!(world.system.tag_bytes_stored(), 0);
            assert_eq!(world.system.swap_metadata_frames(), before + 1, "slot words, nothing else");
            // Nobody else has tags on these tag pages: nothing is read before they are written.
            let nr_tag_pages = nr_pages(order).div_ceil(SLOTS);
            assert_eq!(tag_requests(&world), nr_tag_pages);
            assert_tags(&p, pages, seed);
            assert_eq!(tag_requests(&world), 2 * nr_tag_pages);
            p.exit();
            world.audit();
        });
    }
}

#[test]
fn folios_that_share_a_tag_page_leave_each_other_alone() {
    explore(0..6, |seed| {
        let world = with_tags_on_device(World::new(roomy(seed)));
        world.allow_order(2);
        let mut p = world.tagged_process();
        let folios: Vec<_> = (0..24).map(|n| new_folio(&mut p, 2, n)).collect();
        for round in 0..3 {
            for (n, pages) in (0..).zip(&folios) {
                if (n + round) % 3 == 0 {
                    pages
                        .pages()
                        .for_each(|page| p.set_all_tags(page, (round << 32 | n) ^ page.get()));
                    p.page_out(*pages);
                    assert_tags(&p, *pages, round << 32 | n);
                    pages.pages().for_each(|page| p.set_all_tags(page, n ^ page.get()));
                }
                p.page_out(*pages);
            }
            for (n, pages) in (0..).zip(&folios) {
                assert_tags(&p, *pages, n);
            }
        }
        world.audit();
    });
}

#[test]
fn uniform_tags_need_no_request() {
    explore(0..4, |seed| {
        let world = with_tags_on_device(World::new(roomy(seed)));
        let mut p = world.tagged_process();
        let pages = p.map_folios(4, 1, TAGGED);
        pages.pages().for_each(|page| p.write(page, 1, page.get()));
        p.page_out(pages);
        p.verify_all();
        assert_eq!(world.count(MmEvent::MteTagUniform), 16);
        assert_eq!(tag_requests(&world), 0);
    });
}

#[test]
fn tags_that_cannot_be_written_keep_the_folio_in_memory() {
    for order in [0, 2, 9] {
        explore(0..3, move |seed| {
            let world = with_tags_on_device(World::new(roomy(seed)));
            world.allow_order(order);
            let mut p = world.tagged_process();
            let pages = new_folio(&mut p, order, seed);
            world.machine.fail_io(IoFault::any().of(BlockOp::Write).nth(1));
            p.page_out(pages);
            assert_eq!(world.count(MmEvent::PswpOut), 0);
            assert_eq!(world.count(MmEvent::SwpOutError), nr_pages(order));
            assert_tags(&p, pages, seed);
            // It leaves its slots for others, and those that are bad are not used again.
            p.page_out(pages);
            assert_eq!(world.count(MmEvent::PswpOut), nr_pages(order));
            assert_eq!(world.count(MmEvent::SwapSlotRetired), nr_pages(order).min(SLOTS));
            assert_tags(&p, pages, seed);
            p.exit();
            world.audit();
        });
    }
}

#[test]
fn tags_that_cannot_be_read_make_their_pages_lost() {
    explore(0..4, |seed| {
        let world = with_tags_on_device(World::new(roomy(seed)));
        world.allow_order(2);
        let mut p = world.tagged_process();
        let pages = new_folio(&mut p, 2, seed);
        p.page_out(pages);
        let tag_pages = world.system.swap_slots().0 * 8;
        world.machine.fail_io(IoFault::any().of(BlockOp::Read).at(tag_pages..u64::MAX));
        for page in pages.pages() {
            assert_eq!(p.load(page.base()), Err(LOST));
        }
        assert_eq!(world.count(MmEvent::SwpInError), 4);
        world.machine.clear_io_faults();
        assert_tags(&p, pages, seed);
        p.exit();
        world.audit();
    });
}

#[test]
fn the_area_is_smaller_by_its_tag_pages() {
    explore(0..2, |seed| {
        let world = with_tags_on_device(World::new(roomy(seed)));
        let nr_slots = 16 * 256 - (16 * 256_u64).div_ceil(SLOTS + 1) - 1;
        assert_eq!(world.system.swap_slots(), (nr_slots, nr_slots));
    });
}

#[test]
fn a_process_under_pressure_keeps_bytes_and_tags() {
    explore(0..40, |seed| {
        let world = with_tags_on_device(World::new(config(seed)));
        let mut actor = Actor::new(world.tagged_process(), seed);
        for _ in 0..300 {
            actor.step();
        }
        actor.p.verify_all();
        assert_eq!(world.system.tag_bytes_stored(), 0);
        world.audit();
    });
}
