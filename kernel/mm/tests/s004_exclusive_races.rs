// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file races a device that has a page for itself with those who take the page back, under every
//! schedule of the stop points; what could go wrong is switched on, and is caught.

mod world;

use std::sync::Arc;

use base::Vpn;
use base::percpu::CpuId;
use hal::Access;
use hal::sim::{Adversary, SimConfig, explore_stops};
use mm::lab::{Fault, TlbFault};
use mm::{Advice, MirrorError, Placement, Prot};
use world::caught::what_is_said;
use world::device::{DEVICE, OTHER, with_devices};
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

/// A process with one page, which says 1.
fn process(world: &World) -> Process {
    let mut p = world.process(CPU0);
    let pages = p.map_at(Placement::Fixed(START), 1, RW);
    p.write(pages.start, 0, 1);
    p.oracle.pages.clear();
    p
}

/// Another thread of the process.
fn thread_of(p: &Process, cpu: CpuId) -> Process {
    let (world, mm) = (p.world.clone(), Arc::clone(&p.mm));
    Process { world, mm, cpu, oracle: p.oracle.clone() }
}

/// A device adds 1 to a word, by a load and a store, while two CPUs access the page: CPU 1 loads, CPU 2
/// stores 100. Whichever way round, the sum is one of two.
fn added_while_stored(fault: Option<Fault>) {
    let world = world(fault);
    let p = process(&world);
    let mirror = world.on(CPU0, || p.mm.mirror(DEVICE)).expect("a mirror");
    world.on(CPU0, || mirror.make_exclusive(START)).expect("a page");
    let (first, second) = (thread_of(&p, CPU1), thread_of(&p, CPU2));
    let load = world.machine.spawn_on(CPU1, move || first.load(START.base()).map(|_| ()));
    let store = world.machine.spawn_on(CPU2, move || second.store(START.base(), 100).unwrap());
    let old = world.on(CPU0, || mirror.update(START, 0, |old| old + 1));
    load.join().unwrap().unwrap();
    store.join().unwrap();
    let sum = p.load(START.base()).unwrap();
    match old {
        Ok(1) => assert_eq!(sum, 100, "stored after the device's load and store"),
        Ok(100) => panic!("stored, and the device still has the page for itself"),
        other => assert_eq!((other, sum), (Err(MirrorError::Unknown), 100), "taken back before"),
    }
    world.audit();
    world.on(CPU0, || drop(mirror));
    p.exit();
    world.audit();
}

#[test]
fn s004_exclusive_no_store_falls_between_a_devices_load_and_its_store() {
    explore_stops(2, || added_while_stored(None));
}

/// A device that wants a page all the time, and CPUs that want it back: no addition is lost.
fn counted_by_both(other_device: bool) {
    let world = world(None);
    let p = process(&world);
    let mirror = world.on(CPU0, || p.mm.mirror(DEVICE)).expect("a mirror");
    let other = world.on(CPU0, || p.mm.mirror(OTHER)).expect("a mirror");
    let thread = thread_of(&p, CPU1);
    let add = |mirror: &mm::Mirror<_>| loop {
        mirror.make_exclusive(START).expect("a page");
        match mirror.update(START, 0, |old| old + 1) {
            Ok(_) => break,
            Err(why) => assert_eq!(why, MirrorError::Unknown),
        }
    };
    let beside = world.machine.spawn_on(CPU1, move || {
        if other_device {
            add(&other);
        } else {
            thread.store(START.base().wrapping_add(8), 5).unwrap();
        }
        other
    });
    world.on(CPU0, || add(&mirror));
    let other = beside.join().unwrap();
    let expected = if other_device { (3, 0) } else { (2, 5) };
    let found = (p.load(START.base()).unwrap(), p.load(START.base().wrapping_add(8)).unwrap());
    assert_eq!(found, expected);
    world.audit();
    world.on(CPU0, || drop((mirror, other)));
    p.exit();
    world.audit();
}

#[test]
fn s004_exclusive_a_cpu_and_a_device_change_one_page() {
    explore_stops(2, || counted_by_both(false));
}

#[test]
fn s004_exclusive_two_devices_take_turns() {
    explore_stops(2, || counted_by_both(true));
}

