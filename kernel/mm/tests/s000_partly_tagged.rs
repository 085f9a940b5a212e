// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests what becomes of tags when part of a folio is tagged, split, brought back, dropped
//! or paged out: rows 5, 6, 7 and 19 of section 000.3 (see `s000_mte_swap.rs`).

mod world;

use std::ops::Range;

use base::{PageRange, Pfn, Vpn};
use hal::TagCheckMode;
use hal::sim::Adversary;
use mm::{Advice, MmEvent, PageView, Prot, ThpStat};
use world::folios::{ORDERS, for_orders, for_orders_on, nr_pages, one};
use world::process::{Process, RW, TAGGED, with_tag};
use world::{CPU0, CPU1, World};

const LARGE: &[u8] = &[2, 4, 9];
const READ_WRITE: Prot = Prot::READ.union(Prot::WRITE);

/// Which pages of a folio are tagged: the row's 3 to 7 (fewer of a small folio), and not the first;
/// or the first ones only.
fn parts(order: u8) -> [Range<u64>; 2] {
    if order == 2 { [1..3, 0..1] } else { [3..8, 0..5] }
}

/// Runs `body` with a folio that was untagged, until part of it was mapped with PROT_MTE and got
/// tags. Checks bytes and tags afterwards.
fn for_partly_tagged(body: fn(&mut PartlyTagged)) {
    // A CPU that speculates keeps pages young for ever.
    for_orders_on(Adversary::CALM, LARGE, move |world, order| {
        for part in parts(order) {
            let mut folio = PartlyTagged::new(world, order, part);
            body(&mut folio);
            folio.check();
        }
    });
}

struct PartlyTagged {
    p: Process,
    order: u8,
    pages: PageRange,
    part: PageRange,
}

impl PartlyTagged {
    fn new(world: &World, order: u8, part: Range<u64>) -> Self {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, 1, RW);
        let part = PageRange::of_len(pages.start.add(part.start), part.end - part.start);
        let zeroed = world.count(MmEvent::MteTagsZeroed);
        p.protect(part, READ_WRITE, true);
        part.pages().for_each(|page| p.set_all_tags(page, page.get()));
        assert_eq!(world.count(MmEvent::MteTagsZeroed), zeroed + part.nr_pages());
        Self { p, order, pages, part }
    }

    fn stat(&self, stat: ThpStat) -> u64 {
        self.p.world.stat(stat, self.order)
    }

    fn untagged(&self) -> Vec<Vpn> {
        self.pages.pages().filter(|page| !self.part.contains(*page)).collect()
    }

    /// Checks the tags of the part, and that the other pages have their bytes and no tags: when
    /// PROT_MTE covers them theirs are zeroed, once, whatever the frames had before.
    fn check(mut self) {
        self.check_part();
        self.untagged().into_iter().for_each(|page| self.p.verify(page));
        let world = self.p.world.clone();
        world.audit();
        let zeroed = world.count(MmEvent::MteTagsZeroed);
        self.p.protect(self.pages, READ_WRITE, true);
        for page in self.untagged() {
            for granule in 0..256 {
                let at = page.base().wrapping_add(granule * 16);
                assert_eq!(self.p.load_tag(at), Ok(0), "granule {granule} of {page:?}");
            }
            self.p.verify(page);
        }
        let nr = self.untagged().len() as u64;
        assert_eq!(world.count(MmEvent::MteTagsZeroed), zeroed + nr, "each of the others once");
        self.check_part();
        self.p.exit();
    }

    fn check_part(&self) {
        for page in self.part.pages() {
            self.p.assert_all_tags(page, page.get());
            let tag = self.p.load_tag(page.base()).unwrap();
            assert_eq!(self.p.load(with_tag(page.base(), tag)), Ok(page.get() + 1), "{page:?}");
        }
    }
}

#[test]
fn s000_r05_partly_tagged_folio_goes_out_whole_and_only_its_tagged_pages_have_tags() {
    for_partly_tagged(|folio| {
        let world = folio.p.world.clone();
        let saved = world.count(MmEvent::MteTagsSaved);
        let restored = world.count(MmEvent::MteTagsRestored);
        let (out, split) = (folio.stat(ThpStat::Swpout), folio.stat(ThpStat::Split));
        world.reclaim(&folio.p, folio.pages);
        assert_eq!(folio.stat(ThpStat::Swpout), out + 1);
        assert_eq!(folio.stat(ThpStat::Split), split);
        let nr = folio.part.nr_pages();
        assert_eq!(world.count(MmEvent::MteTagsSaved), saved + nr);
        folio.check_part();
        assert_eq!(world.count(MmEvent::MteTagsRestored), restored + nr);
    });
}

