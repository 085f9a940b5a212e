// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file races migration with what else changes entries, under every schedule of its stop points:
//! rows 1, 3 to 6, 10 and 11 of 004.3 of the facts, R1 and R2 of 004.1, and R6, R10 and R14 of the race
//! catalogue beside them.
//!
//! What went wrong in Linux can be switched on, and is caught.

mod world;

use std::sync::Arc;

use base::percpu::CpuId;
use base::sync::atomic::{AtomicBool, Ordering};
use base::{PageRange, Vpn};
use hal::Access;
use hal::sim::{Adversary, SimConfig, explore, explore_stops, replay_stops};
use mm::lab::Fault;
use mm::{Advice, AreaFlags, MmEvent, PageView, Placement};
use world::caught::what_is_said;
use world::device::{DEVICE, with_devices};
use world::folios::{one, roomy};
use world::process::{Process, RW};
use world::{CPU0, CPU1, World};

const CPU2: CpuId = CpuId::new(2);
const START: Vpn = Vpn::new(0x10_0000);

fn world(fault: Option<Fault>) -> World {
    let calm = SimConfig { adversary: Adversary::CALM, nr_cpus: 4, ..roomy(7) };
    let world = World::new(with_devices(SimConfig { judges_new_mappings: false, ..calm }));
    fault.into_iter().for_each(|fault| world.system.commit(fault));
    world
}

fn pages(nr: u64) -> PageRange {
    PageRange::of_len(START, nr)
}

fn filled(world: &World, nr: u64) -> Process {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), nr, RW);
    pages.pages().for_each(|page| p.write(page, 0, page.get()));
    p
}

/// Another thread of the process, which only looks.
fn thread_of(p: &Process, cpu: CpuId) -> Process {
    let (world, mm) = (p.world.clone(), Arc::clone(&p.mm));
    Process { world, mm, cpu, oracle: p.oracle.clone() }
}

fn end(world: &World, all: impl IntoIterator<Item = Process>) {
    let mut all: Vec<_> = all.into_iter().collect();
    world.audit();
    all.iter_mut().for_each(Process::verify_all);
    world.audit();
    all.into_iter().for_each(Process::exit);
    world.audit();
    world.assert_devices_empty();
}

/// R1: a page is discarded while its entry is frozen. When that returns, no CPU reaches the frame.
fn discard_while_collected(fault: Option<Fault>, nr: u64, range: u64) {
    let world = world(fault);
    let mut p = filled(&world, 4);
    if nr > 4 {
        // A large folio behind the single pages.
        world.allow_order(2);
        let large = p.map_at(Placement::Fixed(START.add(4)), 4, RW);
        large.pages().for_each(|page| p.write(page, 0, page.get()));
    }
    let other = thread_of(&p, CPU1);
    let migrate = world.machine.spawn_on(CPU1, move || {
        other.to_device(pages(range));
    });
    let mut third = thread_of(&p, CPU2);
    let discard = world.machine.spawn_on(CPU2, move || {
        third.advise(pages(4), Advice::DontNeed);
        third.world.assert_no_stale(&third.mm);
    });
    migrate.join().unwrap();
    discard.join().unwrap();
    p.oracle.pages.retain(|page, _| *page >= START.add(4));
    world.audit();
    p.verify_all();
    pages(4).pages().for_each(|page| assert_eq!(p.load(page.base()), Ok(0), "{page:?}"));
    p.exit();
    world.audit();
}

#[test]
fn s004_r04_no_cpu_reaches_a_page_that_is_discarded_while_it_is_collected() {
    explore_stops(2, || discard_while_collected(None, 4, 4));
}

#[test]
fn s004_r06_nor_where_a_folio_in_between_is_split() {
    replay_stops(&[(1, Some("unlocked for a split")), (2, None), (1, None)], || {
        discard_while_collected(None, 8, 6);
    });
    explore_stops(1, || discard_while_collected(None, 8, 6));
}

/// Row 5: the entries of a table are cleared one by one, and invalidated once.
#[test]
fn s004_r05_512_entries_are_forgotten_with_one_range_and_one_wait() {
    explore(0..1, |_| forgotten_at_once());
}

fn forgotten_at_once() {
    let calm = SimConfig { adversary: Adversary::CALM, ..roomy(1) };
    let world = World::new(with_devices(calm));
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(Vpn::new(0x20_0000)), 512, RW);
    p.fill(pages);
    let count = |event| world.count(event);
    let before =
        [MmEvent::TlbiRange, MmEvent::TlbiPage, MmEvent::TlbiAsid, MmEvent::TlbDsb].map(count);
    p.all_to_device(pages);
    let after =
        [MmEvent::TlbiRange, MmEvent::TlbiPage, MmEvent::TlbiAsid, MmEvent::TlbDsb].map(count);
    let issued: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(issued, [1, 0, 0, 1], "ranges, pages, address spaces, waits");
    p.verify_all();
    p.exit();
}