/// What else changes the entry while a device takes the page and works on it.
fn changed_meanwhile(change: fn(&mut Process)) {
    let world = world(None);
    let mut p = process(&world);
    let mirror = world.on(CPU0, || p.mm.mirror(DEVICE)).expect("a mirror");
    let mut beside = thread_of(&p, CPU1);
    let pages = one(START);
    beside.oracle.pages = p.oracle.pages.clone();
    let beside = world.machine.spawn_on(CPU1, move || change(&mut beside));
    let taken = world.on(CPU0, || mirror.make_exclusive(START));
    let old = world.on(CPU0, || mirror.update(START, 0, |old| old + 1));
    beside.join().unwrap();
    world.audit();
    match taken {
        Ok(()) => assert!(matches!(old, Ok(0 | 1) | Err(MirrorError::Unknown)), "{old:?}"),
        Err(why) => assert_eq!((why, old), (MirrorError::Fault, Err(MirrorError::Unknown))),
    }
    p.call(|mm| mm.unmap(pages)).expect("unmap");
    assert!(!mirror.has_exclusive(pages), "nothing is there");
    world.on(CPU0, || drop(mirror));
    p.oracle.pages.clear();
    p.exit();
    world.audit();
    world.assert_devices_empty();
}

#[test]
fn s004_exclusive_races_with_what_else_changes_the_entry() {
    explore_stops(2, || changed_meanwhile(|p| p.call(|mm| mm.unmap(one(START))).unwrap()));
    explore_stops(2, || {
        changed_meanwhile(|p| p.call(|mm| mm.advise(one(START), Advice::DontNeed)).unwrap());
    });
    explore_stops(2, || {
        changed_meanwhile(|p| p.call(|mm| mm.advise(one(START), Advice::PageOut)).unwrap());
    });
    explore_stops(2, || {
        changed_meanwhile(|p| p.call(|mm| mm.protect(one(START), Prot::READ, false)).unwrap());
    });
    explore_stops(2, || {
        changed_meanwhile(|p| {
            let child = p.call(|mm| mm.fork()).expect("fork");
            // It has never run.
            p.call(|_| child.put_user());
        });
    });
    explore_stops(2, || changed_meanwhile(|p| _ = p.to_device(one(START))));
    explore_stops(2, || {
        changed_meanwhile(|p| {
            p.world.on(p.cpu, || drop(p.mm.pin(START, Access::Write).expect("a pin")));
        });
    });
}

/// A page that the other CPU still has in its TLB when the device has it for itself.
fn known_to_a_tlb(fault: Option<TlbFault>) {
    let world = world(None);
    fault.into_iter().for_each(|fault| world.system.weaken(fault));
    let p = process(&world);
    let other = thread_of(&p, CPU1);
    other.store(START.base(), 1).unwrap();
    let mirror = world.on(CPU0, || p.mm.mirror(DEVICE)).expect("a mirror");
    world.on(CPU0, || mirror.make_exclusive(START)).expect("a page");
    let stored = world.on(CPU1, || world.machine.store(CPU1, START.base(), 2));
    assert!(stored.is_err(), "a CPU reaches a page that a device has for itself");
    world.on(CPU0, || drop(mirror));
    world.on(CPU1, || world.system.deactivate());
    p.exit();
    world.audit();
}

#[test]
fn s004_exclusive_a_translation_that_stays_is_caught() {
    hal::sim::explore(0..1, |_| known_to_a_tlb(None));
    let run = || hal::sim::explore(0..1, |_| known_to_a_tlb(Some(TlbFault::ReplacedUnbroken)));
    assert!(what_is_said(run).expect("a store").contains("for itself"));
}

/// The same with the order of telling the device and making the entry valid reversed.
#[cfg(shuttle)]
#[test]
fn s004_exclusive_an_entry_made_valid_before_the_device_is_told_is_caught() {
    let run = || _ = explore_stops(2, || added_while_stored(Some(Fault::ExclusiveEndedLate)));
    let said = what_is_said(run).expect("a lost store");
    assert!(said.contains("stored after") || said.contains("still has"), "{said}");
}
