// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes each allocation, or each disk request, of a scenario fail once.

use base::PageRange;
use hal::sim::{Adversary, IoFault, SimConfig};
use mm::{FaultError, MmEvent};

use super::folios::{nr_pages, roomy};
use super::process::{AccessError, Process, TAGGED};
use super::{CPU0, CPU1, Footprint, World};

/// The orders of large folios that failures are shown for.
pub const ORDERS: [u8; 3] = [2, 4, 9];

pub const OUT_OF_MEMORY: AccessError = AccessError::Fault(FaultError::OutOfMemory);

/// What fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Allocation,
    Request,
}

impl What {
    /// Returns how many there were so far.
    fn count(self, world: &World) -> u64 {
        match self {
            What::Allocation => world.machine.asked_allocs(),
            What::Request => world.requests(),
        }
    }

    fn fail_nth(self, world: &World, n: u64) {
        match self {
            What::Allocation => world.machine.fail_nth_alloc(n),
            What::Request => world.machine.fail_io(IoFault::any().nth(n)),
        }
    }
}

/// Lets nothing fail any more.
pub fn fail_nothing(world: &World) {
    world.machine.fail_allocs(0);
    world.machine.clear_io_faults();
}

/// Runs `act` after `prepare`, once for each allocation or request it makes, with that one failing,
/// in folios of `order`. `act` says whether it did all that it was to do; either way all counts must
/// add up and the oracles agree. With nothing failing, it must do it then. The first process that
/// `prepare` returns is the one that acts. Returns how often `act` fell short.
pub fn fail_each(
    what: What,
    order: u8,
    prepare: impl Fn(&World) -> Vec<Process>,
    act: impl Fn(&mut Process) -> bool,
) -> u32 {
    let run = |nth: Option<u64>| {
        let world = calm_world(order);
        let before = world.footprint();
        let mut processes = prepare(&world);
        world.audit();
        let first = what.count(&world);
        nth.into_iter().for_each(|n| what.fail_nth(&world, n));
        let went_through = act(&mut processes[0]);
        let asked = what.count(&world) - first;
        fail_nothing(&world);
        check(&world, &mut processes[..1]);
        if !went_through {
            assert!(nth.is_some(), "{order}: nothing failed");
            assert!(act(&mut processes[0]), "{order}: {what:?} {nth:?} failed, and none fails now");
        }
        check(&world, &mut processes);
        processes.into_iter().for_each(Process::exit);
        world.audit();
        let retired = world.count(MmEvent::SwpOutError);
        let expected = Footprint { swap_free: before.swap_free - retired, ..before };
        assert_eq!(world.footprint(), expected, "order {order}, {what:?} {nth:?}");
        (asked, went_through)
    };
    let (total, _) = run(None);
    assert!(total > 0, "order {order}: the scenario has no {what:?}");
    let fell_short = |n: &u64| {
        let (asked, went_through) = run(Some(*n));
        assert!(asked >= *n, "order {order}: {what:?} {n} of {total} has failed");
        !went_through
    };
    chosen(total).into_iter().filter(fell_short).count() as u32
}

/// Returns which of `total` are to fail: all, or the first and the last ones and some between, where
/// they are many of one kind (`GRANULE_LONG` takes its time and has all).
fn chosen(total: u64) -> Vec<u64> {
    let is_chosen = |n: &u64| {
        total <= 40
            || std::env::var_os("GRANULE_LONG").is_some()
            || *n <= 12
            || *n > total - 6
            || n.is_multiple_of(total / 6)
    };
    (1..=total).filter(is_chosen).collect()
}

fn check(world: &World, processes: &mut [Process]) {
    world.audit();
    processes.iter_mut().for_each(Process::verify_all);
    world.audit();
}

/// A machine that does nothing of its own accord, so that what it is asked for repeats exactly.
pub fn calm_world(order: u8) -> World {
    // mremap stores a moved entry before its old place is invalidated, both tables locked.
    let world = World::new(SimConfig {
        adversary: Adversary::CALM,
        judges_new_mappings: false,
        ..roomy(u64::from(order))
    });
    world.allow_order(order);
    world
}

/// Returns the pages of the first folio of a process.
pub fn first_folio(p: &Process, order: u8) -> PageRange {
    PageRange::of_len(p.oracle.mapped()[0], nr_pages(order))
}

/// One process with one folio, whose pages have content and tags of their own.
pub fn alone(world: &World, order: u8) -> Vec<Process> {
    let mut p = world.tagged_process();
    p.new_folios(order, 1, TAGGED);
    vec![p]
}

/// Three processes that share one folio: a third one's share needs room beyond the descriptor.
pub fn three(world: &World, order: u8) -> Vec<Process> {
    let mut all = alone(world, order);
    for cpu in [CPU1, CPU0] {
        let child = all[0].fork(cpu);
        child.check_tags(hal::TagCheckMode::Sync);
        all.push(child);
    }
    all
}

/// Like [`alone`], with every tenth page full of tags that need a record, and paged out.
pub fn swapped(world: &World, order: u8) -> Vec<Process> {
    let mut all = with_long_records(world, order);
    let pages = first_folio(&all[0], order);
    all[0].page_out(pages);
    all
}

pub fn with_long_records(world: &World, order: u8) -> Vec<Process> {
    let all = alone(world, order);
    for page in first_folio(&all[0], order).pages().step_by(10) {
        // Not the granules that the oracle knows.
        for granule in (2..127).chain(128..255) {
            let tag = (granule * 7 + page.get()) % 15 + 1;
            let at = page.base().wrapping_add(granule * 16);
            all[0].store_tag(at, tag as u8).unwrap();
        }
    }
    all
}

pub fn ran_out(result: Result<(), AccessError>) -> bool {
    result.map_err(|why| assert_eq!(why, OUT_OF_MEMORY)).is_ok()
}

/// Pages that lie inside a folio, at no edge of a contiguous run.
pub fn inner(p: &Process, order: u8) -> PageRange {
    PageRange::of_len(first_folio(p, order).start.add(1), nr_pages(order) / 2)
}
