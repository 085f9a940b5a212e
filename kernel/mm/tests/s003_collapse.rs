// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes blocks of what maps 2 MiB (MADV_COLLAPSE): rows 8 to 14 and 18 of section 003.3 of the
//! facts this kernel is built on.
//!
//! Each test is named after its row.

mod world;

use base::{PageRange, Pfn, Vpn};
use hal::sim::{IoFault, explore};
use hal::{Access, TraceKind};
use mm::{Advice, CollapseError, MmEvent, PageView, Placement, Prot, SizeSettings, ThpStat};
use world::failing::{What, fail_each};
use world::folios::{for_orders, nr_pages, one, roomy};
use world::process::{Process, RW, TAGGED};
use world::races::{CPU2, CPU3, schedules_on, thread};
use world::{CPU0, CPU1, World};

const BLOCK: u64 = 512;
/// What a block may be made of.
const SMALLER: [u8; 3] = [0, 2, 4];
/// Where the tests of errors map.
const START: Vpn = Vpn::new(0x10_0000);

fn collapse(p: &Process, pages: PageRange) -> Result<(), CollapseError> {
    p.call(|mm| mm.collapse(pages))
}

/// A block's worth of memory in folios of `order`, each page with words and tags of its own.
fn filled(p: &mut Process, order: u8) -> PageRange {
    p.new_folios(order, BLOCK / nr_pages(order), TAGGED)
}

fn frame(p: &Process, page: Vpn) -> Pfn {
    match p.page_view(page) {
        PageView::Present { pfn, .. } => pfn,
        view => panic!("{view:?} is mapped"),
    }
}

fn is_block(p: &Process, pages: PageRange) -> bool {
    let nr = p.call(|mm| mm.resident_view(pages)).block_mapped;
    if nr == 0 {
        return false;
    }
    let first = frame(p, pages.start);
    let is_run = (0..BLOCK).all(|n| frame(p, pages.start.add(n)) == first.add(n as u32));
    assert!(nr == BLOCK && is_run && first.get().is_multiple_of(512), "{nr} pages in a block");
    true
}

#[test]
fn s003_r08_exclusive_shared_and_swapped_pages_become_a_block_though_blocks_are_never_used() {
    for_orders(&SMALLER, |world, order| {
        let mut p = world.tagged_process();
        let pages = filled(&mut p, order);
        let mut child = p.fork(CPU1);
        child.check_tags(hal::TagCheckMode::Sync);
        let theirs: Vec<_> = pages.pages().map(|page| frame(&child, page)).collect();
        world.system.thp().settings().set_sizes(SizeSettings::NEVER);
        collapse(&p, pages).unwrap();
        assert!(is_block(&p, pages), "shared pages");
        assert!(pages.pages().map(|page| frame(&child, page)).eq(theirs), "the child's stay");
        world.audit();
        child.verify_all();
        child.exit();
        p.fill(pages);
        world.audit();
        assert_eq!(world.count(MmEvent::CowCopy), 0, "the block is nobody else's");

        let other = filled_elsewhere(&mut p);
        p.page_out(PageRange::of_len(other.start, BLOCK / 2));
        collapse(&p, other).unwrap();
        assert!(is_block(&p, other), "swapped pages");
        p.verify_all();
        world.assert_no_stale(&p.mm);
        p.exit();
    });
}

/// Another block's worth of single pages.
fn filled_elsewhere(p: &mut Process) -> PageRange {
    let pages = p.map_folios(0, BLOCK, TAGGED);
    p.fill(pages);
    pages
}

#[test]
fn s003_r09_all_bytes_and_tags_are_kept_and_gaps_are_zero() {
    for_orders(&SMALLER, |world, order| {
        let mut p = world.tagged_process();
        let pages = p.map_folios(order, BLOCK / nr_pages(order), TAGGED);
        // Some folios, some pages that were only looked at, some that nobody has touched.
        let part = BLOCK / 8;
        for n in [0, 1, 4] {
            p.fill(PageRange::of_len(pages.start.add(n * part), part));
        }
        let raw = [3, part + 5, 5 * part - 1].map(|n| pages.start.add(n));
        raw.iter().for_each(|page| p.set_all_tags(*page, page.get()));
        assert_eq!(p.load(pages.start.add(2 * part).base()), Ok(0));
        collapse(&p, pages).unwrap();
        assert!(is_block(&p, pages));
        raw.iter().for_each(|page| p.assert_all_tags(*page, page.get()));
        for n in [2, 3, 5, 6, 7] {
            p.assert_all_zero(pages.start.add(n * part));
            p.assert_all_zero(pages.start.add((n + 1) * part - 1));
        }
        world.assert_no_stale(&p.mm);
        p.exit();
    });
}

