// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts the requests by which folios go out: neighbours share one.

mod world;

use base::PageRange;
use hal::sim::explore;
use mm::MmEvent;
use world::folios::{nr_pages, roomy};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, World};

/// Pages `nr` folios out and returns by how many requests they went, and how many folios went with another.
fn requests_of(world: &World, p: &mut Process, pages: PageRange) -> (u64, u64) {
    let before = (world.requests(), world.count(MmEvent::SwapMerged));
    p.page_out(pages);
    (world.requests() - before.0, world.count(MmEvent::SwapMerged) - before.1)
}

#[test]
fn neighbours_go_out_by_one_request_of_32_folios_and_512_pages_at_most() {
    // Order, folios, requests.
    for (order, nr, expected) in
        [(0, 1, 1), (0, 32, 1), (0, 33, 2), (4, 16, 1), (5, 8, 1), (9, 2, 2)]
    {
        explore(0..2, move |seed| {
            let world = World::new(roomy(seed));
            world.allow_order(order);
            let mut p = world.tagged_process();
            let pages = p.new_folios(order, nr, TAGGED);
            assert_eq!(requests_of(&world, &mut p, pages), (expected, nr - expected));
            assert_eq!(world.count(MmEvent::PswpOut), nr * nr_pages(order));
            p.verify_all();
            p.exit();
            world.audit();
        });
    }
}

#[test]
fn a_page_of_zeroes_parts_its_neighbours() {
    explore(0..4, |seed| {
        let world = World::new(roomy(seed));
        let mut p = world.process(CPU0);
        let pages = p.map_folios(0, 5, RW);
        for (page, value) in pages.pages().zip([1, 2, 0, 3, 4]) {
            p.write(page, 0, value);
        }
        assert_eq!(requests_of(&world, &mut p, pages), (2, 2));
        assert_eq!(world.count(MmEvent::SwpOutZero), 1);
        p.verify_all();
        p.exit();
        world.audit();
    });
}
