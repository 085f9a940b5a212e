// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests where mappings go that have no wish of their own.

mod world;

use base::{Order, PageRange, Vpn};
use hal::sim::SimMachine;
use mm::{AreaFlags, MapRequest, Mm, Placement, RemapRequest};
use world::process::RW;
use world::{CPU0, World, config};

const BLOCK: u64 = Order::BLOCK.nr_pages() as u64;
const ANYWHERE: Placement = Placement::Hint(None);

fn in_process(test: fn(&Mm<SimMachine>)) {
    let world = World::new(config(0));
    let p = world.process(CPU0);
    world.on(CPU0, || test(&p.mm));
    p.exit();
    world.audit();
}

fn map(mm: &Mm<SimMachine>, at: Placement, nr_pages: u64) -> PageRange {
    let start = mm.map(MapRequest::anon(at, nr_pages, RW)).expect("room");
    PageRange::of_len(start, nr_pages)
}

#[test]
fn private_memory_of_whole_blocks_is_aligned() {
    in_process(|mm| {
        // Keeps what comes below from being aligned by itself.
        let above = map(mm, ANYWHERE, 3);
        let blocks = map(mm, ANYWHERE, 2 * BLOCK);
        assert_eq!(blocks.end, above.start.align_down(BLOCK), "as high as it can be");
        let more = map(mm, Placement::Hint(None), 2 * BLOCK + 1);
        assert_eq!(more.end, blocks.start, "no whole blocks: no gap above it");
        let next = map(mm, ANYWHERE, BLOCK);
        assert_eq!(next.end, more.start.align_down(BLOCK));
    });
}

#[test]
fn without_room_for_alignment_blocks_go_where_they_fit() {
    in_process(|mm| {
        // Pages 17 to 1022 are free; an aligned block would need 512 to 1023.
        let free = PageRange::new(Vpn::new(17), Vpn::new(2 * BLOCK - 1));
        map(mm, Placement::Fixed(Vpn::new(16)), 1);
        map(mm, Placement::Fixed(free.end), Vpn::END.get() - free.end.get());
        assert_eq!(map(mm, ANYWHERE, BLOCK).end, free.end);
    });
}

#[test]
fn a_hint_that_cannot_be_had_is_not_aligned() {
    in_process(|mm| {
        let above = map(mm, ANYWHERE, 3);
        let instead = map(mm, Placement::Hint(Some(above.start)), BLOCK);
        assert_eq!(instead.end, above.start, "as on Linux: only those without a wish");
    });
}

#[test]
fn memory_that_moves_keeps_its_place_in_a_block() {
    in_process(|mm| {
        let above = map(mm, ANYWHERE, BLOCK);
        for skew in [0, 1, 16, BLOCK - 1] {
            let old = map(mm, Placement::Fixed(Vpn::new(0x10_0000 + skew)), BLOCK);
            // In the way of growing in place.
            let wall = MapRequest::anon(Placement::Fixed(old.end), 1, AreaFlags::READ);
            let wall = PageRange::of_len(mm.map(wall).expect("room"), 1);
            let (new_nr_pages, may_move) = (2 * BLOCK, true);
            let request = RemapRequest { old, new_nr_pages, may_move, fixed: None };
            let new = mm.remap(request).expect("room");
            assert_ne!(new, old.start);
            assert_eq!(new.get() % BLOCK, skew);
            assert!(new.add(new_nr_pages) <= above.start, "nothing else is there");
            mm.unmap(PageRange::of_len(new, new_nr_pages)).expect("mapped");
            mm.unmap(wall).expect("mapped");
        }
    });
}
