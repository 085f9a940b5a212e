// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests where saved tags are kept: a bin for each size of records, with its counter and
//! its bytes in use; records that replace others; and that a folio's tags are saved all or not at all.

mod world;

use base::{Order, PageRange, Vpn};
use hal::sim::{Adversary, SimConfig};
use mm::{Advice, MmEvent};
use world::process::{Process, TAGGED};
use world::{CPU0, World, config};

/// Granules of objects, from the first granule on, whose records fill each bin: 0, 8, 16, 32, 64, 128
/// bytes.
const OBJECTS: [u64; 6] = [256, 16, 8, 4, 2, 1];

const BINS: [MmEvent; 6] = [
    MmEvent::MteTagUniform,
    MmEvent::MteTagInline,
    MmEvent::MteTag16,
    MmEvent::MteTag32,
    MmEvent::MteTag64,
    MmEvent::MteTagRaw,
];

fn calm_world() -> World {
    World::new(SimConfig { adversary: Adversary::CALM, ..config(0) })
}

/// Tags a page as objects of `size` granules, whose tags `seed` decides.
fn tag_objects(p: &Process, page: Vpn, size: u64, seed: u64) {
    for granule in 0..256 {
        let object = granule / size;
        let tag = (object * 5 + object / 16 * 3 + object / 64 + seed) % 16;
        p.store_tag(page.base().wrapping_add(granule * 16), tag as u8).unwrap();
    }
}

fn assert_objects(p: &Process, page: Vpn, size: u64, seed: u64) {
    for granule in 0..256 {
        let object = granule / size;
        let tag = (object * 5 + object / 16 * 3 + object / 64 + seed) % 16;
        let found = p.load_tag(page.base().wrapping_add(granule * 16));
        assert_eq!(found, Ok(tag as u8), "granule {granule} of {page:?}");
    }
}

fn page_out(p: &mut Process, pages: PageRange) {
    p.advise(pages, Advice::PageOut);
    pages.pages().for_each(|page| assert!(p.is_swapped(page), "{page:?} was paged out"));
}

#[test]
fn bins_are_counted_and_sum_to_the_pages_saved() {
    let world = calm_world();
    let mut p = world.process(CPU0);
    let pages = p.map(21, TAGGED);
    // One page for the first bin, two for the second...
    let bin_of = (0..OBJECTS.len()).flat_map(|bin| std::iter::repeat_n(bin, bin + 1));
    let sizes: Vec<_> = pages.pages().zip(bin_of.map(|bin| OBJECTS[bin])).collect();
    sizes.iter().for_each(|(page, size)| tag_objects(&p, *page, *size, 3));
    page_out(&mut p, pages);
    assert_eq!(BINS.map(|bin| world.count(bin)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(BINS.map(|bin| world.count(bin)).iter().sum::<u64>(), 21);
    assert_eq!(world.count(MmEvent::MteTagsSaved), 21);
    let bytes = [2 * 8, 3 * 16, 4 * 32, 5 * 64, 6 * 128];
    assert_eq!(world.system.tag_bytes_by_size(), bytes);
    assert_eq!(world.system.tag_bytes_stored(), bytes.iter().sum::<u64>());
    world.audit();
    sizes.iter().for_each(|(page, size)| assert_objects(&p, *page, *size, 3));
    p.exit();
    assert_eq!(world.system.tag_bytes_by_size(), [0; 5]);
    world.audit();
}

#[test]
fn a_page_saved_again_has_a_record_of_its_new_size_only() {
    let world = calm_world();
    let before = world.footprint();
    let mut p = world.process(CPU0);
    let pages = p.map(1, TAGGED);
    for (from, to) in (0..36).map(|n| (OBJECTS[n / 6], OBJECTS[n % 6])) {
        for (size, seed) in [(from, 1), (to, 8)] {
            tag_objects(&p, pages.start, size, seed);
            page_out(&mut p, pages);
            assert_eq!(world.system.tag_bytes_stored() * size, if size == 256 { 0 } else { 128 });
            world.audit();
            assert_objects(&p, pages.start, size, seed);
        }
    }
    p.exit();
    world.audit();
    assert_eq!(world.footprint(), before);
}

#[test]
fn tags_of_a_folio_are_saved_all_or_not_at_all() {
    let mut nth = 1;
    loop {
        let world = calm_world();
        world.allow_order(Order::CONT.get());
        let before = world.footprint();
        let mut p = world.process(CPU0);
        let pages = p.map(16, TAGGED);
        let sizes: Vec<_> = pages.pages().zip(OBJECTS.into_iter().cycle()).collect();
        for (page, size) in &sizes {
            p.write(*page, 0, 1);
            tag_objects(&p, *page, *size, 5);
        }
        let asked = world.machine.asked_allocs();
        world.machine.fail_nth_alloc(nth);
        p.advise(pages, Advice::PageOut);
        let is_past_the_last = world.machine.asked_allocs() < asked + nth;
        world.machine.fail_allocs(0);
        world.audit();
        let is_written = world.count(MmEvent::PswpOut) == 16;
        assert!(is_written == is_past_the_last, "allocation {nth}");
        if !is_written {
            assert_eq!(world.count(MmEvent::PswpOut), 0);
            assert_eq!(world.system.tag_bytes_stored(), 0, "allocation {nth}");
            // The folio is still there: what is unmapped of it comes back, and all of it goes.
            sizes.iter().for_each(|(page, size)| assert_objects(&p, *page, *size, 5));
            page_out(&mut p, pages);
        }
        sizes.iter().for_each(|(page, size)| assert_objects(&p, *page, *size, 5));
        p.exit();
        world.audit();
        assert_eq!(world.footprint(), before);
        if is_past_the_last {
            break;
        }
        nth += 1;
    }
    assert!(nth > 5, "{nth}: table frames and one frame for each size of records");
}
