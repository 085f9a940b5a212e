// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests how tags go out to swap and come back: rows of section 000.3 of the facts this
//! kernel is built on ("MTE tags and large folios across swap"), for folios of order 0, 2, 4 and 9.
//!
//! Each test is named after its row. The rows about where tags are kept meanwhile are in
//! `s000_tag_storage.rs`, those about parts of folios in `s000_partly_tagged.rs`, those about races
//! in `s000_scenarios.rs`. What hardware must judge is tested in the guest as well.

mod world;

use base::Vpn;
use hal::sim::{Adversary, IoFault};
use hal::{BlockOp, TagCheckMode};
use mm::{Advice, AreaFlags, FaultError, MmEvent, PageView, Prot, ProtectError, ThpStat};
use world::folios::{ORDERS, for_orders, for_orders_on, nr_pages, one};
use world::process::{AccessError, Process, RW, TAGGED, with_tag};
use world::{CPU1, SWAP, World};

/// Offsets of the words that are compared: all, of 2 MiB some.
fn words(order: u8) -> impl Iterator<Item = u64> {
    (0..4096).step_by(if order == 9 { 128 } else { 8 })
}

fn value_of(page: Vpn, offset: u64) -> u64 {
    offset ^ page.get() << 16 ^ 0xabcd
}

#[test]
fn s000_r01_all_256_tags_and_all_bytes_survive_swap() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let nr = if order == 0 { 3 } else { 1 };
        let pages = p.map_folios(order, nr, TAGGED);
        for page in pages.pages() {
            // Bytes with tag 0, then the tags.
            for offset in words(order) {
                p.store(page.base().wrapping_add(offset), value_of(page, offset)).unwrap();
            }
            p.set_all_tags(page, page.get());
        }
        p.page_out(pages);
        for page in pages.pages() {
            p.assert_all_tags(page, page.get());
            for offset in words(order) {
                let at = page.base().wrapping_add(offset);
                let tag = p.load_tag(at).unwrap();
                assert_eq!(p.load(with_tag(at, tag)), Ok(value_of(page, offset)), "{page:?}");
            }
        }
        assert_eq!(world.count(MmEvent::MteTagsSaved), pages.nr_pages());
        assert_eq!(world.count(MmEvent::MteTagsRestored), pages.nr_pages());
        assert_eq!(world.stat(ThpStat::Swpin, order), u64::from(order > 0));
        p.exit();
    });
}

#[test]
fn s000_r02_tagged_folio_goes_out_whole_to_one_aligned_run_with_one_request() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        // A single page out there first: the run of the folio is aligned all the same.
        let other = p.new_folios(0, 1, RW);
        p.page_out(other);
        let pages = p.new_folios(order, 1, TAGGED);
        let whole = |stat| world.stat(stat, order);
        let (requests, folios) = (world.requests(), whole(ThpStat::NrAnon));
        p.page_out(pages);
        let slots: Vec<_> = (p.views(pages).into_iter())
            .map(|view| match view {
                PageView::Swapped(entry) => entry.slot,
                view => panic!("{view:?} is out"),
            })
            .collect();
        let nr = nr_pages(order) as u32;
        assert!(slots[0].is_multiple_of(nr), "slot {} begins an aligned run", slots[0]);
        assert_eq!(slots, (slots[0]..slots[0] + nr).collect::<Vec<_>>());
        assert_eq!(world.requests(), requests + 1);
        assert_eq!(whole(ThpStat::Swpout), u64::from(order > 0));
        assert_eq!(world.count(MmEvent::ThpSwpOut), u64::from(order == 9));
        p.verify_all();
        assert_eq!(whole(ThpStat::NrAnon), folios, "the order before is the order after");
        assert_eq!((whole(ThpStat::Split), whole(ThpStat::SwpoutFallback)), (0, 0));
        p.exit();
    });
}

#[test]
fn s000_r03_zero_page_with_tags_survives_without_io() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.map_folios(order, 1, TAGGED);
        pages.pages().for_each(|page| p.set_all_tags(page, page.get()));
        let before = world.machine.disk_counts(SWAP);
        p.page_out(pages);
        pages.pages().for_each(|page| p.assert_all_tags(page, page.get()));
        assert_eq!(world.machine.disk_counts(SWAP), before, "no I/O for pages of zeroes");
        assert_eq!(world.count(MmEvent::SwpOutZero), nr_pages(order));
        assert_eq!(world.count(MmEvent::SwpInZero), nr_pages(order));
        // One byte in the last page: the folio is written, and comes back with its tags as before.
        let last = pages.end.sub(1);
        let tag = p.load_tag(last.base()).unwrap();
        p.store(with_tag(last.base(), tag), 1).unwrap();
        p.page_out(pages);
        pages.pages().for_each(|page| p.assert_all_tags(page, page.get()));
        assert_eq!(p.load(with_tag(last.base(), tag)), Ok(1));
        assert_eq!(world.requests(), 2);
        p.exit();
    });
}

