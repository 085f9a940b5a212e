// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file replays the scenarios of "arm64: mm: swap: save and restore mte tags for large folios"
//! (linux-mm, November 2023), S1 to S6 of section 000.1 of the facts this kernel is built on, with
//! each interface that was proposed there: `mm::lab::Restore`.
//!
//! docs/experiments/000-mte-large-folios.md tells the story; its counts are asserted here.

mod world;

use base::percpu::CpuId;
use base::{Order, PageRange, Vpn};
use hal::TagCheckMode;
use hal::sim::{Adversary, SimConfig, explore};
use mm::lab::{Fault, Refault, Restore};
use mm::{Advice, MmEvent, PageView, Placement, Prot};
use world::out::{fill, fill_swap, page_out, press};
use world::process::{Process, RW, TAGGED};
use world::{CPU0, CPU1, World, config};

const ORDER: Order = Order::new(4);
const NR: u64 = 16;
const START: Vpn = Vpn::new(0x10_0000);

/// A machine whose anonymous memory has folios of 16 pages, and on which refaults go as told.
fn world(config: SimConfig, refault: Refault) -> World {
    let world = World::new(config);
    world.allow_order(ORDER.get());
    world.system.set_refault(refault);
    world
}

/// One that does nothing of its own accord, so that faults and uses can be counted.
fn calm_world(seed: u64, refault: Refault) -> World {
    world(SimConfig { adversary: Adversary::CALM, ..config(seed) }, refault)
}

/// One whose swap area has one half for a folio, and 15 slots in the other.
fn world_of_31_slots(seed: u64, refault: Refault) -> World {
    world(SimConfig { disks: vec![8 * 32], ..config(seed) }, refault)
}

/// One page a fault, as in 2023.
fn one_page(restore: Restore) -> Refault {
    Refault { restore, maps_one_page: true, stays_cached: false }
}

/// Runs `body` with each interface, with one page a fault and with all that match, and a few seeds.
fn with_each_interface(body: fn(u64, Refault)) {
    for restore in Restore::ALL {
        for maps_one_page in [true, false] {
            let refault = Refault { maps_one_page, ..one_page(restore) };
            explore(0..3, move |seed| body(seed, refault));
        }
    }
}

fn process(world: &World, cpu: CpuId) -> Process {
    let p = world.process(cpu);
    p.check_tags(TagCheckMode::Sync);
    p
}

fn fork(p: &Process, cpu: CpuId) -> Process {
    let child = p.fork(cpu);
    child.check_tags(TagCheckMode::Sync);
    child
}

/// Maps a folio of tagged pages and fills it.
fn tagged_folio(p: &mut Process) -> PageRange {
    let pages = p.map_at(Placement::Fixed(START), NR, TAGGED);
    fill(p, pages);
    pages
}

fn resident(p: &Process, pages: PageRange) -> Vec<u64> {
    let is_resident = |page: &Vpn| matches!(p.page_view(*page), PageView::Present { .. });
    pages.pages().filter(is_resident).map(|page| page.get() - pages.start.get()).collect()
}

/// Tells whether pages are in neighbouring slots.
fn is_out_whole(p: &Process, pages: PageRange) -> bool {
    let slot = |page| match p.page_view(page) {
        PageView::Swapped(entry) => Some(entry.slot),
        _ => None,
    };
    let first = slot(pages.start).expect("swapped");
    pages.pages().zip(first..).all(|(page, expected)| slot(page) == Some(expected))
}

/// Faults, pages whose tags a restore looked for, pages whose tags it copied.
fn costs(world: &World) -> [u64; 3] {
    let count = |event| world.count(event);
    [count(MmEvent::PgFault), world.system.tag_lookups(), count(MmEvent::MteTagsRestored)]
}

/// Expects what loads of 16 pages cost that are out: still in the swap cache, or on disk only.
fn assert_cost_of_refault(refault: Refault, forgets: bool, expected: [u64; 3]) {
    explore(0..1, move |seed| {
        let world = calm_world(seed, refault);
        if forgets {
            world.system.commit(Fault::TagsRestoredAgain);
        }
        let mut p = process(&world, CPU0);
        let pages = tagged_folio(&mut p);
        page_out(&mut p, pages);
        let before = costs(&world);
        pages.pages().for_each(|page| assert!(p.load(page.base()).is_ok()));
        let after = costs(&world);
        assert_eq!([0, 1, 2].map(|n| after[n] - before[n]), expected, "{refault:?} {forgets}");
        p.verify_all();
        world.audit();
    });
}

