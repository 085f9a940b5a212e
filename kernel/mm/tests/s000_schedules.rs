// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file replays S1 to S6 of section 000.1 of the facts as races: what the scenario does in steps,
//! threads do at once, with reclaim beside them. `s000_refault.rs` has the steps one after the other.
//!
//! Under `--cfg shuttle` the seed is the schedule; without, the host decides. The seed also chooses
//! folios of 4 or of 16 pages, the interface that restores tags, and how much a fault maps.

mod world;

use base::{PageRange, Vpn};
use hal::sim::{SimConfig, explore};
use mm::lab::Refault;
use mm::{Advice, AreaFlags, MmEvent, Prot};
use world::folios::nr_pages;
use world::out::{fill, page_out};
use world::process::{Process, RW, TAGGED};
use world::races::CPU2;
use world::scene::{START, Scene, page, scenes, scenes_on, thread_of};
use world::{CPU0, CPU1, World, config};

/// Pages whose tags were restored, and pages that were read.
fn restored_and_read(world: &World) -> [u64; 2] {
    let [restored, read, zero] = [MmEvent::MteTagsRestored, MmEvent::PswpIn, MmEvent::SwpInZero]
        .map(|event| world.count(event));
    [restored, read + zero]
}

/// S1: faults on each page, of a folio that is on its way out, cached, or gone.
#[test]
fn s000_s1_faults_on_each_page_while_the_folio_goes_out_restore_tags_once_a_read() {
    scenes(|scene| {
        let mut p = scene.process(CPU0);
        let pages = scene.folio(&mut p, TAGGED);
        let out = scene.beside(CPU1, thread_of(&p), move |scene, p| {
            for who in 0..3 {
                p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
                scene.wait(who);
            }
        });
        (0..3).for_each(|_| p.verify_all());
        drop(out.join().unwrap());
        p.verify_all();
        let [restored, read] = restored_and_read(&scene.world);
        assert!(restored <= read, "tags of {restored} pages restored, {read} pages read");
        p.exit();
    });
}

/// S2: a fault maps page 2, and nothing names its slot any more; somebody else needs a slot; a fault
/// on page 3 restores all tags that it finds.
#[test]
fn s000_s2_a_slot_is_wanted_while_its_folio_comes_back() {
    // Room for one folio, and for a page less than another.
    let small = |config, nr| SimConfig { disks: vec![8 * 2 * nr], ..config };
    scenes_on(small, |scene| {
        let mut p = scene.process(CPU0);
        let pages = scene.folio(&mut p, TAGGED);
        page_out(&mut p, pages);
        let mut other = scene.process(CPU1);
        let wants = other.map(scene.nr, TAGGED | AreaFlags::NO_HUGE);
        fill(&mut other, wants);
        let other = scene.beside(CPU1, other, move |_, other| {
            other.advise(wants, Advice::PageOut);
        });
        let thread = scene.beside(CPU2, thread_of(&p), |_, p| p.verify(START.add(2)));
        let reclaim = scene.reclaim(1);
        scene.wait(0);
        p.verify(START.add(3));
        reclaim.join().unwrap();
        drop(thread.join().unwrap());
        let mut other = other.join().unwrap();
        p.verify_all();
        other.verify_all();
        other.exit();
        p.exit();
    });
}

/// Two processes that share a folio. It is mapped by both, or out.
fn sharers(scene: &Scene) -> (Process, Process) {
    let mut a = scene.process(CPU0);
    let pages = scene.folio(&mut a, TAGGED);
    if scene.seed.is_multiple_of(2) {
        page_out(&mut a, pages);
    }
    let b = a.fork(CPU1);
    (a, b)
}

/// S3: reclaim unmaps a folio from A and B, who brings it back; A discards pages and touches others
/// meanwhile.
#[test]
fn s000_s3_a_page_is_discarded_while_the_shared_folio_is_unmapped() {
    scenes(|scene| {
        let (mut a, b) = sharers(scene);
        let b = scene.beside(CPU1, b, |_, b| b.verify_all());
        let reclaim = scene.reclaim(3);
        for n in (0..scene.nr).step_by(4) {
            scene.wait(n);
            a.advise(page(n), Advice::DontNeed);
            a.verify(START.add(n + 2));
        }
        reclaim.join().unwrap();
        let mut b = b.join().unwrap();
        a.verify_all();
        b.verify_all();
        b.exit();
        a.exit();
    });
}