#[test]
fn s000_r04_page_never_tagged_stores_and_restores_nothing() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 4 } else { 1 }, RW);
        p.page_out(pages);
        assert_eq!(world.system.tag_bytes_stored(), 0);
        p.verify_all();
        assert_eq!(world.count(MmEvent::MteTagsSaved), 0);
        assert_eq!(world.count(MmEvent::MteTagsRestored), 0);
        assert_eq!(world.count(MmEvent::MteTagsZeroed), 0);
        p.exit();
    });
}

#[test]
fn s000_r10_tag_only_change_after_swap_in_is_swapped_out_again() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.page_out(pages);
        // Loads map the pages read-only and clean: the tag store below has to fault.
        p.verify_all();
        let faults = world.count(MmEvent::PgFault);
        for page in [pages.start, pages.end.sub(1)] {
            p.retag(page, 3, 0xc);
            assert!(world.count(MmEvent::PgFault) > faults, "a store of a tag is a store");
        }
        p.page_out(pages);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s000_r13_fork_with_swapped_tagged_pages() {
    for_orders(&ORDERS, |world, order| {
        let mut a = world.tagged_process();
        let pages = a.new_folios(order, if order == 0 { 2 } else { 1 }, TAGGED);
        a.page_out(pages);
        let mut b = a.fork(CPU1);
        b.check_tags(TagCheckMode::Sync);
        a.verify_all();
        b.verify_all();
        assert_eq!(world.count(MmEvent::MteTagsRestored), pages.nr_pages(), "once for both");
        // A store after swap-in copies the page, and its tags with it.
        let copied = world.count(MmEvent::MteTagsCopied);
        b.write(pages.start, 1, 99);
        assert_eq!(world.count(MmEvent::MteTagsCopied), copied + 1);
        a.retag(pages.end.sub(1), 0, 9);
        assert_eq!(world.count(MmEvent::MteTagsCopied), copied + 2);
        a.verify_all();
        b.verify_all();
        world.audit();
        a.exit();
        b.exit();
    });
}

#[test]
fn s000_r15_unreadable_slot_kills_one_access_and_leaks_no_tags() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 2 } else { 1 }, TAGGED);
        let (first, last) = (pages.start, pages.end.sub(1));
        [first, last].into_iter().for_each(|page| p.set_all_tags(page, 4));
        p.page_out(pages);
        let stored = world.system.tag_bytes_stored();
        world.machine.fail_io(IoFault::any().of(BlockOp::Read));
        let lost = p.load(with_tag(first.base(), 0));
        assert_eq!(lost, Err(AccessError::Fault(FaultError::NoContent)));
        world.audit();
        assert_eq!(world.count(MmEvent::SwpInError), 1, "the page that was wanted");
        assert_eq!(world.count(MmEvent::MteTagsRestored), 0);
        assert_eq!(world.system.tag_bytes_stored(), stored, "the slots still have them");
        // The disk recovers: so do the pages, and only now are they read.
        world.machine.clear_io_faults();
        p.assert_all_tags(first, 4);
        p.assert_all_tags(last, 4);
        // A page that replaces a lost one has no tags of its former self.
        p.page_out(pages);
        world.machine.fail_io(IoFault::any().of(BlockOp::Read));
        assert!(p.load(first.base()).is_err());
        p.advise(pages, Advice::DontNeed);
        p.assert_all_zero(first);
        p.verify_all();
        p.exit();
        assert_eq!(world.system.tag_bytes_stored(), 0);
    });
}

#[test]
fn s000_r15_one_unreadable_slot_takes_no_other_page_with_it() {
    for_orders(&ORDERS[1..], |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        p.page_out(pages);
        let bad = pages.start.add(1);
        let PageView::Swapped(entry) = p.page_view(bad) else { panic!("it is out") };
        let sector = u64::from(entry.slot) * 8;
        let is_bad = IoFault::any().of(BlockOp::Read).at(sector..sector + 8);
        world.machine.fail_io(is_bad);
        let lost = p.load(bad.base());
        assert_eq!(lost, Err(AccessError::Fault(FaultError::NoContent)));
        for page in pages.pages().filter(|page| *page != bad) {
            p.verify(page);
        }
        assert_eq!(world.count(MmEvent::MteTagsRestored), nr_pages(order) - 1);
        assert!(p.is_swapped(bad));
        world.audit();
        world.machine.clear_io_faults();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s000_r17_wrong_tag_faults_after_restore_and_right_tag_does_not() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let ends = [pages.start, pages.end.sub(1)];
        for page in ends {
            p.retag(page, 0, 9);
            p.write(page, 0, 5);
        }
        p.page_out(pages);
        for base in ends.map(Vpn::base) {
            assert_eq!(p.load(with_tag(base, 8)), Err(AccessError::TagCheck));
            assert_eq!(p.load(with_tag(base, 9)), Ok(5));
            assert_eq!(p.store(with_tag(base, 0), 6), Err(AccessError::TagCheck));
            assert_eq!(p.load(with_tag(base, 9)), Ok(5), "the store did not go through");
        }
        p.exit();
    });
}