#[test]
fn s000_r08_s1_sixteen_faults_copy_each_pages_tags_once_at_most() {
    // Interface; lookups from the cache, from disk; copies from disk; copies from the cache where no
    // page remembers that it has its tags, as the thread counted. Faults: one a page.
    let rows = [
        (Restore::AtRead, 0, 16, 16, 0),
        (Restore::Page, 16, 16, 16, 16),
        (Restore::Folio, 256, 256, 16, 256),
        (Restore::PageOfEntry, 16, 16, 16, 16),
        (Restore::FolioOnce, 16, 16, 16, 16),
    ];
    for (restore, cached, disk, copied, forgetful) in rows {
        let from_disk = one_page(restore);
        let from_cache = Refault { stays_cached: true, ..from_disk };
        assert_cost_of_refault(from_cache, false, [16, cached, 0]);
        assert_cost_of_refault(from_disk, false, [16, disk, copied]);
        assert_cost_of_refault(from_cache, true, [16, cached, forgetful]);
    }
}

#[test]
fn s000_r08_s1_one_fault_that_maps_all_makes_the_interfaces_alike() {
    for restore in Restore::ALL {
        let from_disk = Refault { maps_one_page: false, ..one_page(restore) };
        let from_cache = Refault { stays_cached: true, ..from_disk };
        let looked = if restore == Restore::AtRead { 0 } else { 16 };
        assert_cost_of_refault(from_cache, false, [1, looked, 0]);
        assert_cost_of_refault(from_disk, false, [1, 16, 16]);
    }
}

/// S2: a page of the cached folio comes back, and nothing counts in its slot any more. The slot stays
/// the folio's all the same; were it anybody's, the next fault would find foreign tags there.
#[test]
fn s000_r09_s2_a_slot_that_nothing_names_is_not_free_while_its_folio_is_cached() {
    for restore in Restore::ALL {
        explore(0..3, move |seed| {
            let world = world_of_31_slots(seed, one_page(restore));
            let mut p = process(&world, CPU0);
            let pages = tagged_folio(&mut p);
            page_out(&mut p, pages);
            p.verify(pages.start.add(5));
            p.write(pages.start.add(5), 0, 77);
            let (mut other, nr_out) = fill_swap(&world);
            assert_eq!(nr_out, 15, "slot 5 of the folio is not free");
            p.verify(pages.start.add(6));
            p.verify_all();
            other.verify_all();
            world.audit();
        });
    }
}

/// S2 without the cache: the slot is free, and somebody else's, before the folio is read back.
#[test]
fn s000_r09_s2_a_slot_given_to_another_page_gives_its_tags_to_that_page_only() {
    for restore in Restore::ALL {
        explore(0..3, move |seed| {
            let world = world_of_31_slots(seed, one_page(restore));
            let mut p = process(&world, CPU0);
            let pages = tagged_folio(&mut p);
            page_out(&mut p, pages);
            p.advise(PageRange::of_len(pages.start.add(5), 1), Advice::DontNeed);
            let (mut other, nr_out) = fill_swap(&world);
            assert_eq!(nr_out, 16, "slot 5 of the folio is in use again");
            p.verify(pages.start.add(6));
            p.verify_all();
            other.verify_all();
            world.audit();
        });
    }
}

/// S3: A and B share a folio in the cache, B maps it, A does not. A discards a page and touches
/// another.
#[test]
fn s000_r07_s3_a_refault_beside_a_discarded_page() {
    with_each_interface(|seed, refault| {
        let world = world(config(seed), refault);
        let mut a = process(&world, CPU0);
        let pages = tagged_folio(&mut a);
        page_out(&mut a, pages);
        let mut b = fork(&a, CPU1);
        b.verify_all();
        assert_eq!(resident(&b, pages).len(), 16);
        let discarded = PageRange::of_len(pages.start.add(3), 1);
        a.advise(discarded, Advice::DontNeed);
        assert_eq!(resident(&a, pages), []);
        a.verify(pages.start.add(5));
        let expected: Vec<u64> = match refault.maps_one_page {
            true => vec![5],
            false => (0..16).filter(|n| *n != 3).collect(),
        };
        assert_eq!(resident(&a, pages), expected);
        assert_eq!(resident(&b, pages).len(), 16, "B has what it had");
        // The discarded page reads zero, with zero tags.
        a.verify_all();
        b.verify_all();
        assert_eq!(world.count(MmEvent::MteTagsRestored), 16, "once a page, for both");
        world.audit();
    });
}

