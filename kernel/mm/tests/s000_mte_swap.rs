// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests how tags behave across swap: the rows of section 000.3 of the facts this kernel
//! is built on ("MTE tags and large folios across swap"), for pages of order 0.
//!
//! Each test is named after its row. What hardware must judge is tested in the guest as well.

mod world;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, IoFault, SimConfig, explore};
use hal::{BlockOp, TagCheckMode};
use mm::{Advice, AreaFlags, FaultError, MmEvent, Prot, ProtectError};
use world::process::{AccessError, Process, RW, TAGGED, with_tag};
use world::{CPU0, CPU1, Dice, SWAP, World, config};

/// Runs `body` on machines with every combination of hardware access and dirty state, and a few
/// seeds each.
fn on_every_machine(body: fn(World)) {
    explore(0..12, move |seed| {
        let hw_access_flag = seed % 3 != 0;
        let hw_dirty = seed % 3 == 2;
        body(World::new(SimConfig { hw_access_flag, hw_dirty, ..config(seed) }));
    });
}

fn tagged_process(world: &World) -> Process {
    let p = world.process(CPU0);
    p.check_tags(TagCheckMode::Sync);
    p
}

fn set_all_tags(p: &Process, page: Vpn, seed: u64) {
    let mut dice = Dice::new(seed);
    for granule in 0..256 {
        let tag = dice.roll(16) as u8;
        p.store_tag(page.base().wrapping_add(granule * 16), tag).unwrap();
    }
}

fn assert_all_tags(p: &Process, page: Vpn, seed: u64) {
    let mut dice = Dice::new(seed);
    for granule in 0..256 {
        let tag = dice.roll(16) as u8;
        let at = page.base().wrapping_add(granule * 16);
        assert_eq!(p.load_tag(at), Ok(tag), "granule {granule} of {page:?}");
        assert!(p.load(with_tag(at, tag)).is_ok(), "granule {granule} with its tag");
    }
}

fn page_out(p: &mut Process, pages: PageRange) {
    p.advise(pages, Advice::PageOut);
    pages.pages().for_each(|page| assert!(p.is_swapped(page), "{page:?} was paged out"));
}

#[test]
fn s000_r01_all_256_tags_and_all_bytes_survive_swap() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(3, TAGGED);
        for (n, page) in pages.pages().enumerate() {
            // Bytes with tag 0, then the tags.
            for offset in (0..4096).step_by(8) {
                p.store(page.base().wrapping_add(offset), offset ^ n as u64 ^ 0xabcd).unwrap();
            }
            set_all_tags(&p, page, n as u64);
        }
        page_out(&mut p, pages);
        for (n, page) in pages.pages().enumerate() {
            assert_all_tags(&p, page, n as u64);
            for offset in (0..4096).step_by(8) {
                let at = page.base().wrapping_add(offset);
                let tag = p.load_tag(at).unwrap();
                assert_eq!(p.load(with_tag(at, tag)), Ok(offset ^ n as u64 ^ 0xabcd));
            }
        }
        world.audit();
    });
}

#[test]
fn s000_r03_zero_page_with_tags_survives_without_io() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(1, TAGGED);
        set_all_tags(&p, pages.start, 9);
        let before = world.machine.disk_counts(SWAP);
        page_out(&mut p, pages);
        assert_all_tags(&p, pages.start, 9);
        assert_eq!(world.machine.disk_counts(SWAP), before, "no I/O for a page of zeroes");
        assert_eq!(world.count(MmEvent::SwpOutZero), 1);
        assert_eq!(world.count(MmEvent::SwpInZero), 1);
    });
}

#[test]
fn s000_r04_page_never_tagged_stores_and_restores_nothing() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(4, RW);
        pages.pages().for_each(|page| p.write(page, 1, 77));
        page_out(&mut p, pages);
        assert_eq!(world.system.tag_bytes_stored(), 0);
        p.verify_all();
        assert_eq!(world.count(MmEvent::MteTagsSaved), 0);
        assert_eq!(world.count(MmEvent::MteTagsRestored), 0);
    });
}

#[test]
fn s000_r10_tag_only_change_after_swap_in_is_swapped_out_again() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(1, TAGGED);
        p.write(pages.start, 0, 1);
        page_out(&mut p, pages);
        // A load maps the page read-only and clean: the tag store below has to fault.
        p.verify(pages.start);
        let faults = world.count(MmEvent::PgFault);
        p.retag(pages.start, 3, 0xc);
        assert!(world.count(MmEvent::PgFault) > faults, "a store of a tag is a store");
        page_out(&mut p, pages);
        p.verify(pages.start);
    });
}

