// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs the races of one address space, and of swap, under seeded schedules.
//!
//! Each test is a handful of threads, one per CPU, and what must hold whatever their order. Under
//! `--cfg shuttle` the seed is the schedule; without, the host decides and the tests still hold.

mod world;

use std::sync::Arc;

use base::{PageRange, Vpn};
use hal::TagCheckMode;
use mm::{Advice, FaultError, MmEvent, PageView, Placement, Prot, Shmem};
use world::process::{AccessError, RW, TAGGED, with_tag};
use world::races::{CPU2, CPU3, call, one, schedules, schedules_on, thread};
use world::{CPU0, CPU1, SWAP};

#[test]
fn two_first_touches_of_a_page_find_one_page() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let page = p.map(1, TAGGED).start;
        let at = page.base();
        let other = thread(&p, CPU1, move |p| p.store(at.wrapping_add(8), 2).unwrap());
        p.store(at, 1).unwrap();
        other.join().unwrap();
        assert_eq!((p.load(at), p.load(at.wrapping_add(8))), (Ok(1), Ok(2)));
        world.audit();
    });
}

#[test]
fn both_sides_of_a_fork_store_at_once() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let pages = p.map(2, TAGGED);
        pages.pages().for_each(|page| p.retag(page, 0, 3));
        let c = p.fork(CPU1);
        let start = pages.start;
        let child = world.machine.spawn_on(CPU1, move || {
            let mut c = c;
            c.check_tags(TagCheckMode::Sync);
            c.write(start, 0, 10);
            c.write(start.add(1), 1, 11);
            c
        });
        p.check_tags(TagCheckMode::Sync);
        p.write(start, 0, 20);
        p.write(start.add(1), 1, 21);
        let mut c = child.join().unwrap();
        p.verify_all();
        c.verify_all();
        world.audit();
        c.exit();
        p.exit();
        world.audit();
    });
}

#[test]
fn s004_r04_after_dontneed_returns_no_cpu_sees_the_old_page() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let page = p.map(1, RW).start;
        let at = page.base();
        p.store(at, 1).unwrap();
        // A thread with the translation in its TLB, and one that discards at the same time.
        let reader = thread(&p, CPU1, move |p| {
            p.load(at).unwrap();
            p.call(|mm| mm.advise(one(page), Advice::DontNeed)).unwrap();
            p.load(at)
        });
        let other = thread(&p, CPU2, move |p| {
            p.call(|mm| mm.advise(one(page), Advice::DontNeed)).unwrap();
            p.load(at)
        });
        call(&p, |mm| mm.advise(one(page), Advice::PageOut).unwrap());
        assert_eq!(reader.join().unwrap(), Ok(0));
        assert_eq!(other.join().unwrap(), Ok(0));
        world.audit();
        world.assert_no_stale(&p.mm);
    });
}

#[test]
fn s004_r07_after_mprotect_returns_no_store_goes_through() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let page = p.map(1, RW).start;
        let at = page.base();
        p.store(at, 0).unwrap();
        let writer = thread(&p, CPU1, move |p| {
            let mut last = 0;
            for value in 1..40 {
                match p.store(at, value) {
                    Ok(()) => last = value,
                    Err(why) => {
                        assert_eq!(why, AccessError::Fault(FaultError::Denied));
                        break;
                    }
                }
            }
            last
        });
        // Reclaim clears the entry in a batch of its own meanwhile.
        let reclaim = thread(&p, CPU2, move |p| {
            p.call(|mm| mm.advise(one(page), Advice::PageOut)).unwrap();
        });
        call(&p, |mm| mm.protect(one(page), Prot::READ, false).unwrap());
        let seen = p.load(at).unwrap();
        let last = writer.join().unwrap();
        reclaim.join().unwrap();
        assert!(last <= 39 && seen <= last, "{seen} was read, {last} was stored last");
        assert_eq!(p.load(at), Ok(last), "nothing was stored after mprotect, or lost");
        assert_eq!(seen, last, "every store that went through came before mprotect returned");
        world.audit();
    });
}

#[test]
fn s000_r16_two_faults_on_one_cached_page_restore_its_tags_once() {
    schedules(|world| {
        let mut a = world.process(CPU0);
        let page = a.map(1, TAGGED).start;
        a.write(page, 0, 7);
        a.retag(page, 0, 9);
        a.advise(one(page), Advice::PageOut);
        let b = a.fork(CPU1);
        let at = with_tag(page.base(), 9);
        let other = world.machine.spawn_on(CPU1, move || {
            b.check_tags(TagCheckMode::Sync);
            assert_eq!(b.load(at), Ok(7));
            b
        });
        let same_mm = thread(&a, CPU2, move |p| assert_eq!(p.load(at), Ok(7)));
        a.check_tags(TagCheckMode::Sync);
        assert_eq!(a.load(at), Ok(7));
        same_mm.join().unwrap();
        let b = other.join().unwrap();
        assert_eq!(world.count(MmEvent::MteTagsRestored), 1);
        assert_eq!(world.count(MmEvent::PswpIn), 1);
        world.audit();
        a.exit();
        b.exit();
        world.audit();
    });
}

