// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that the tests can fail: each deliberate fault of `mm::lab` is caught by a
//! scenario that passes without it. docs/TESTING.md lists them.

mod world;

#[cfg(shuttle)]
use std::sync::Arc;

use base::{PageRange, Vpn};
use hal::sim::{Adversary, IoFault, SimConfig, explore};
use hal::{BlockOp, TagCheckMode};
use mm::lab::{Fault, Refault, Restore};
use mm::{Advice, AreaFlags, MmEvent, Placement, Prot};
#[cfg(shuttle)]
use world::CPU1;
use world::caught::what_is_said;
use world::out::{fill, fill_swap, page_out, press};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, World, config};

/// Runs `scenario` without the fault, where it must pass, and with it, where it must not, each over
/// some seeds. Returns what the first seed that caught it said.
fn caught(fault: Fault, seeds: u64, scenario: fn(&World)) -> String {
    let machine_of = |seed| SimConfig { hw_dirty: seed % 2 == 0, ..config(seed) };
    caught_on(machine_of, fault, seeds, scenario)
}

fn caught_on(
    machine_of: fn(u64) -> SimConfig,
    fault: Fault,
    seeds: u64,
    scenario: fn(&World),
) -> String {
    let run = |fault: Option<Fault>, seeds| {
        explore(seeds, move |seed| {
            let world = World::new(machine_of(seed));
            fault.into_iter().for_each(|fault| world.system.commit(fault));
            scenario(&world);
        });
    };
    run(None, 0..seeds);
    what_is_said(|| run(Some(fault), 0..seeds))
        .unwrap_or_else(|| panic!("{fault:?} was not caught in {seeds} seeds"))
}

fn swapped_process(world: &World) -> (Process, PageRange) {
    let mut p = world.process(CPU0);
    p.check_tags(TagCheckMode::Sync);
    let pages = p.map(4, TAGGED);
    for page in pages.pages() {
        p.write(page, 0, page.get());
        p.retag(page, 0, 5);
    }
    p.advise(pages, Advice::PageOut);
    (p, pages)
}

#[test]
fn tags_not_saved_is_caught_by_the_oracle() {
    caught(Fault::TagsNotSaved, 1, |world| {
        let (mut p, _) = swapped_process(world);
        p.verify_all();
    });
}

#[test]
fn a_dropped_tlbi_is_caught_by_the_stale_tlb() {
    let said = caught(Fault::UnmapWithoutTlbi, 1, |world| {
        swapped_process(world);
    });
    assert!(said.contains("stale writable translation"), "{said}");
}

#[test]
fn a_reference_leaked_on_a_read_error_is_caught_by_the_audit() {
    let said = caught(Fault::ReferenceLeakedOnReadError, 1, |world| {
        let (p, pages) = swapped_process(world);
        world.machine.fail_io(IoFault::any().of(BlockOp::Read));
        assert!(p.load(pages.start.base()).is_err());
        world.audit();
    });
    assert!(said.contains("is used by nobody"), "{said}");
}

#[test]
fn a_wrong_slot_freed_is_caught_by_the_slot_audit() {
    let said = caught(Fault::WrongSlotFreed, 1, |world| {
        let (mut p, pages) = swapped_process(world);
        p.unmap(PageRange::of_len(pages.start, 1));
        world.audit();
    });
    assert!(said.contains("slot") || said.contains("users"), "{said}");
}

#[test]
fn reading_and_clearing_dirty_in_two_steps_is_caught_by_the_judge() {
    let said = caught(Fault::ReadThenClear, 1, |world| {
        let mut p = world.process(CPU0);
        let pages = p.map(1, TAGGED);
        p.write(pages.start, 0, 1);
        p.unmap(pages);
    });
    assert!(said.contains("which needs an exchange"), "{said}");
}

/// A tagged process with 16 pages at a place where a folio of order 4 fits, which they get.
fn process_with_folio(world: &World, flags: AreaFlags) -> (Process, PageRange) {
    world.allow_order(4);
    let mut p = world.process(CPU0);
    p.check_tags(TagCheckMode::Sync);
    let pages = p.map_at(Placement::Fixed(Vpn::new(0x10_0000)), 16, flags);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    (p, pages)
}

/// The whole folio, at each fault, one page a fault: P2 of the thread on tags of large folios.
fn restore_whole_folios(world: &World) {
    let refault = Refault { restore: Restore::Folio, maps_one_page: true, stays_cached: false };
    world.system.set_refault(refault);
}