#[test]
fn s003_r10_a_pinned_page_refuses_and_nothing_has_changed() {
    for_orders(&SMALLER, |world, order| {
        let mut p = world.tagged_process();
        let pages = filled(&mut p, order);
        let before: Vec<_> = pages.pages().map(|page| frame(&p, page)).collect();
        let mm = std::sync::Arc::clone(&p.mm);
        let pin = p.call(|_| mm.pin(pages.start.add(300), Access::Write)).expect("a page");
        assert_eq!(collapse(&p, pages), Err(CollapseError::Busy));
        assert!(pages.pages().map(|page| frame(&p, page)).eq(before));
        p.verify_all();
        world.on(CPU0, || drop(pin));
        collapse(&p, pages).unwrap();
        assert!(is_block(&p, pages));
        p.verify_all();
        p.exit();
    });
}

/// What a thread has stored, it finds, whatever is collapsed and taken apart under it meanwhile.
#[test]
fn s003_r11_no_store_of_another_cpu_is_lost() {
    schedules_on(6, |world| {
        let before = world.footprint();
        let (p, pages) = half_filled(&world);
        let stores = move |p: Process| {
            for n in 0..12 {
                let at = pages.start.add(n * 37 % 256).base();
                p.store(at, n + 1).unwrap();
                assert_eq!(p.load(at), Ok(n + 1));
            }
        };
        let loads = move |p: Process| {
            (0..12).for_each(|n| assert!(p.load(pages.start.add(n * 37 % 256).base()).is_ok()));
        };
        let others = [thread(&p, CPU1, stores), thread(&p, CPU2, loads)];
        collapse(&p, pages).unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(is_block(&p, pages));
        for n in 0..12 {
            assert_eq!(p.load(pages.start.add(n * 37 % 256).base()), Ok(n + 1));
        }
        end(&world, p, before);
    });
}

/// Pages stored to, and as many that nobody has touched, in single pages.
fn half_filled(world: &World) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), BLOCK, RW);
    (0..BLOCK / 2).for_each(|n| p.store(pages.start.add(n).base(), 1).unwrap());
    (p, pages)
}

fn end(world: &World, p: Process, before: world::Footprint) {
    world.audit();
    world.assert_no_stale(&p.mm);
    [CPU1, CPU2, CPU3].iter().for_each(|cpu| world.on(*cpu, || world.system.deactivate()));
    p.exit();
    world.audit();
    assert_eq!(world.footprint(), before);
}

/// Whatever comes between the steps: the area may be gone, protected, shared with a child, or empty.
#[test]
fn s003_r12_what_comes_between_is_seen() {
    schedules_on(8, |world| {
        let before = world.footprint();
        let (p, pages) = half_filled(&world);
        let seed = world.machine.config().seed;
        let disturbs = move |p: Process| {
            let part = PageRange::of_len(pages.start.add(seed % 200), 30);
            match seed % 5 {
                0 => p.call(|mm| mm.unmap(part)).unwrap(),
                1 => p.call(|mm| mm.advise(part, Advice::DontNeed)).unwrap(),
                2 => p.call(|mm| mm.protect(part, Prot::READ, false)).unwrap(),
                3 => p.call(|mm| mm.advise(part, Advice::PageOut)).unwrap(),
                _ => {
                    let child = p.fork(p.cpu);
                    assert_eq!(child.load(pages.start.base()), Ok(1));
                    child.exit();
                }
            }
        };
        let system = std::sync::Arc::clone(&world.system);
        let other = thread(&p, CPU1, disturbs);
        let reclaim = world.machine.spawn_on(CPU3, move || _ = system.reclaim_pages(32));
        let result = collapse(&p, pages);
        other.join().unwrap();
        reclaim.join().unwrap();
        world.audit();
        world.assert_no_stale(&p.mm);
        let changed = PageRange::of_len(pages.start.add(seed % 200), 30);
        for page in PageRange::of_len(pages.start, BLOCK / 2).pages() {
            let now = p.load(page.base());
            match seed % 5 {
                0 if one(page).intersect(changed) == one(page) => assert!(now.is_err()),
                1 if one(page).intersect(changed) == one(page) => assert_eq!(now, Ok(0)),
                _ => assert_eq!(now, Ok(1), "{page:?} after {result:?}"),
            }
        }
        end(&world, p, before);
    });
}