#[test]
fn s000_r11_saving_again_replaces_what_was_stored() {
    /// Runs of tags in the page: a record of 64 bytes.
    const RUNS: u64 = 40;
    let world = World::new(SimConfig { adversary: Adversary::CALM, ..config(0) });
    let mut p = tagged_process(&world);
    let page = p.map(1, TAGGED).start;
    // Neighbouring runs differ in the lowest bit, so changing one never merges two.
    let retag = |p: &Process, run: u64, variant: u64| {
        for granule in (0..256).filter(|granule| granule * RUNS / 256 == run) {
            let tag = (run % 2 + variant % 8 * 2) as u8;
            p.store_tag(page.base().wrapping_add(granule * 16), tag).unwrap();
        }
    };
    p.write(page, 0, 1);
    (0..RUNS).for_each(|run| retag(&p, run, 0));
    page_out(&mut p, PageRange::of_len(page, 1));
    let stored = (world.system.tag_bytes_stored(), world.footprint().swap_metadata);
    assert_eq!(stored.0, 64);
    for cycle in 0..10_000 {
        retag(&p, cycle % RUNS, cycle / RUNS + 1);
        page_out(&mut p, PageRange::of_len(page, 1));
        let now = (world.system.tag_bytes_stored(), world.footprint().swap_metadata);
        assert_eq!(now, stored, "cycle {cycle}: storage does not grow");
    }
    assert_eq!(world.count(MmEvent::MteTag64), 10_001);
    world.audit();
}

#[test]
fn s000_r11_dropped_from_the_cache_unread_still_has_its_tags() {
    on_every_machine(|world| {
        let mut a = tagged_process(&world);
        let pages = a.map(1, TAGGED);
        a.write(pages.start, 0, 5);
        set_all_tags(&a, pages.start, 3);
        page_out(&mut a, pages);
        // A second user reads the page into the cache and goes; it is dropped again.
        let mut b = a.fork(CPU1);
        b.check_tags(TagCheckMode::Sync);
        assert_all_tags(&b, pages.start, 3);
        page_out(&mut b, pages);
        b.exit();
        assert_all_tags(&a, pages.start, 3);
        assert_eq!(world.count(MmEvent::MteTagsSaved), 1, "a clean page is not saved again");
        assert_eq!(world.count(MmEvent::MteTagsRestored), 2, "once for each time it was read");
        world.audit();
    });
}

#[test]
fn s000_r12_tag_storage_goes_with_munmap_swapoff_and_exit() {
    for end in 0..3 {
        explore(0..4, move |seed| {
            let world = World::new(config(seed));
            let before = world.footprint();
            let mut p = tagged_process(&world);
            let pages = p.map(20, TAGGED);
            for page in pages.pages() {
                p.write(page, 0, 1);
                set_all_tags(&p, page, page.get());
            }
            page_out(&mut p, pages);
            assert_eq!(world.system.tag_bytes_stored(), 20 * 128, "random tags are stored raw");
            match end {
                0 => p.unmap(pages),
                1 => p.call(|_| world.system.swap_off(SWAP, || false)).unwrap(),
                _ => {}
            }
            if end == 1 {
                assert_eq!(world.footprint().swap_metadata, 0);
                pages.pages().for_each(|page| assert_all_tags(&p, page, page.get()));
                world.on(CPU0, || world.system.swap_on(SWAP, None)).unwrap();
            }
            p.exit();
            world.audit();
            assert_eq!(world.footprint(), before);
        });
    }
}

#[test]
fn s000_r13_fork_with_swapped_tagged_pages() {
    on_every_machine(|world| {
        let mut a = tagged_process(&world);
        let pages = a.map(2, TAGGED);
        for page in pages.pages() {
            a.write(page, 0, page.get());
            a.retag(page, 2, 6);
        }
        page_out(&mut a, pages);
        let mut b = a.fork(CPU1);
        b.check_tags(TagCheckMode::Sync);
        a.verify_all();
        b.verify_all();
        // A store after swap-in copies the page, and its tags with it.
        let copied = world.count(MmEvent::MteTagsCopied);
        b.write(pages.start, 1, 99);
        assert_eq!(world.count(MmEvent::MteTagsCopied), copied + 1);
        a.verify_all();
        b.verify_all();
        world.audit();
    });
}

