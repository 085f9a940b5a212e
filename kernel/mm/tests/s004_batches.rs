// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has a batch of reclaim open while others change the same pages: rows 7 and 8 of section
//! 004.3 (race R9).

mod world;

use base::{PageRange, Vpn};
use mm::{Advice, Prot, TlbPolicy};
use world::process::{AccessError, Process};
use world::tlb::{START, calm_world, process_with, run_elsewhere_too};
use world::{CPU0, CPU1, World};

/// Row 8: the count of invalidations passes every limit that a narrower one would have.
#[test]
fn s004_r08_a_batch_is_seen_whatever_its_number() {
    for limit in [1 << 14, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63] {
        let world = calm_world(TlbPolicy::Batch);
        world.system.count_tlb_generations_from(limit - 4);
        let (mut p, pages) = process_with(&world, 0, START, 8);
        p.cpu = CPU1;
        for page in pages.pages() {
            unmap_under_a_batch(&world, &mut p, page);
        }
        world.assert_no_stale(&p.mm);
        world.audit();
    }
}

/// Row 7: what reclaim has taken away and not waited for is not used after munmap returns.
fn unmap_under_a_batch(world: &World, p: &mut Process, page: Vpn) {
    let at = page.base();
    p.store(at, 1).unwrap();
    let mm = std::sync::Arc::clone(&p.mm);
    world.on(CPU0, || {
        let batch = mm.begin_page_out(page).expect("an anonymous page");
        world.on(CPU1, || {
            assert_eq!(world.machine.store(CPU1, at, 2), Ok(()), "its TLB still has it");
            p.unmap(PageRange::of_len(page, 1));
            assert!(world.machine.store(CPU1, at, 3).is_err(), "gone when munmap returns");
        });
        batch.finish();
    });
    assert!(matches!(p.load(at), Err(AccessError::Fault(_))));
}

#[test]
fn s004_r07_munmap_completes_what_reclaim_has_begun() {
    for policy in TlbPolicy::ALL {
        let world = calm_world(policy);
        let (mut p, pages) = process_with(&world, 0, START, 4);
        p.cpu = CPU1;
        if policy == TlbPolicy::Page {
            // Nothing is ever left to be completed.
            p.unmap(pages);
            continue;
        }
        pages.pages().for_each(|page| unmap_under_a_batch(&world, &mut p, page));
        world.assert_no_stale(&p.mm);
        world.audit();
    }
}

#[test]
fn s004_r07_mprotect_mremap_and_madvise_complete_what_reclaim_has_begun() {
    type Call = fn(&mut Process, PageRange);
    let calls: [Call; 4] = [
        |p, page| p.protect(page, Prot::READ, false),
        |p, page| _ = p.remap(page, Some(START.add(4096))),
        |p, page| p.advise(page, Advice::DontNeed),
        |p, page| p.advise(page, Advice::Free),
    ];
    for call in calls {
        let world = calm_world(TlbPolicy::Batch);
        let (mut p, pages) = process_with(&world, 0, START, 2);
        run_elsewhere_too(&p);
        p.cpu = CPU1;
        let (page, at) = (PageRange::of_len(pages.start, 1), pages.start.base());
        p.store(at, 1).unwrap();
        let mm = std::sync::Arc::clone(&p.mm);
        world.on(CPU0, || {
            let batch = mm.begin_page_out(page.start).expect("an anonymous page");
            world.on(CPU1, || {
                assert_eq!(world.machine.store(CPU1, at, 2), Ok(()), "its TLB still has it");
                call(&mut p, page);
                assert!(world.machine.store(CPU1, at, 3).is_err(), "gone when the call returns");
            });
            batch.finish();
        });
        world.audit();
    }
}
