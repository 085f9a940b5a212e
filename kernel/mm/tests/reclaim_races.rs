// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets reclaim race with what else takes mappings away, under seeded schedules: each must
//! see what the other has not finished.

mod world;

use std::sync::Arc;

use base::sync::atomic::{AtomicBool, Ordering};
use base::{PageRange, Vpn};
use hal::TagCheckMode;
use mm::{Advice, AreaFlags, FaultError, MapRequest, Placement, Prot, Shmem};
use world::process::{AccessError, RW, TAGGED, with_tag};
use world::races::{CPU2, call, one, schedules, schedules_on, thread, wait};
use world::{CPU0, CPU1, World};

const START: Vpn = Vpn::new(0x10_0000);

/// mprotect waits for the TLBs once, at its end. A page that it has made inaccessible by then may be
/// written to through a TLB: reclaim, which finds the entry invalid, must not think that it is not.
#[test]
fn s004_a_page_made_inaccessible_is_paged_out_with_its_last_store() {
    schedules(|world| protect_and_reclaim(&world));
}

/// The same with a block.
#[test]
fn s004_a_block_made_inaccessible_is_paged_out_with_its_last_store() {
    schedules_on(4, |world| {
        world.allow_order(9);
        protect_and_reclaim(&world);
    });
}

/// Another thread stores to a page, or block, that is made inaccessible while reclaim wants it.
fn protect_and_reclaim(world: &World) {
    let mut p = world.process(CPU0);
    let first = p.map_at(Placement::Fixed(START), 512, RW);
    // A page a table: mprotect is long on its way.
    p.map_at(Placement::Fixed(first.end), 31 * 512, RW | AreaFlags::NO_HUGE);
    let pages = PageRange::of_len(START, 32 * 512);
    pages.pages().step_by(512).for_each(|page| p.store(page.base(), 0).unwrap());
    let at = pages.start.base();
    let is_known = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&is_known);
    let writer = thread(&p, CPU1, move |p| {
        p.store(at, 1).unwrap();
        known.store(true, Ordering::SeqCst);
        wait(&p.world, 512);
        match p.store(at, 2) {
            Ok(()) => 2,
            Err(AccessError::Fault(FaultError::Denied)) => 1,
            Err(why) => panic!("{why:?}"),
        }
    });
    while !is_known.load(Ordering::SeqCst) {
        base::sync::relax();
    }
    p.advise(pages, Advice::Cold);
    let reclaim = thread(&p, CPU2, move |p| {
        wait(&p.world, 48);
        p.call(|mm| mm.system().reclaim_pages(32))
    });
    p.protect(pages, Prot::empty(), false);
    let stored = writer.join().unwrap();
    reclaim.join().unwrap();
    p.protect(pages, Prot::READ | Prot::WRITE, false);
    assert_eq!(p.load(at), Ok(stored), "a store was lost");
    world.audit();
    p.exit();
}

/// MADV_PAGEOUT takes a page's entry away, unlocks the table and goes on with pages of an object.
/// Whoever finds the page gone knows by then that TLBs may still have it.
#[test]
fn s004_r04_a_page_gone_to_madv_pageout_is_not_seen_after_dontneed_returns() {
    schedules(|world| {
        let object = world.on(CPU0, || Shmem::new(&world.system, 2 * 4096, None)).unwrap();
        let p = world.process(CPU0);
        let (placement, its) = (Placement::Fixed(START), Arc::clone(&object));
        // Private: the page stored to is anonymous, the other the object's.
        let request = MapRequest::shmem(placement, 2, RW, its, 0);
        call(&p, |mm| _ = mm.map(request).unwrap());
        let at = START.base();
        p.store(at, 1).unwrap();
        assert_eq!(p.load(START.add(1).base()), Ok(0));
        let has_looked = Arc::new(AtomicBool::new(false));
        let looked = Arc::clone(&has_looked);
        let other = thread(&p, CPU1, move |p| {
            assert_eq!(p.load(at), Ok(1));
            looked.store(true, Ordering::SeqCst);
            wait(&p.world, 96);
            p.call(|mm| mm.advise(one(START), Advice::DontNeed)).unwrap();
            p.load(at)
        });
        while !has_looked.load(Ordering::SeqCst) {
            base::sync::relax();
        }
        call(&p, |mm| mm.advise(PageRange::of_len(START, 2), Advice::PageOut).unwrap());
        assert_eq!(other.join().unwrap(), Ok(0), "what was discarded is seen");
        world.audit();
        p.exit();
        world.on(CPU0, || drop(object));
        world.audit();
    });
}