/// S4: what is mapped of a folio in the cache changes page by page before it comes back.
#[test]
fn s000_s4_parts_are_unmapped_protected_and_moved_while_out() {
    with_each_interface(|seed, refault| {
        // mremap stores the moved entry before the invalidation of its old place is complete.
        let world = world(SimConfig { judges_new_mappings: false, ..config(seed) }, refault);
        let mut p = process(&world, CPU0);
        let pages = tagged_folio(&mut p);
        page_out(&mut p, pages);
        let part = |first: u64, nr: u64| PageRange::of_len(pages.start.add(first), nr);
        p.verify(pages.start.add(9));
        p.unmap(part(2, 1));
        p.protect(part(4, 3), Prot::READ, false);
        p.protect(part(8, 1), Prot::empty(), false);
        p.remap(part(11, 2), Some(Vpn::new(0x20_0003)));
        p.verify_all();
        p.protect(part(4, 5), Prot::READ | Prot::WRITE, false);
        p.verify_all();
        world.audit();
        p.exit();
        world.audit();
    });
}

/// S5: a part of the folio is tagged, with and without its first page.
#[test]
fn s000_r05_s5_a_partly_tagged_folio_keeps_the_tags_it_has_and_shows_no_others() {
    with_each_interface(|seed, refault| {
        let world = calm_world(seed, refault);
        for first in [0, 3] {
            let mut p = process(&world, CPU0);
            let pages = p.map_at(Placement::Fixed(START), NR, RW);
            pages.pages().for_each(|page| p.write(page, 0, page.get()));
            let part = PageRange::of_len(pages.start.add(first), 5);
            p.protect(part, Prot::READ | Prot::WRITE, true);
            fill(&mut p, part);
            press(&world, || pages.pages().all(|page| p.is_swapped(page)));
            assert!(is_out_whole(&p, pages));
            p.verify(pages.start.add(9));
            p.protect(PageRange::of_len(pages.start.add(8), 2), Prot::READ | Prot::WRITE, true);
            p.verify_all();
            world.audit();
            p.exit();
        }
    });
}

/// S6: two processes, and two threads of one, want different pages of a cached folio, and some the
/// same, at once.
#[test]
fn s000_r16_s6_restorers_at_once_restore_each_page_once() {
    explore(0..if cfg!(shuttle) { 300 } else { 60 }, |seed| {
        let refault = Refault {
            restore: Restore::ALL[(seed % 5) as usize],
            maps_one_page: seed / 5 % 2 == 0,
            stays_cached: false,
        };
        let three = SimConfig { judges_new_mappings: false, nr_cpus: 3, ..config(seed) };
        let world = world(three, refault);
        let mut a = process(&world, CPU0);
        let pages = tagged_folio(&mut a);
        page_out(&mut a, pages);
        let b = fork(&a, CPU1);
        let thread = Process {
            world: world.clone(),
            mm: std::sync::Arc::clone(&a.mm),
            cpu: CpuId::new(2),
            oracle: a.oracle.clone(),
        };
        let verify = |mut p: Process, first: u64, step: usize| {
            move || {
                p.check_tags(TagCheckMode::Sync);
                (first..NR).step_by(step).for_each(|n| p.verify(START.add(n)));
                p
            }
        };
        let b = world.machine.spawn_on(CPU1, verify(b, 0, 2));
        let thread = world.machine.spawn_on(CpuId::new(2), verify(thread, 1, 3));
        let mut a = verify(a, 0, 1)();
        let mut b = b.join().unwrap();
        drop(thread.join().unwrap());
        assert_eq!(world.count(MmEvent::MteTagsRestored), 16, "once a page");
        a.verify_all();
        b.verify_all();
        world.audit();
    });
}