#[test]
fn s000_r05_partly_tagged_folio_comes_back_whole_and_its_other_pages_are_untagged() {
    for_orders_on(Adversary::CALM, LARGE, |world, order| {
        for part in parts(order) {
            let mut whole = world.tagged_process();
            let pages = whole.new_folios(order, 1, RW);
            // The one process has part of it tagged; the other has one untagged area, which can take
            // the folio back as a whole.
            let mut p = whole.fork(CPU1);
            p.check_tags(TagCheckMode::Sync);
            let part = PageRange::of_len(pages.start.add(part.start), part.end - part.start);
            p.protect(part, READ_WRITE, true);
            world.reclaim(&whole, pages);
            assert!(pages.pages().all(|page| p.is_swapped(page)));
            let swpin = world.stat(ThpStat::Swpin, order);
            let restored = world.count(MmEvent::MteTagsRestored);
            whole.verify_all();
            assert_eq!(world.stat(ThpStat::Swpin, order), swpin + 1);
            assert_eq!(world.count(MmEvent::MteTagsRestored), restored + part.nr_pages());
            // All of it becomes tagged in both.
            let zeroed = world.count(MmEvent::MteTagsZeroed);
            whole.protect(pages, READ_WRITE, true);
            p.protect(pages, READ_WRITE, true);
            for page in pages.pages() {
                for p in [&whole, &p] {
                    let tag_of = |granule: u64| p.load_tag(page.base().wrapping_add(granule * 16));
                    assert!((0..256).all(|granule| tag_of(granule) == Ok(0)), "{page:?}");
                }
            }
            let others = pages.nr_pages() - part.nr_pages();
            assert_eq!(world.count(MmEvent::MteTagsZeroed), zeroed + others, "the others, once");
            whole.verify_all();
            p.verify_all();
            p.exit();
            whole.exit();
        }
    });
}

#[test]
fn s000_r06_resident_folio_is_split_and_each_page_keeps_its_own_tag_state() {
    for_partly_tagged(|folio| {
        let world = folio.p.world.clone();
        let split = folio.stat(ThpStat::Split);
        let zeroed = world.count(MmEvent::MteTagsZeroed);
        let before = frames(&folio.p, folio.pages);
        // Advice about one page: the folio is split where it is.
        folio.p.advise(one(folio.pages.end.sub(1)), Advice::Cold);
        assert_eq!(folio.stat(ThpStat::Split), split + 1);
        assert_eq!(frames(&folio.p, folio.pages), before, "all where they were");
        assert_eq!(world.count(MmEvent::MteTagsZeroed), zeroed);
        folio.check_part();
        // Split pages go to swap and come back one by one.
        folio.p.page_out(folio.pages);
    });
}

#[test]
fn s000_r06_folio_is_split_in_the_swap_cache_and_each_page_keeps_its_own_tag_state() {
    for_orders_on(Adversary::CALM, LARGE, |world, order| {
        for part in parts(order) {
            // Older than the folio, so that a look at the two of them takes it first.
            let mut other = world.process(CPU0);
            let small = other.new_folios(0, 1, RW);
            let mut folio = PartlyTagged::new(world, order, part);
            let (out, split) = (folio.stat(ThpStat::Swpout), folio.stat(ThpStat::Split));
            // There is no memory for the first tags: the folio stays in the cache, all its pages
            // swap entries. That the small page went is enough for this look at the lists.
            let first_tags = if order == 9 { 3 } else { 2 };
            world.machine.fail_nth_alloc(first_tags);
            world.on(CPU0, || world.system.reclaim_pages(1));
            world.machine.fail_allocs(0);
            assert!(other.is_swapped(small.start));
            assert!(folio.pages.pages().all(|page| folio.p.is_swapped(page)));
            assert_eq!(folio.stat(ThpStat::Swpout), out, "not written");
            // A fault on the part maps the part, and advice about one page of it splits the folio
            // while the other pages are swap entries.
            folio.check_part();
            assert_eq!(folio.p.nr_present(folio.pages) as u64, folio.part.nr_pages());
            let requests = world.requests();
            folio.p.advise(one(folio.part.start), Advice::Cold);
            assert_eq!(folio.stat(ThpStat::Split), split + 1);
            world.audit();
            folio.check();
            assert_eq!(world.requests(), requests, "the pages were cached all the time");
            other.exit();
        }
    });
}

/// Lets a folio be cached and mapped by a second process while all entries of the first are swap
/// entries: what a thread sees between two unmaps of reclaim.
fn half_unmapped(world: &World, order: u8) -> (Process, Process, PageRange) {
    let mut a = world.tagged_process();
    let pages = a.new_folios(order, if order == 0 { 4 } else { 1 }, TAGGED);
    pages.pages().for_each(|page| a.set_all_tags(page, page.get()));
    let b = a.fork(CPU1);
    b.check_tags(TagCheckMode::Sync);
    world.reclaim(&a, pages);
    pages.pages().for_each(|page| b.assert_all_tags(page, page.get()));
    assert_eq!(b.nr_present(pages) as u64, pages.nr_pages());
    (a, b, pages)
}