/// R2: a store through a translation that a discard is about to take away, while the hole behind it
/// moves to the device.
fn store_while_a_hole_moves() {
    let world = world(None);
    let mut p = filled(&world, 1);
    let mut first = thread_of(&p, CPU1);
    let discard = world.machine.spawn_on(CPU1, move || first.advise(pages(1), Advice::DontNeed));
    let second = thread_of(&p, CPU2);
    let migrate = world.machine.spawn_on(CPU2, move || _ = second.to_device(pages(1)));
    p.store(START.base(), 4711).unwrap();
    discard.join().unwrap();
    migrate.join().unwrap();
    let found = p.load(START.base()).unwrap();
    assert!(found == 4711 || found == 0, "the store, or zeroes: {found:#x}");
    p.oracle.pages.clear();
    end(&world, [p]);
}

#[test]
fn s004_r10_a_hole_that_moves_is_zeroes_or_what_was_stored_since() {
    explore_stops(2, store_while_a_hole_moves);
}

/// R10: two CPUs touch a page on a device, and a third migrates around them.
fn touched_by_two(migrates: bool) {
    let world = world(None);
    let p = filled(&world, 2);
    p.all_to_device(pages(2));
    let touch = |cpu| {
        let mut other = thread_of(&p, cpu);
        world.machine.spawn_on(cpu, move || other.verify_all())
    };
    let (one, two) = (touch(CPU1), touch(CPU2));
    if migrates {
        p.to_device(pages(2));
    }
    one.join().unwrap();
    two.join().unwrap();
    if !migrates {
        assert_eq!(world.count(MmEvent::DeviceOut), 2, "each page comes home once");
    }
    end(&world, [p]);
}

#[test]
fn race_r10_a_page_that_two_cpus_touch_comes_home_once() {
    explore_stops(2, || touched_by_two(false));
}

#[test]
fn race_r10_faults_race_with_the_migration_back() {
    explore_stops(2, || touched_by_two(true));
}

/// Row 11: two address spaces that have the pages in opposite order migrate them at once.
fn opposite_order() {
    let world = world(None);
    let p = filled(&world, 2);
    let mut child = p.fork(CPU1);
    // Pages 0 and 1 of the parent are pages 1 and 0 of the child.
    let at = child.remap(one(START), Some(START.add(16)));
    child.remap(one(START.add(1)), Some(START));
    child.remap(at, Some(START.add(1)));
    let child = world.machine.spawn_on(CPU1, move || {
        child.to_device(pages(2));
        child
    });
    p.to_device(pages(2));
    let child = child.join().unwrap();
    let on_device = world.nr_on_device(DEVICE);
    assert!(on_device <= 2, "each page is on the device once: {on_device} frames");
    world.audit();
    end(&world, [p, child]);
}

#[test]
fn s004_r11_two_migrations_in_opposite_order_do_not_wait_for_each_other() {
    explore_stops(2, opposite_order);
}

#[test]
fn s004_r11_a_page_that_is_locked_stays_and_the_others_move() {
    explore(0..1, |_| locked_page_stays());
}

fn locked_page_stays() {
    let world = world(None);
    let mut p = filled(&world, 3);
    p.advise(pages(3), Advice::PageOut);
    let PageView::Swapped(entry) = p.page_view(START.add(1)) else { panic!("not swapped") };
    p.verify_all();
    let locked = world.system.lock_cached(entry).expect("a page in the swap cache");
    assert_eq!(p.to_device(pages(3)), 2);
    assert!(!p.is_on_device(START.add(1)));
    world.on(CPU0, || drop(locked));
    assert_eq!(p.to_device(pages(3)), 1);
    end(&world, [p]);
}

/// A device learns a page while the program gives it up.
fn learned_while_discarded() {
    let world = world(None);
    let mut p = filled(&world, 1);
    let mirror = world.on(CPU0, || p.mm.mirror(DEVICE)).expect("a mirror");
    let mut other = thread_of(&p, CPU1);
    let discard = world.machine.spawn_on(CPU1, move || other.advise(pages(1), Advice::DontNeed));
    world.on(CPU0, || mirror.fault_in(pages(1), Access::Read)).expect("a page");
    discard.join().unwrap();
    let mut bytes = [1; 8];
    if world.on(CPU0, || mirror.read(START, &mut bytes)).is_ok() {
        assert_eq!(p.load(START.base()), Ok(u64::from_le_bytes(bytes)), "both see the same page");
    }
    p.oracle.pages.clear();
    world.on(CPU0, || drop(mirror));
    end(&world, [p]);
}

#[test]
fn s004_what_a_device_learns_is_not_out_of_date() {
    explore_stops(2, learned_while_discarded);
}

