// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes every single allocation fail once, and every disk request, of what is done with
//! large folios: no frame, slot, descriptor or tag record leaks, no byte and no tag is lost, and the
//! same again succeeds. `alloc_failure.rs` does that for single pages.

mod world;

use std::cell::Cell;

use base::{PageRange, Vpn};
use mm::{Advice, MmEvent, Prot, ThpStat};
use world::failing::{
    ORDERS, OUT_OF_MEMORY, What, alone, calm_world, fail_each, fail_nothing, first_folio, inner,
    ran_out, swapped, three,
};
use world::folios::nr_pages;
use world::process::{Process, TAGGED};
use world::{CPU0, CPU1, World};

#[test]
fn first_touch() {
    for order in ORDERS {
        let room = |world: &World| {
            let mut p = world.tagged_process();
            p.map_folios(order, 1, TAGGED);
            vec![p]
        };
        let fallbacks = |p: &Process| p.world.stat(ThpStat::AnonFaultFallback, order);
        let fell_short = fail_each(What::Allocation, order, room, |p| {
            let page = inner(p, order).end;
            let stored = p.try_write(page, 0, 5).map_err(|why| assert_eq!(why, OUT_OF_MEMORY));
            // Without the large folio, one page will do.
            let nr = if fallbacks(p) == 0 { nr_pages(order) } else { 1 };
            let expected = if stored.is_ok() { nr } else { 0 };
            let resident = p.nr_present(first_folio(p, order)) as u64;
            assert!(resident == expected || (order == 9 && resident == 1), "{resident} mapped");
            stored.is_ok()
        });
        assert!(fell_short > 0, "tables are needed");
    }
}

#[test]
fn fork() {
    for order in ORDERS {
        for prepare in [three, swapped] {
            let prepare = |world: &World| prepare(world, order);
            let fell_short = fail_each(What::Allocation, order, prepare, |p| {
                let Ok(mm) = p.call(|mm| mm.fork()) else { return false };
                // What the child does then is not what fails here.
                fail_nothing(&p.world);
                let world = p.world.clone();
                let mut child = Process { world, mm, cpu: CPU1, oracle: p.oracle.fork() };
                child.check_tags(hal::TagCheckMode::Sync);
                child.verify_all();
                child.exit();
                true
            });
            assert!(fell_short > 0);
        }
    }
}

#[test]
fn a_copied_page() {
    for order in ORDERS {
        let share = |world: &World| three(world, order);
        let fell_short = fail_each(What::Allocation, order, share, |p| {
            let page = inner(p, order).start;
            ran_out(p.try_write(page, 3, 9))
        });
        assert!(fell_short > 0);
    }
}

#[test]
fn protection_of_a_part_and_a_part_moved() {
    for order in ORDERS {
        let share = |world: &World| three(world, order);
        let fell_short = fail_each(What::Allocation, order, share, |p| {
            let part = inner(p, order);
            let done = p.call(|mm| mm.protect(part, Prot::READ, false)).is_ok();
            if done {
                part.pages().for_each(|page| {
                    p.oracle.pages.get_mut(&page).unwrap().prot = Prot::READ;
                });
            }
            done
        });
        assert!(fell_short > 0, "mprotect makes sure of the heap");
        let fell_short = fail_each(What::Allocation, order, share, |p| {
            let to = Vpn::new(0x18_0003);
            if p.oracle.pages.contains_key(&to) {
                return true;
            }
            let old = inner(p, order);
            let (new_nr_pages, fixed) = (old.nr_pages(), Some(to));
            let request = mm::RemapRequest { old, new_nr_pages, may_move: true, fixed };
            if let Err(why) = p.call(|mm| mm.remap(request)) {
                assert_eq!(why, mm::RemapError::NoRoom);
                return false;
            }
            for (n, page) in old.pages().enumerate() {
                let content = p.oracle.pages.remove(&page).unwrap();
                p.oracle.pages.insert(to.add(n as u64), content);
            }
            true
        });
        assert!(fell_short > 0, "a second place of a shared folio needs room");
    }
}

/// Advice about a part: the folio is split, and the part goes out.
fn page_out_part(p: &mut Process, order: u8) -> bool {
    let part = inner(p, order);
    p.advise(part, Advice::PageOut);
    for page in first_folio(p, order).pages().filter(|page| !part.contains(*page)) {
        assert!(!p.is_swapped(page), "{page:?} is not meant");
    }
    let is_split = p.world.stat(ThpStat::Split, order) == 1;
    assert!(is_split || part.pages().all(|page| !p.is_swapped(page)), "goes out unsplit");
    part.pages().all(|page| p.is_swapped(page))
}