fn frames(p: &Process, pages: PageRange) -> Vec<Pfn> {
    let frame = |view| match view {
        PageView::Present { pfn, .. } => pfn,
        view => panic!("{view:?} is mapped"),
    };
    p.views(pages).into_iter().map(frame).collect()
}

/// The row says "exactly one page mapped in A". That is Linux's rule, which maps a cached large
/// folio as a whole or one page of it. Here a refault maps every page of the area and table whose
/// entry still names its slot, so what must hold is: exactly those, and not the discarded one.
#[test]
fn s000_r07_refault_of_a_folio_with_a_discarded_page_maps_what_still_matches() {
    for_orders_on(Adversary::CALM, &ORDERS, |world, order| {
        let (mut a, b, pages) = half_unmapped(world, order);
        let before = frames(&b, pages);
        let restored = world.count(MmEvent::MteTagsRestored);
        let discarded = pages.start.add(1);
        a.advise(one(discarded), Advice::DontNeed);
        let touched = pages.start.add(3);
        assert!(a.load_tag(touched.base()).is_ok());
        let expected = match order {
            0 => vec![touched],
            _ => pages.pages().filter(|page| *page != discarded).collect(),
        };
        for (page, view) in pages.pages().zip(a.views(pages)) {
            let is_present = matches!(view, PageView::Present { .. });
            assert_eq!(is_present, expected.contains(&page), "{page:?}: {view:?}");
        }
        assert_eq!(a.page_view(discarded), PageView::None);
        assert_eq!(frames(&b, pages), before, "B is untouched");
        for page in pages.pages().filter(|page| *page != discarded) {
            a.assert_all_tags(page, page.get());
        }
        a.assert_all_zero(discarded);
        pages.pages().for_each(|page| b.assert_all_tags(page, page.get()));
        assert_eq!(world.count(MmEvent::MteTagsRestored), restored, "nothing is restored twice");
        world.audit();
        a.exit();
        b.exit();
    });
}

#[test]
fn s000_r19_discarded_pages_read_zero_bytes_and_zero_tags() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let nr = if order == 0 { 4 } else { nr_pages(order) };
        let swapped = p.new_folios(order, nr / nr_pages(order), TAGGED);
        let resident = p.new_folios(order, nr / nr_pages(order), TAGGED);
        for page in swapped.pages().chain(resident.pages()) {
            p.set_all_tags(page, page.get());
        }
        p.page_out(swapped);
        for pages in [swapped, resident] {
            let part = PageRange::of_len(pages.start.add(1), 2);
            p.advise(part, Advice::DontNeed);
            part.pages().for_each(|page| p.assert_all_zero(page));
            for page in pages.pages().filter(|page| !part.contains(*page)) {
                p.assert_all_tags(page, page.get());
            }
        }
        p.exit();
    });
}

#[test]
fn s000_r19_pages_given_up_are_dropped_without_io_and_read_zero() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 4 } else { 1 }, TAGGED);
        pages.pages().for_each(|page| p.set_all_tags(page, page.get()));
        let part = PageRange::of_len(pages.start.add(1), 2);
        p.advise(part, Advice::Free);
        p.advise(part, Advice::PageOut);
        assert_eq!(world.count(MmEvent::PgLazyFreed), 2, "clean: dropped without I/O");
        assert_eq!(world.requests(), 0);
        part.pages().for_each(|page| p.assert_all_zero(page));
        for page in pages.pages().filter(|page| !part.contains(*page)) {
            p.assert_all_tags(page, page.get());
        }
        // All of a folio at once.
        let pages = p.new_folios(order, 1, TAGGED);
        p.advise(pages, Advice::Free);
        p.advise(pages, Advice::PageOut);
        assert_eq!(world.count(MmEvent::PgLazyFreed), 2 + nr_pages(order));
        pages.pages().for_each(|page| p.assert_all_zero(page));
        p.exit();
    });
}

#[test]
fn s000_r19_pageout_of_a_part_takes_that_part_only() {
    for_orders(&ORDERS, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.new_folios(order, if order == 0 { 5 } else { 1 }, TAGGED);
        let part = PageRange::of_len(pages.start.add(1), 2);
        p.advise(part, Advice::PageOut);
        for page in pages.pages() {
            assert_eq!(p.is_swapped(page), part.contains(page), "{page:?}");
        }
        p.verify_all();
        p.exit();
    });
}