#[test]
fn s002_r03_swapoff_races_with_faults_forks_and_exits() {
    schedules(|world| {
        let mut p = world.process(CPU0);
        let pages = p.map(6, TAGGED);
        for page in pages.pages() {
            p.write(page, 0, page.get());
            p.retag(page, 3, 5);
        }
        p.advise(pages, Advice::PageOut);
        let c = p.fork(CPU1);
        let exiting = p.fork(CPU2);
        let faults = world.machine.spawn_on(CPU1, move || {
            let mut c = c;
            c.check_tags(TagCheckMode::Sync);
            c.verify_all();
            let grandchild = c.fork(CPU1);
            grandchild.exit();
            c
        });
        let exits = world.machine.spawn_on(CPU2, move || exiting.exit());
        let system = Arc::clone(&world.system);
        let swapoff = world.machine.spawn_on(CPU3, move || system.swap_off(SWAP, || false));
        p.check_tags(TagCheckMode::Sync);
        p.verify_all();
        let mut c = faults.join().unwrap();
        exits.join().unwrap();
        assert_eq!(swapoff.join().unwrap(), Ok(()));
        assert_eq!(world.system.swap_slots(), (0, 0));
        assert_eq!(world.system.tag_bytes_stored(), 0);
        p.verify_all();
        c.verify_all();
        world.audit();
        c.exit();
        p.exit();
        world.audit();
    });
}

#[test]
fn truncation_races_with_faults_on_a_shared_object() {
    schedules(|world| {
        let object = world.on(CPU0, || Shmem::new(&world.system, 4 * 4096, None)).unwrap();
        let mut p = world.process(CPU0);
        let pages = p.map_object(&object, &Default::default(), RW);
        pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
        let toucher = thread(&p, CPU1, move |p| {
            for page in pages.pages() {
                match p.store(page.base(), 2) {
                    Ok(()) | Err(AccessError::Fault(FaultError::NoContent)) => {}
                    Err(why) => panic!("{why:?}"),
                }
            }
        });
        let reclaim = thread(&p, CPU2, move |p| {
            let _ = p.call(|mm| mm.advise(pages, Advice::PageOut));
        });
        world.on(CPU0, || object.truncate(4096)).unwrap();
        let gone = p.load(pages.start.add(1).base());
        assert_eq!(gone, Err(AccessError::Fault(FaultError::NoContent)));
        toucher.join().unwrap();
        reclaim.join().unwrap();
        assert!(matches!(p.load(pages.start.base()), Ok(1 | 2)), "the first page stays");
        let views: Vec<_> = pages.pages().skip(1).map(|page| p.page_view(page)).collect();
        assert_eq!(views, [PageView::None; 3]);
        world.audit();
        p.exit();
        world.on(CPU0, || drop(object));
        world.audit();
    });
}

#[test]
fn shared_pages_keep_every_writer_s_stores_through_swap() {
    schedules(|world| {
        let object = world.on(CPU0, || Shmem::new(&world.system, 2 * 4096, None)).unwrap();
        let mut p = world.process(CPU0);
        let pages = p.map_object(&object, &Default::default(), TAGGED);
        let c = p.fork(CPU1);
        let at = pages.start.base();
        let other = world.machine.spawn_on(CPU1, move || {
            (1..6).for_each(|value| c.store(at.wrapping_add(64), value).unwrap());
            c
        });
        let reclaim = thread(&p, CPU2, move |p| {
            for _ in 0..2 {
                let _ = p.call(|mm| mm.advise(pages, Advice::PageOut));
            }
        });
        (1..6).for_each(|value| p.store(at, value).unwrap());
        let c = other.join().unwrap();
        reclaim.join().unwrap();
        assert_eq!((p.load(at), p.load(at.wrapping_add(64))), (Ok(5), Ok(5)));
        assert_eq!(c.load(at), Ok(5));
        world.audit();
        c.exit();
        p.exit();
        world.on(CPU0, || drop(object));
        world.audit();
    });
}

#[test]
fn what_is_discarded_is_gone_whoever_takes_its_block_apart_meanwhile() {
    schedules_on(4, |world| {
        world.allow_order(9);
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(Vpn::new(0x10_0000)), 512, RW);
        let at = pages.start.base();
        p.store(at, 1).unwrap();
        // Both put a table in the place of the block.
        let reclaim = thread(&p, CPU1, move |p| {
            p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
        });
        let other = thread(&p, CPU2, move |p| {
            let last = PageRange::of_len(pages.end.sub(1), 1);
            p.call(|mm| mm.protect(last, Prot::READ, false)).unwrap();
        });
        call(&p, |mm| mm.advise(one(pages.start), Advice::DontNeed).unwrap());
        assert_eq!(p.load(at), Ok(0));
        reclaim.join().unwrap();
        other.join().unwrap();
        world.audit();
    });
}

#[test]
fn a_folio_that_reclaim_looks_at_is_not_split_under_it() {
    schedules(|world| {
        world.allow_order(2);
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(Vpn::new(0x10_0000)), 8, RW);
        pages.pages().for_each(|page| p.store(page.base(), page.get()).unwrap());
        let scan = thread(&p, CPU1, move |p| {
            p.call(|mm| mm.system().reclaim_pages(2));
        });
        let split = thread(&p, CPU2, move |p| {
            p.call(|mm| mm.advise(one(pages.start.add(1)), Advice::Cold)).unwrap();
            p.call(|mm| mm.advise(one(pages.start.add(5)), Advice::PageOut)).unwrap();
        });
        pages.pages().for_each(|page| assert_eq!(p.load(page.base()), Ok(page.get())));
        scan.join().unwrap();
        split.join().unwrap();
        world.audit();
        pages.pages().for_each(|page| assert_eq!(p.load(page.base()), Ok(page.get())));
    });
}