#[test]
fn a_split_by_advice_about_a_part() {
    for order in ORDERS {
        let alone = |world: &World| alone(world, order);
        let act = |p: &mut Process| page_out_part(p, order);
        assert!(fail_each(What::Allocation, order, alone, act) > 0);
        // Pages that cannot be written are out for their entries, and in the cache.
        assert_eq!(fail_each(What::Request, order, alone, act), 0);
    }
}

#[test]
fn a_split_in_the_swap_cache() {
    for order in ORDERS {
        let cached = |world: &World| {
            let all = three(world, order);
            let pages = first_folio(&all[0], order);
            world.reclaim(&all[1], pages);
            pages.pages().for_each(|page| assert!(all[0].load(page.base()).is_ok()));
            all
        };
        let act = |p: &mut Process| page_out_part(p, order);
        // What was written once is not written again: there is no request to fail.
        assert!(fail_each(What::Allocation, order, cached, act) > 0);
    }
}

/// Reclaim splits a folio that three processes map in part: entries change hands between
/// descriptors that have no room for three.
#[test]
fn a_split_of_a_partly_mapped_folio_of_three() {
    for order in ORDERS {
        let partly = |world: &World| {
            let mut all = three(world, order);
            let part = inner(&all[0], order);
            all.iter_mut().for_each(|p| p.unmap(part));
            all
        };
        let failed = Cell::new(0);
        fail_each(What::Allocation, order, partly, |p| {
            let free = p.world.footprint().free;
            // It goes round more than once, and what failed is queued again.
            p.call(|mm| mm.system().reclaim_pages(1));
            assert_eq!(p.world.stat(ThpStat::Split, order), 1);
            assert!(p.world.footprint().free >= free + nr_pages(order) / 2, "is free");
            failed.set(failed.get() + p.world.stat(ThpStat::SplitFailed, order));
            true
        });
        // For each page a descriptor, one for the split, and the third entry of that one.
        let expected = nr_pages(order) + 1;
        assert!(failed.get() == expected || order == 9, "{} of {expected}", failed.get());
    }
}

/// A partly mapped folio waits to be split. Advice tries to, and finds that somebody holds it.
#[test]
fn a_split_that_failed_is_still_due() {
    for order in ORDERS {
        let world = calm_world(order);
        let mut p = alone(&world, order).remove(0);
        let part = inner(&p, order);
        p.unmap(part);
        let nr_due = || world.stat(ThpStat::NrAnonPartiallyMapped, order);
        assert_eq!(nr_due(), 1);
        let left = p.oracle.mapped()[0];
        let mm = std::sync::Arc::clone(&p.mm);
        let held = p.call(|_| mm.hold_folio_of(left)).expect("a mapped page");
        p.advise(PageRange::of_len(left, 1), Advice::PageOut);
        assert_eq!(world.stat(ThpStat::SplitFailed, order), 1);
        assert_eq!(nr_due(), 1, "order {order}");
        world.on(CPU0, || drop(held));
        world.audit();
        p.call(|mm| mm.system().reclaim_pages(1));
        assert_eq!(world.stat(ThpStat::Split, order), 1);
        assert_eq!(nr_due(), 0);
        p.verify_all();
        p.exit();
        world.audit();
    }
}

#[test]
fn a_load_of_zeroes_and_a_store() {
    let room = |world: &World| {
        let mut p = world.tagged_process();
        p.map_folios(9, 1, TAGGED);
        vec![p]
    };
    let fell_short = fail_each(What::Allocation, 9, room, |p| {
        let page = p.oracle.mapped()[3];
        ran_out(p.load(page.base()).map(|value| assert_eq!(value, 0)))
            && ran_out(p.try_write(page, 0, 5))
    });
    assert!(fell_short > 0, "tables are needed");
}

#[test]
fn fork_of_zeroes() {
    let loaded = |world: &World| {
        let mut p = world.tagged_process();
        let pages = p.map_folios(9, 2, TAGGED);
        assert_eq!(p.load(pages.start.base()), Ok(0));
        p.write(pages.start.add(nr_pages(9)), 0, 1);
        vec![p]
    };
    let fell_short = fail_each(What::Allocation, 9, loaded, |p| {
        let Ok(mm) = p.call(|mm| mm.fork()) else { return false };
        fail_nothing(&p.world);
        let world = p.world.clone();
        let mut child = Process { world, mm, cpu: CPU1, oracle: p.oracle.fork() };
        child.check_tags(hal::TagCheckMode::Sync);
        child.verify_all();
        assert_eq!(child.world.count(MmEvent::ThpZeroPageAlloc), 1);
        child.exit();
        true
    });
    assert!(fell_short > 0);
}