#[test]
fn stores_race_with_page_out_and_none_is_lost() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let page = p.map(1, TAGGED).start;
        let at = page.base();
        p.store(at, 0).unwrap();
        let reclaim = thread(&p, CPU1, move |p| {
            (0..3).for_each(|_| p.call(|mm| mm.advise(one(page), Advice::PageOut)).unwrap());
        });
        for value in 1..8 {
            p.store(at, value).unwrap();
            assert_eq!(p.load(at), Ok(value));
        }
        p.store_tag(at, 4).unwrap();
        reclaim.join().unwrap();
        assert_eq!(p.load(with_tag(at, 4)), Ok(7));
        assert_eq!(p.load_tag(at), Ok(4));
        world.audit();
    });
}

#[test]
fn fork_races_with_page_out_and_stores_of_another_thread() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let pages = p.map(3, RW);
        pages.pages().for_each(|page| p.write(page, 0, 1));
        let start = pages.start;
        let reclaim = thread(&p, CPU1, move |p| {
            p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
        });
        let writer = thread(&p, CPU2, move |p| {
            (2..6).for_each(|value| p.store(start.base(), value).unwrap());
        });
        let c = p.fork(CPU0);
        // What the child sees is what some moment of the fork saw, and it stays so.
        let seen = c.load(start.base()).unwrap();
        reclaim.join().unwrap();
        writer.join().unwrap();
        assert!((1..6).contains(&seen));
        assert_eq!(c.load(start.base()), Ok(seen), "a store of the parent reached the child");
        assert_eq!(p.load(start.base()), Ok(5));
        assert_eq!(c.load(start.add(1).base()), Ok(1));
        world.audit();
        c.exit();
        p.exit();
        world.audit();
    });
}

#[test]
fn munmap_races_with_faults_and_page_out() {
    schedules(|world| {
        let before = world.footprint();
        let mut p = world.process(CPU0);
        let pages = p.map(4, TAGGED);
        pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
        let toucher = thread(&p, CPU1, move |p| {
            for page in pages.pages() {
                match p.store(page.base(), 2) {
                    Ok(()) | Err(AccessError::Fault(FaultError::NotMapped)) => {}
                    Err(why) => panic!("{why:?}"),
                }
            }
        });
        let reclaim = thread(&p, CPU2, move |p| {
            let _ = p.call(|mm| mm.advise(pages, Advice::PageOut));
        });
        p.unmap(pages);
        assert_eq!(
            p.load(pages.start.base()),
            Err(AccessError::Fault(FaultError::NotMapped)),
            "gone when munmap returns"
        );
        toucher.join().unwrap();
        reclaim.join().unwrap();
        world.audit();
        p.exit();
        world.audit();
        assert_eq!(world.footprint(), before);
    });
}

#[test]
fn a_table_moves_while_its_pages_are_reclaimed_and_come_back() {
    const START: Vpn = Vpn::new(0x10_0000);
    schedules(|world| {
        let mut p = world.process(CPU0);
        let pages = p.map_at(mm::Placement::Fixed(START), 512, TAGGED);
        for page in [START, START.add(1), START.add(511)] {
            p.write(page, 0, page.get());
            p.retag(page, 3, 5);
        }
        let other = world.clone();
        let reclaim = world.machine.spawn_on(CPU1, move || {
            for _ in 0..3 {
                other.system.reclaim_pages(2);
            }
        });
        p.check_tags(TagCheckMode::Sync);
        let pages = p.remap(pages, Some(START.add(1024)));
        p.verify(pages.start);
        p.write(pages.start.add(1), 0, 7);
        // A name that the table which moved has as well.
        let there = p.map_at(mm::Placement::Fixed(START), 512, TAGGED);
        p.write(there.start, 0, 8);
        let pages = p.remap(pages, Some(START.add(2048)));
        p.write(pages.start, 0, 9);
        reclaim.join().unwrap();
        let touched = [there.start, pages.start, pages.start.add(1), pages.start.add(511)];
        touched.into_iter().for_each(|page| p.verify(page));
        world.audit();
        p.exit();
        world.audit();
    });
}

#[test]
fn mremap_races_with_page_out_and_nothing_is_lost() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let pages = p.map(4, TAGGED);
        for page in pages.pages() {
            p.write(page, 0, page.get());
            p.retag(page, 3, 5);
        }
        let reclaim = thread(&p, CPU1, move |p| {
            let _ = p.call(|mm| mm.advise(pages, Advice::PageOut));
        });
        p.check_tags(TagCheckMode::Sync);
        p.remap(pages, None);
        reclaim.join().unwrap();
        p.verify_all();
        world.audit();
    });
}