#[test]
fn s000_r15_unreadable_slot_kills_one_access_and_leaks_no_tags() {
    on_every_machine(|world| {
        let before = world.footprint();
        let mut p = tagged_process(&world);
        let pages = p.map(2, TAGGED);
        for page in pages.pages() {
            p.write(page, 0, 1);
            set_all_tags(&p, page, 4);
        }
        page_out(&mut p, pages);
        world.machine.fail_io(IoFault::any().of(BlockOp::Read));
        let lost = p.load(with_tag(pages.start.base(), 0));
        assert_eq!(lost, Err(AccessError::Fault(FaultError::NoContent)));
        world.audit();
        assert_eq!(world.count(MmEvent::SwpInError), 1);
        assert_eq!(world.count(MmEvent::MteTagsRestored), 0);
        assert_eq!(world.system.tag_bytes_stored(), 256, "the slots still have them");
        // The disk recovers: so does the page, and its neighbour was never touched.
        world.machine.clear_io_faults();
        assert_all_tags(&p, pages.start, 4);
        assert_all_tags(&p, pages.start.add(1), 4);
        // A page that replaces a lost one has no tags of its former self.
        page_out(&mut p, pages);
        world.machine.fail_io(IoFault::any().of(BlockOp::Read));
        assert!(p.load(pages.start.base()).is_err());
        p.advise(pages, Advice::DontNeed);
        p.verify_all();
        p.exit();
        world.audit();
        assert_eq!(world.footprint(), before);
    });
}

#[test]
fn s000_r17_wrong_tag_faults_after_restore_and_right_tag_does_not() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(1, TAGGED);
        p.retag(pages.start, 0, 9);
        p.write(pages.start, 0, 5);
        page_out(&mut p, pages);
        let base = pages.start.base();
        assert_eq!(p.load(with_tag(base, 8)), Err(AccessError::TagCheck));
        assert_eq!(p.load(with_tag(base, 9)), Ok(5));
        assert_eq!(p.store(with_tag(base, 0), 6), Err(AccessError::TagCheck));
        assert_eq!(p.load(with_tag(base, 9)), Ok(5), "the store did not go through");
    });
}

#[test]
fn s000_r18_tagging_is_never_taken_away_and_not_given_to_what_cannot_have_it() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(3, TAGGED);
        p.retag(pages.start, 0, 3);
        // mprotect without PROT_MTE: succeeds, changes the rights only.
        p.protect(pages, Prot::READ, false);
        p.protect(pages, Prot::READ | Prot::WRITE, false);
        let area = p.call(|mm| mm.area_view(pages.start)).unwrap();
        assert!(area.flags.contains(AreaFlags::TAGGED));
        p.verify_all();
        let plain = AreaFlags::READ | AreaFlags::WRITE;
        let not_eligible = p.map(1, plain);
        let denied = p.call(|mm| mm.protect(not_eligible, Prot::READ, true));
        assert_eq!(denied, Err(ProtectError::CannotTag));
    });
}

#[test]
fn s000_r18_mprotect_may_add_tags_to_pages_in_use() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(4, RW);
        pages.pages().for_each(|page| p.write(page, 1, page.get()));
        page_out(&mut p, PageRange::of_len(pages.start, 2));
        p.protect(pages, Prot::READ | Prot::WRITE, true);
        // Resident, swapped: all tags read zero, bytes are kept.
        p.verify_all();
        pages.pages().for_each(|page| p.retag(page, 1, 4));
        page_out(&mut p, pages);
        p.verify_all();
        world.audit();
    });
}

#[test]
fn s000_r19_discarded_pages_read_zero_bytes_and_zero_tags() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(6, TAGGED);
        for page in pages.pages() {
            p.write(page, 0, 1);
            set_all_tags(&p, page, 1);
        }
        // [ out | out, discarded | discarded | given up | in | in ]
        page_out(&mut p, PageRange::of_len(pages.start, 2));
        p.advise(PageRange::of_len(pages.start.add(1), 2), Advice::DontNeed);
        for page in [pages.start.add(1), pages.start.add(2)] {
            for granule in 0..256 {
                assert_eq!(p.load_tag(page.base().wrapping_add(granule * 16)), Ok(0));
            }
            assert_eq!(p.load(page.base()), Ok(0));
        }
        let given_up = PageRange::of_len(pages.start.add(3), 1);
        p.advise(given_up, Advice::Free);
        p.advise(given_up, Advice::PageOut);
        assert_eq!(world.count(MmEvent::PgLazyFreed), 1, "clean: dropped without I/O");
        assert_eq!(p.load_tag(given_up.start.base()), Ok(0));
        assert_eq!(p.load(given_up.start.base()), Ok(0));
        assert_all_tags(&p, pages.start, 1);
        assert_all_tags(&p, pages.start.add(4), 1);
        world.audit();
    });
}

#[test]
fn s000_r19_pageout_of_a_part_takes_that_part_only() {
    on_every_machine(|world| {
        let mut p = tagged_process(&world);
        let pages = p.map(5, TAGGED);
        pages.pages().for_each(|page| p.write(page, 0, 1));
        page_out(&mut p, PageRange::of_len(pages.start.add(1), 2));
        let out: Vec<_> = pages.pages().map(|page| p.is_swapped(page)).collect();
        assert_eq!(out, [false, true, true, false, false]);
    });
}