/// S4: parts are unmapped, protected and moved while reclaim unmaps the folio and B looks at it.
#[test]
fn s000_s4_parts_change_while_the_shared_folio_is_unmapped() {
    scenes(|scene| {
        let (mut a, b) = sharers(scene);
        let b = scene.beside(CPU1, b, |_, b| b.verify_all());
        let reclaim = scene.reclaim(3);
        for n in (0..scene.nr).step_by(4) {
            scene.wait(n);
            a.unmap(page(n));
            a.protect(page(n + 1), Prot::empty(), false);
            a.remap(page(n + 2), Some(Vpn::new(0x20_0003 + n)));
            a.verify(START.add(n + 3));
            // Not to be accessed, whoever else came back.
            a.verify(START.add(n + 1));
            a.protect(page(n + 1), Prot::READ | Prot::WRITE, false);
            a.write(START.add(n + 1), 1, 99);
        }
        reclaim.join().unwrap();
        let mut b = b.join().unwrap();
        a.verify_all();
        b.verify_all();
        b.exit();
        a.exit();
    });
}

/// S5: part of the folio becomes tagged while it goes out, and another part when it is back.
#[test]
fn s000_s5_a_part_becomes_tagged_while_the_folio_goes_out() {
    scenes(|scene| {
        for first in [0, 1] {
            let mut p = scene.process(CPU0);
            let pages = scene.folio(&mut p, RW);
            let part = PageRange::of_len(START.add(first), 2);
            let thread = scene.beside(CPU1, thread_of(&p), move |scene, p| {
                for who in 0..3 {
                    p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
                    scene.wait(who);
                }
            });
            let reclaim = scene.reclaim(4);
            scene.wait(0);
            p.protect(part, Prot::READ | Prot::WRITE, true);
            fill(&mut p, part);
            p.verify_all();
            drop(thread.join().unwrap());
            reclaim.join().unwrap();
            p.verify_all();
            // Pages that never had tags show none of anybody's.
            p.protect(pages, Prot::READ | Prot::WRITE, true);
            p.verify_all();
            p.exit();
        }
    });
}

/// S6: two processes, and two threads of one, want different pages of a cached folio, and some the
/// same, while it may go out again.
#[test]
fn s000_s6_restorers_at_once_while_the_folio_may_go_out_again() {
    scenes(|scene| {
        let mut a = scene.process(CPU0);
        let pages = scene.folio(&mut a, TAGGED);
        page_out(&mut a, pages);
        let b = a.fork(CPU1);
        let look = |first: u64, step: usize| {
            move |_: &Scene, p: &mut Process| {
                pages.pages().skip(first as usize).step_by(step).for_each(|page| p.verify(page));
            }
        };
        let b = scene.beside(CPU1, b, look(0, 2));
        let thread = scene.beside(CPU2, thread_of(&a), look(1, 3));
        let reclaim = scene.reclaim(1);
        look(0, 1)(scene, &mut a);
        let mut b = b.join().unwrap();
        drop(thread.join().unwrap());
        reclaim.join().unwrap();
        a.verify_all();
        b.verify_all();
        let [restored, read] = restored_and_read(&scene.world);
        assert!(restored <= read, "tags of {restored} pages restored, {read} pages read");
        b.exit();
        a.exit();
    });
}

/// Row 16: round after round, two CPUs fault two pages of a folio at once, which is in the swap cache
/// every other time. Its content changes from round to round.
#[test]
fn s000_r16_two_faults_at_once_restore_each_page_once_for_many_rounds() {
    let rounds = match std::env::var_os("GRANULE_LONG") {
        Some(_) => 100_000,
        None if cfg!(shuttle) => 20,
        None => 200,
    };
    for order in [2, 4] {
        explore(0..if cfg!(shuttle) { 20 } else { 1 }, move |seed| {
            let calm = hal::sim::Adversary::CALM;
            let world = World::new(SimConfig { adversary: calm, ..config(seed) });
            world.allow_order(order);
            let scene = Scene { world, nr: nr_pages(order), seed };
            let mut p = scene.process(CPU0);
            let pages = scene.folio(&mut p, TAGGED);
            for round in 0..rounds {
                let stays_cached = round % 2 == 1;
                let refault = Refault { stays_cached, ..Refault::default() };
                scene.world.system.set_refault(refault);
                for page in pages.pages() {
                    p.retag(page, 1, ((page.get() + round) % 16) as u8);
                    p.write(page, 0, round);
                }
                page_out(&mut p, pages);
                let before = restored_and_read(&scene.world);
                let at = START.add(round % scene.nr);
                let other = scene.beside(CPU1, thread_of(&p), move |_, p| p.verify(at));
                p.verify(START.add((round / 3 + 1) % scene.nr));
                drop(other.join().unwrap());
                p.verify_all();
                let after = restored_and_read(&scene.world);
                let once = if stays_cached { 0 } else { scene.nr };
                assert_eq!([0, 1].map(|n| after[n] - before[n]), [once; 2], "round {round}");
            }
            p.exit();
            scene.world.audit();
        });
    }
}