#[test]
fn s000_r18_tagging_is_never_taken_away_and_not_given_to_what_cannot_have_it() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        // mprotect without PROT_MTE: succeeds, changes the rights only.
        p.protect(pages, Prot::READ, false);
        p.protect(one(pages.start), Prot::READ | Prot::WRITE, false);
        p.protect(pages, Prot::READ | Prot::WRITE, false);
        let area = p.call(|mm| mm.area_view(pages.start)).unwrap();
        assert!(area.flags.contains(AreaFlags::TAGGED));
        p.verify_all();
        let plain = AreaFlags::READ | AreaFlags::WRITE;
        let not_eligible = p.map(1, plain);
        let denied = p.call(|mm| mm.protect(not_eligible, Prot::READ, true));
        assert_eq!(denied, Err(ProtectError::CannotTag));
        p.exit();
    });
}

#[test]
fn s000_r18_mprotect_may_add_tags_to_pages_in_use() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let resident = p.new_folios(order, 2, RW);
        let swapped = p.new_folios(order, 2, RW);
        p.page_out(swapped);
        let both = [resident, swapped];
        both.into_iter().for_each(|pages| p.protect(pages, Prot::READ | Prot::WRITE, true));
        // Resident, swapped: all tags read zero, bytes are kept.
        p.verify_all();
        both.into_iter().flat_map(|pages| pages.pages()).for_each(|page| p.retag(page, 1, 4));
        both.into_iter().for_each(|pages| p.page_out(pages));
        p.verify_all();
        p.exit();
    });
}

/// Forks `p`, takes everything out, and lets the child bring it back: the folios are cached and
/// mapped by the child, and all entries of `p` name slots.
fn cached_by_a_child(world: &World, p: &Process) -> Process {
    let mut child = p.fork(CPU1);
    child.check_tags(TagCheckMode::Sync);
    let pages: Vec<_> = p.oracle.mapped();
    let all = base::PageRange::new(pages[0], pages[pages.len() - 1].add(1));
    world.reclaim(p, all);
    child.verify_all();
    child
}

#[test]
fn s000_r08_faults_on_a_cached_folio_copy_the_tags_of_each_page_once() {
    // A CPU that speculates keeps pages young for ever.
    for_orders_on(Adversary::CALM, &ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 16 } else { 1 }, TAGGED);
        let nr = pages.nr_pages();
        let child = cached_by_a_child(world, &p);
        assert_eq!(world.count(MmEvent::MteTagsRestored), nr, "by the child");
        // Every second page is an area of its own: each fault maps one page.
        for page in pages.pages().filter(|page| page.get() % 2 == 1) {
            p.protect(one(page), Prot::READ, false);
        }
        let (faults, requests) = (world.count(MmEvent::PgFault), world.requests());
        for (n, page) in (1..).zip(pages.pages()) {
            assert!(p.load(with_tag(page.base(), 0)).is_ok());
            assert_eq!(p.nr_present(pages), n, "one more page");
        }
        assert_eq!(world.count(MmEvent::PgFault), faults + nr, "a fault for each page");
        assert_eq!(world.requests(), requests, "all from the cache");
        assert_eq!(world.count(MmEvent::MteTagsRestored), nr, "nr, not nr squared");
        p.verify_all();
        child.exit();
        p.exit();
    });
}

#[test]
fn s000_r08_one_fault_maps_all_of_a_cached_folio() {
    for_orders_on(Adversary::CALM, &ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, TAGGED);
        let child = cached_by_a_child(world, &p);
        let faults = world.count(MmEvent::PgFault);
        assert!(p.load(pages.end.sub(1).base()).is_ok());
        assert_eq!(world.count(MmEvent::PgFault), faults + 1);
        assert_eq!(p.nr_present(pages) as u64, nr_pages(order));
        p.verify_all();
        assert_eq!(world.count(MmEvent::MteTagsRestored), nr_pages(order));
        child.exit();
        p.exit();
    });
}