/// Row 3, R6 and R14: a CPU writes all the time while the page, or the run of 16 it is in, is collected and
/// put back, so many times on each of four machines.
fn written_while_collected(order: u8) {
    let rounds = if std::env::var_os("GRANULE_LONG").is_some() { 250_000 } else { 60 };
    explore(0..4, move |seed| {
        let (hw_access_flag, hw_dirty) = (seed != 3, seed % 2 == 0);
        let config =
            SimConfig { hw_access_flag, hw_dirty, nr_cpus: 4, ..with_devices(roomy(seed)) };
        let world = World::new(SimConfig { judges_new_mappings: false, ..config });
        world.allow_order(order);
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW | AreaFlags::empty());
        // Nothing but the entry knows of a store from here on.
        p.advise(pages, Advice::Free);
        let page = pages.start.add(pages.nr_pages() / 2);
        let is_over = Arc::new(AtomicBool::new(false));
        let (writer, told) = (thread_of(&p, CPU1), Arc::clone(&is_over));
        let writer = world.machine.spawn_on(CPU1, move || {
            for n in 1.. {
                writer.store(page.base(), n).unwrap();
                if told.load(Ordering::Relaxed) {
                    return n;
                }
            }
            unreachable!("it is told to end")
        });
        for _ in 0..rounds {
            let held = p.mm.hold_folio_of(page);
            p.to_device(pages);
            world.on(CPU0, || drop(held));
        }
        is_over.store(true, Ordering::Relaxed);
        let last = writer.join().unwrap();
        p.advise(pages, Advice::PageOut);
        assert_eq!(p.load(page.base()), Ok(last), "the last store");
        p.oracle.pages.clear();
        p.exit();
        world.audit();
    });
}

#[test]
fn s004_r03_no_store_is_lost_that_comes_while_its_page_is_collected() {
    written_while_collected(0);
}

#[test]
fn race_r14_nor_one_to_a_contiguous_run() {
    written_while_collected(4);
}

/// Row 1: a store after MADV_FREE is in the entry alone; the migration fails; reclaim comes.
fn dirty_bit(fault: Option<Fault>) {
    let world = world(fault);
    let mut p = filled(&world, 1);
    p.advise(pages(1), Advice::Free);
    p.write(START, 0, 4711);
    let held = p.mm.hold_folio_of(START).expect("a page");
    assert_eq!(p.to_device(pages(1)), 0, "somebody holds it");
    world.on(CPU0, || drop(held));
    p.advise(pages(1), Advice::PageOut);
    end(&world, [p]);
}

#[test]
fn s004_r01_a_store_survives_a_migration_that_fails() {
    explore(0..1, |_| dirty_bit(None));
}

#[test]
fn s004_r01_a_dirty_bit_that_is_dropped_is_caught() {
    let said = what_is_said(|| explore(0..1, |_| dirty_bit(Some(Fault::DirtyBitDropped))));
    assert!(said.expect("a store is lost").contains("right: Ok(4711)"));
}

/// What a device has written is dirty when it comes home, whatever the entry says.
fn written_by_a_device(fault: Option<Fault>) {
    let world = world(fault);
    let mut p = filled(&world, 1);
    p.advise(pages(1), Advice::Free);
    p.all_to_device(pages(1));
    let mirror = world.on(CPU0, || p.mm.mirror(DEVICE)).expect("a mirror");
    world.on(CPU0, || mirror.fault_in(pages(1), Access::Write)).expect("its own page");
    world.on(CPU0, || mirror.write(START, &[7; 8])).expect("its own page");
    assert_eq!(p.to_ram(pages(1)), 1);
    let view = p.call(|mm| mm.resident_view(pages(1)));
    assert_eq!((view.private_dirty, view.private_clean), (1, 0), "dirty, clean");
    assert_eq!(p.load(START.base()), Ok(0x0707_0707_0707_0707));
    p.oracle.pages.clear();
    world.on(CPU0, || drop(mirror));
    end(&world, [p]);
}

#[test]
fn s004_what_a_device_has_written_comes_home_dirty() {
    explore(0..1, |_| written_by_a_device(None));
}

#[test]
fn s004_dirty_state_of_a_device_entry_is_caught() {
    let said =
        what_is_said(|| explore(0..1, |_| written_by_a_device(Some(Fault::DeviceEntryDirty))));
    assert!(said.expect("a clean page").contains("dirty, clean"));
}

/// The same with what went wrong in Linux.
#[cfg(shuttle)]
mod caught {
    use super::*;

    #[test]
    fn s004_r04_a_flush_after_the_unlock_is_caught() {
        let legs = [(1, Some("unlocked before the flush")), (2, None), (1, None)];
        let run = || discard_while_collected(Some(Fault::FlushAfterUnlock), 4, 4);
        let said = what_is_said(|| replay_stops(&legs, run));
        assert!(said.expect("a stale translation").contains("stale"));
    }

    #[test]
    fn s004_r06_an_unlock_for_a_split_is_caught() {
        let legs = [(1, Some("unlocked for a split")), (2, None), (1, None)];
        let run = || discard_while_collected(Some(Fault::UnlockedForSplit), 8, 6);
        let said = what_is_said(|| replay_stops(&legs, run));
        assert!(said.expect("a stale translation").contains("stale"));
    }
}