#[test]
fn s000_s1_restoring_tags_again_is_caught_by_their_count() {
    let said = caught(Fault::TagsRestoredAgain, 1, |world| {
        restore_whole_folios(world);
        let (mut p, pages) = process_with_folio(world, TAGGED);
        page_out(&mut p, pages);
        p.verify_all();
        assert!(world.count(MmEvent::MteTagsRestored) <= 16, "a page's tags are restored once");
    });
    assert!(said.contains("restored once"), "{said}");
}

#[test]
fn s000_s2_a_slot_freed_while_cached_is_caught_by_foreign_tags() {
    let small_swap = |seed| SimConfig { disks: vec![8 * 32], ..config(seed) };
    let said = caught_on(small_swap, Fault::SlotFreedWhileCached, 3, |world| {
        restore_whole_folios(world);
        // Nothing remembers either that page 5 has its tags.
        world.system.commit(Fault::TagsRestoredAgain);
        let (mut p, pages) = process_with_folio(world, TAGGED);
        page_out(&mut p, pages);
        let [five, six] = [5, 6].map(|n| pages.start.add(n));
        p.verify(five);
        let (_other, _) = fill_swap(world);
        p.verify(six);
        p.verify(five);
    });
    assert!(said.contains("granule"), "{said}");
}

/// Tags five pages of a folio from `first` on, has it swapped out and in, and tags page 9.
fn tag_a_part(world: &World, first: u64) {
    let (mut p, pages) = process_with_folio(world, RW);
    let part = PageRange::of_len(pages.start.add(first), 5);
    p.protect(part, Prot::READ | Prot::WRITE, true);
    fill(&mut p, part);
    press(world, || pages.pages().all(|page| p.is_swapped(page)));
    p.verify_all();
    p.protect(PageRange::of_len(pages.start.add(9), 1), Prot::READ | Prot::WRITE, true);
    p.verify_all();
}

const CALM: fn(u64) -> SimConfig = |seed| SimConfig { adversary: Adversary::CALM, ..config(seed) };

#[test]
fn s000_s5_tag_state_of_an_untagged_head_is_caught_by_lost_tags() {
    let said = caught_on(CALM, Fault::TagStateOfHead, 3, |world| tag_a_part(world, 3));
    assert!(said.contains("0x100003 granule 1"), "{said}");
}

#[test]
fn s000_s5_tag_state_of_a_tagged_head_is_caught_by_stale_tags() {
    let said = caught_on(CALM, Fault::TagStateOfHead, 3, |world| tag_a_part(world, 0));
    assert!(said.contains("TagCheck") && said.contains("0x100009"), "{said}");
}

/// Faults that only an interleaving shows; the model checker finds it.
#[cfg(shuttle)]
mod interleaved {
    use super::*;

    #[test]
    fn reading_and_clearing_dirty_in_two_steps_loses_a_store() {
        // The judge would object to the plain store before anything is lost.
        let machine_of = |seed| SimConfig { judges_plain_stores: false, ..config(seed) };
        let said = caught_on(machine_of, Fault::ReadThenClear, 3000, |world| {
            let mut p = world.process(CPU0);
            let pages = p.map(1, RW);
            let at = pages.start.base();
            p.write(pages.start, 0, 1);
            // Clean and writable: the next store has hardware mark the entry, and nothing else.
            p.advise(pages, Advice::Free);
            let (other, mm) = (world.clone(), Arc::clone(&p.mm));
            let writer = world.machine.spawn_on(CPU1, move || {
                let seed = other.machine.config().seed;
                let p = Process { world: other, mm, cpu: CPU1, oracle: Default::default() };
                // At any moment of the other thread's call.
                (0..seed % 128).for_each(|_| base::sync::schedule_point());
                p.store(at, 2).unwrap();
            });
            p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
            writer.join().unwrap();
            p.call(|mm| mm.advise(pages, Advice::PageOut)).unwrap();
            assert_eq!(p.load(at), Ok(2), "a store after MADV_FREE is kept");
        });
        assert!(said.contains("a store after MADV_FREE is kept"), "{said}");
    }

    #[test]
    fn putting_pages_before_the_invalidation_is_caught_by_the_stale_tlb() {
        let said = caught(Fault::PutBeforeInvalidation, 200, |world| {
            // Two processes hand frames to each other through the allocator.
            let [a, b] = [(CPU0, 3, 120), (CPU1, 5, 70)].map(|(cpu, rounds, nr_pages)| {
                let world = world.clone();
                world.machine.clone().spawn_on(cpu, move || {
                    let mut p = world.process(cpu);
                    for _ in 0..rounds {
                        let pages = p.map(nr_pages, RW);
                        pages.pages().for_each(|page| p.store(page.base(), 1).unwrap());
                        p.unmap(pages);
                    }
                    p.exit();
                })
            });
            a.join().unwrap();
            b.join().unwrap();
        });
        assert!(said.contains("stale"), "{said}");
    }
}
