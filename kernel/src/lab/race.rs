// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs races over swap slots on the real machine, each in the one order that matters: a CPU is
//! held at a stop point, the others do their part, and it goes on. Boot option `lab.race`; with `lab.fault`
//! the kernel has the historical bug, and does not survive.
//!
//! The same races under every schedule: `kernel/mm/tests/{s002_swapoff,s002_races}.rs`.

use alloc::boxed::Box;
use alloc::sync::Arc;

use base::percpu::CpuId;
use base::sync::atomic::{AtomicBool, Ordering};
use base::sync::{self, Hold};
use base::{Order, PageRange, VirtAddr, Vpn};
use hal::{DiskId, Wait};
use mm::lab::Refault;
use mm::{
    Advice, AreaFlags, MapRequest, Mm, MmEvent, PageView, Placement, SizeEnabled, SwapOffError,
    System,
};

use crate::machine::Granule;
use crate::smp;

/// A race.
type Race = fn(&'static Arc<System<Granule>>);

const RACES: [(&str, Race); 6] = [
    ("five_steps", five_steps),
    ("r02_split_after_lookup", split_after_lookup),
    ("r03_run_wanted_late", run_wanted_late),
    ("r04_lookup_while_renamed", lookup_while_renamed),
    ("r05_two_faults", two_faults),
    ("r12_fork_behind_swapoff", fork_behind_swapoff),
];

const DISK: DiskId = DiskId(0);
const START: Vpn = Vpn::new(0x10_0000);
const CPU1: CpuId = CpuId::new(1);
const CPU2: CpuId = CpuId::new(2);

/// Runs the race that boot option `lab.race` names, and checks that nothing is left of it.
///
/// # Panics
///
/// When there is no such race, or it ends as it should not.
pub fn run(name: &str, system: &'static Arc<System<Granule>>) {
    let race = RACES.iter().find(|race| race.0 == name);
    let (name, race) = race.unwrap_or_else(|| panic!("lab: no race is called {name:?}"));
    system.swap_on(DISK, None).expect("an area on the first disk");
    race(system);
    system.audit();
    assert_eq!(system.swap_slots().0, system.swap_slots().1, "slots in use");
    log::info!("lab: race {name}: passed");
}

/// What another CPU does.
struct Party(Arc<AtomicBool>);

impl Party {
    fn on(cpu: CpuId, work: impl FnOnce() + Send + 'static) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&is_done);
        smp::run_on(
            cpu,
            Box::new(move || {
                work();
                its.store(true, Ordering::Release);
                sync::notify();
            }),
        );
        Self(is_done)
    }

    fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn join(self, system: &System<Granule>) {
        wait_until(system, || self.is_done());
    }
}

/// Waits on the boot CPU, which takes the disk's interrupts for all.
fn wait_until(system: &System<Granule>, is_so: impl Fn() -> bool) {
    while !is_so() {
        system.machine().cond_resched();
        sync::relax();
    }
}

type Space = Arc<Mm<Granule>>;

fn pages(nr: u64) -> PageRange {
    PageRange::of_len(START, nr)
}

fn page(n: u64) -> PageRange {
    PageRange::of_len(START.add(n), 1)
}

fn at(n: u64) -> VirtAddr {
    START.add(n).base()
}

/// An address space with `nr` pages in swap, each with its number, in a folio of 2^`order` pages.
fn swapped(system: &Arc<System<Granule>>, nr: u64, order: u8) -> Space {
    if order > 0 {
        system.thp().settings().set_size(Order::new(order), SizeEnabled::Always);
    }
    let mm = Mm::new(system).expect("an address space");
    let flags = AreaFlags::READ | AreaFlags::WRITE;
    mm.map(MapRequest::anon(Placement::Fixed(START), nr, flags)).expect("an area");
    for n in 0..nr {
        mm.write_remote(at(n), &(n + 1).to_le_bytes()).expect("a page");
    }
    mm.advise(pages(nr), Advice::PageOut).expect("advice");
    let views = mm.page_views(pages(nr));
    assert!(views.iter().all(|view| matches!(view, PageView::Swapped(_))), "{views:?}");
    mm
}

/// Gives up all of 4 pages but one.
fn keep_only(mm: &Space, own: u64) {
    let others = (0..4).filter(|n| *n != own);
    others.for_each(|n| mm.unmap(page(n)).expect("munmap"));
}

fn verify(mm: &Space, n: u64) {
    let mut bytes = [0; 8];
    mm.read_remote(at(n), &mut bytes).unwrap_or_else(|why| panic!("page {n}: {why:?}"));
    assert_eq!(u64::from_le_bytes(bytes), n + 1, "page {n}");
}

fn keep_cached(system: &System<Granule>, keep: bool) {
    system.set_refault(Refault { stays_cached: keep, ..Refault::default() });
}

fn swap_off(system: &System<Granule>) -> Result<(), SwapOffError> {
    system.swap_off(DISK, || false)
}

/// R1: free_swap_and_cache() against swapoff(), as linux-mm told it (docs/experiments/002-swapoff.md).
fn five_steps(system: &'static Arc<System<Granule>>) {
    keep_cached(system, true);
    let first = swapped(system, 4, 2);
    let second = first.fork().expect("a child");
    keep_only(&first, 0);
    keep_only(&second, 1);
    let lowered = Hold::at("counts lowered");
    let exit = Party::on(CPU1, move || first.put_user());
    wait_until(system, || lowered.is_held());
    Party::on(CPU2, move || second.put_user()).join(system);
    // Nothing is in use. Swapoff waits for the first process, or, in 2024, is through.
    let waits = Hold::at("last user waited for");
    let off = Party::on(CPU2, move || assert_eq!(swap_off(system), Ok(())));
    wait_until(system, || waits.is_held());
    waits.release();
    if system.has_faults() {
        off.join(system);
        lowered.release();
        return exit.join(system);
    }
    assert!(!off.is_done(), "the first process still has the area");
    lowered.release();
    exit.join(system);
    off.join(system);
}

/// R2: a folio is split between the lookup of one of its pages and the lock.
fn split_after_lookup(system: &'static Arc<System<Granule>>) {
    let (p, q) = partly_mapped(system);
    // With the bug every count is looked at while the reader stands: it must not have the folio then.
    let found = Hold::at(if system.has_faults() { "swap entry read" } else { "folio found" });
    let reader = Arc::clone(&q);
    let lookup = Party::on(CPU1, move || verify(&reader, 1));
    wait_until(system, || found.is_held());
    Party::on(CPU2, move || _ = system.reclaim_pages(1)).join(system);
    if system.has_faults() {
        // Whoever looks again would find the old folio for ever.
        system.audit();
    }
    found.release();
    lookup.join(system);
    end(system, [p, q]);
}

/// R4: a page is looked up while its folio is split and the slots get their new names.
fn lookup_while_renamed(system: &'static Arc<System<Granule>>) {
    let (p, q) = partly_mapped(system);
    let renamed = Hold::at("slots are renamed");
    let split = Party::on(CPU2, move || _ = system.reclaim_pages(1));
    wait_until(system, || renamed.is_held());
    let found = Hold::at("folio found");
    let reader = Arc::clone(&q);
    let lookup = Party::on(CPU1, move || verify(&reader, 1));
    wait_until(system, || found.is_held());
    renamed.release();
    split.join(system);
    found.release();
    lookup.join(system);
    end(system, [p, q]);
}

/// A folio of 4 pages in the cache: one process maps 3, and another has entries for its slots.
fn partly_mapped(system: &Arc<System<Granule>>) -> (Space, Space) {
    keep_cached(system, true);
    let p = swapped(system, 4, 2);
    let q = p.fork().expect("a child");
    (0..4).for_each(|n| verify(&p, n));
    p.unmap(page(3)).expect("munmap");
    (p, q)
}

/// R3: a fault wants a run, of which somebody has cached a page meanwhile.
fn run_wanted_late(system: &'static Arc<System<Granule>>) {
    let p = swapped(system, 4, 2);
    let q = p.fork().expect("a child");
    keep_only(&q, 1);
    let unread = Hold::at("only on disk");
    let reader = Arc::clone(&p);
    let run = Party::on(CPU1, move || verify(&reader, 0));
    wait_until(system, || unread.is_held());
    let reader = Arc::clone(&q);
    Party::on(CPU2, move || verify(&reader, 1)).join(system);
    unread.release();
    run.join(system);
    (0..4).for_each(|n| verify(&p, n));
    end(system, [p, q]);
}

/// R5: two faults on one slot.
fn two_faults(system: &'static Arc<System<Granule>>) {
    let p = swapped(system, 1, 0);
    let q = p.fork().expect("a child");
    let unread = Hold::at("only on disk");
    let reader = Arc::clone(&p);
    let late = Party::on(CPU1, move || verify(&reader, 0));
    wait_until(system, || unread.is_held());
    let reader = Arc::clone(&q);
    Party::on(CPU2, move || verify(&reader, 0)).join(system);
    unread.release();
    late.join(system);
    let nr_read = system.counters().total(MmEvent::PswpIn);
    assert_eq!(nr_read, 1, "one of them read it");
    end(system, [p, q]);
}

/// R12: fork copies entries while swapoff is about to visit the parent.
fn fork_behind_swapoff(system: &'static Arc<System<Granule>>) {
    // A number below that of the parent, free again.
    let early = Mm::new(system).expect("an address space");
    let p = swapped(system, 2, 0);
    early.put_user();
    let chosen = Hold::at("address space chosen");
    let off = Party::on(CPU1, move || assert_eq!(swap_off(system), Ok(())));
    wait_until(system, || chosen.is_held());
    let q = p.fork().expect("a child");
    chosen.release();
    off.join(system);
    system.audit();
    (0..2).for_each(|n| verify(&q, n));
    end(system, [p, q]);
}

fn end(system: &System<Granule>, all: [Space; 2]) {
    keep_cached(system, false);
    system.audit();
    all.into_iter().for_each(|mm| mm.put_user());
}