#[test]
fn s003_r13_a_failed_allocation_is_no_memory_and_changes_nothing() {
    for order in [2, 4] {
        for is_swapped in [false, true] {
            let prepare = |world: &World| {
                let mut p = world.tagged_process();
                let pages = filled(&mut p, order);
                if is_swapped {
                    p.page_out(pages);
                }
                vec![p]
            };
            let fell_short = fail_each(What::Allocation, order, prepare, |p| {
                let pages = PageRange::of_len(p.oracle.mapped()[0], BLOCK);
                match collapse(p, pages) {
                    Ok(()) => {
                        assert!(is_block(p, pages));
                        true
                    }
                    Err(why) => {
                        assert_eq!(why, CollapseError::OutOfMemory);
                        assert!(is_swapped || !is_block(p, pages));
                        false
                    }
                }
            });
            assert!(fell_short > 0, "a folio is needed");
        }
    }
}

#[test]
fn s003_r13_a_page_that_cannot_be_read_stays_in_swap() {
    for_orders(&[0], |world, _| {
        let mut p = world.tagged_process();
        let pages = filled_elsewhere(&mut p);
        p.page_out(pages);
        world.machine.fail_io(IoFault::any());
        assert_eq!(collapse(&p, pages), Err(CollapseError::Unfit));
        world.machine.clear_io_faults();
        world.audit();
        collapse(&p, pages).unwrap();
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s003_r14_ranges_and_areas_that_have_no_block_are_refused() {
    for_orders(&[0], |world, _| {
        let mut p = world.tagged_process();
        let small = p.map_at(Placement::Fixed(START.add(8 * BLOCK + 1)), BLOCK, TAGGED);
        p.fill(PageRange::of_len(small.start, 4));
        assert_eq!(collapse(&p, small), Err(CollapseError::Unfit), "no 2 MiB fit");

        let pages = p.map_at(Placement::Fixed(START), 3 * BLOCK, TAGGED);
        assert_eq!(collapse(&p, pages), Err(CollapseError::Unfit), "nothing was ever there");
        let [first, second, third] =
            [0, 1, 2].map(|n| PageRange::of_len(pages.start.add(n * BLOCK), BLOCK));
        [first, second, third].iter().for_each(|block| p.write(block.start, 0, 7));
        let within = PageRange::of_len(first.start.add(1), 20);
        assert_eq!(collapse(&p, within), Err(CollapseError::Unfit), "within a block");

        let inwards = PageRange::new(first.start.add(1), third.end.sub(1));
        collapse(&p, inwards).unwrap();
        let blocks = [first, second, third].map(|block| is_block(&p, block));
        assert_eq!(blocks, [false, true, false], "rounded inwards");

        p.advise(third, Advice::Huge(false));
        assert_eq!(collapse(&p, third), Err(CollapseError::Unfit), "not wanted");
        p.unmap(one(second.start));
        assert_eq!(
            collapse(&p, PageRange::new(first.start, second.end)),
            Err(CollapseError::Unfit)
        );
        assert!(is_block(&p, first), "what came before was done");
        let past = PageRange::new(first.start, second.start.add(1));
        assert_eq!(collapse(&p, past), Err(CollapseError::NotMapped));
        world.assert_no_stale(&p.mm);
        p.verify_all();
        p.exit();
    });
}

#[test]
fn s003_r18_it_is_counted_and_traced() {
    explore(0..2, |seed| {
        let world = World::new(roomy(seed));
        let mut p = world.tagged_process();
        let pages = filled_elsewhere(&mut p);
        let asked = world.count(MmEvent::PgFree);
        let tlbis = world.count(MmEvent::TlbDsb);
        world.machine.start_trace();
        collapse(&p, pages).unwrap();
        collapse(&p, pages).unwrap();
        let events = world.machine.take_trace();
        let told = events.iter().filter(|event| event.kind == TraceKind::Collapse);
        let at = pages.start.base().get();
        assert!(
            told.map(|event| event.args).eq([[at, BLOCK], [at, 0]]),
            "the second finds a block"
        );
        assert_eq!(world.count(MmEvent::ThpCollapseAlloc), 1);
        assert_eq!(world.count(MmEvent::ThpCollapseAllocFailed), 0);
        assert_eq!(world.count(MmEvent::PgFree) - asked, BLOCK, "the single pages");
        assert_eq!(world.stat(ThpStat::NrAnon, 9), 1);
        assert_eq!(
            world.count(MmEvent::TlbDsb) - tlbis,
            1,
            "one wait for 512 pages and their table"
        );
        p.exit();
    });
}
