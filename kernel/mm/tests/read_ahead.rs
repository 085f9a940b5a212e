// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests that a fault reads what its program wants next, and pays nothing for a guess where
//! there is no order to be seen.

mod world;

use base::{Order, PageRange, Vpn};
use hal::sim::{Adversary, IoFault, SimConfig, explore, replay_stops};
use hal::{BlockOp, TagCheckMode};
use mm::{Advice, FaultError, MmEvent, PageView, Placement};
use world::process::{AccessError, Process, RW, TAGGED};
use world::races::CPU2;
use world::{CPU0, CPU1, SWAP, World, config};

/// The first page of a table, and not of the first one.
const START: Vpn = Vpn::new(0x10_0000);
const NR: u64 = 128;

/// A machine on which nothing happens of its own accord, so that all can be counted.
fn calm(seed: u64) -> SimConfig {
    SimConfig { adversary: Adversary::CALM, ..config(seed) }
}

/// Runs `body` where the model checker can be asked.
fn once(body: fn()) {
    explore(0..1, move |_| body());
}

fn of_len(first: u64, nr: u64) -> PageRange {
    PageRange::of_len(START.add(first), nr)
}

/// A process with pages on the disk, from page `first` after [`START`] on, in the order of their slots.
fn swapped(world: &World, first: u64, nr: u64, flags: mm::AreaFlags) -> Process {
    let mut p = world.process(CPU0);
    p.check_tags(TagCheckMode::Sync);
    let pages = p.map_at(Placement::Fixed(START.add(first)), nr, flags);
    p.fill(pages);
    p.page_out(pages);
    p
}

fn touch(p: &Process, page: u64) {
    p.load(START.add(page).base()).unwrap();
}

fn is_present(p: &Process, page: u64) -> bool {
    matches!(p.page_view(START.add(page)), PageView::Present { .. })
}

/// What loads cost: faults, those that waited for the disk, requests, pages read unasked.
fn costs(world: &World, work: impl FnOnce()) -> [u64; 4] {
    use MmEvent::{PgFault, PgMajFault, SwapRa, SwapRequest};
    let counts = || [PgFault, PgMajFault, SwapRequest, SwapRa].map(|event| world.count(event));
    let before = counts();
    work();
    let after = counts();
    [0, 1, 2, 3].map(|n| after[n] - before[n])
}

fn finish(world: &World, mut p: Process) {
    p.verify_all();
    world.audit();
    p.exit();
    world.audit();
    assert_eq!(world.system.swap_areas()[0].nr_used, 0);
    assert_eq!(world.system.tag_bytes_stored(), 0);
}

#[test]
fn who_goes_up_or_down_has_one_fault_for_a_window() {
    once(|| {
        // Four pages alone, then 4, 8, 16, 32 and 64; a request has 32 at most.
        let expected = [9, 9, 10, NR - 9];
        for flags in [RW, TAGGED] {
            for is_up in [true, false] {
                let world = World::new(calm(1));
                let p = swapped(&world, 0, NR, flags);
                let order = |n| if is_up { n } else { NR - 1 - n };
                let spent = costs(&world, || (0..NR).for_each(|n| touch(&p, order(n))));
                assert_eq!(spent, expected, "up: {is_up}");
                assert_eq!(world.count(MmEvent::SwapRaMapped), NR - 9);
                let nr_tagged = if flags == TAGGED { NR } else { 0 };
                assert_eq!(
                    world.count(MmEvent::MteTagsRestored),
                    nr_tagged,
                    "each page's tags once"
                );
                finish(&world, p);
            }
        }
    });
}

#[test]
fn without_hardware_access_flags_a_page_takes_a_fault_but_no_request() {
    once(|| {
        let world = World::new(SimConfig { hw_access_flag: false, hw_dirty: false, ..calm(1) });
        let p = swapped(&world, 0, NR, RW);
        let spent = costs(&world, || (0..NR).for_each(|n| touch(&p, n)));
        assert_eq!(spent, [NR, 9, 10, NR - 9]);
        finish(&world, p);
    });
}

#[test]
fn a_row_goes_on_in_the_next_table() {
    once(|| {
        let world = World::new(calm(1));
        let p = swapped(&world, 512 - 32, 64, RW);
        (0..32).for_each(|n| touch(&p, 480 + n));
        let spent = costs(&world, || (0..32).for_each(|n| touch(&p, 512 + n)));
        assert_eq!(spent, [1, 1, 1, 31]);
        finish(&world, p);
    });
}

#[test]
fn a_window_ends_with_the_area_and_with_the_table() {
    once(|| {
        let world = World::new(calm(1));
        let mut p = swapped(&world, 0, 24, RW);
        let next = p.map_at(Placement::Fixed(START.add(24)), 8, RW | mm::AreaFlags::NO_HUGE);
        p.fill(next);
        p.page_out(next);
        (0..16).for_each(|n| touch(&p, n));
        assert_eq!(costs(&world, || touch(&p, 16)), [1, 1, 1, 7]);
        assert!(next.pages().all(|page| p.is_swapped(page)), "another area's");
        p.exit();
        let p = swapped(&world, 512 - 48, 64, RW);
        (0..40).for_each(|n| touch(&p, 464 + n));
        assert_eq!(costs(&world, || touch(&p, 504)), [0; 4], "read with 496");
        assert!(!is_present(&p, 512));
        finish(&world, p);
    });
}

#[test]
fn touches_in_no_order_read_what_they_touch() {
    once(|| {
        let world = World::new(calm(1));
        let p = swapped(&world, 0, NR, RW);
        // Every third page, and then those between: three in a row at most.
        let order = (0..NR).step_by(3).chain((1..NR).step_by(3));
        let nr = order.clone().count() as u64;
        let spent = costs(&world, || order.for_each(|page| touch(&p, page)));
        assert_eq!(spent, [nr, nr, nr, 0]);
        finish(&world, p);
    });
}

#[test]
fn a_wrong_guess_ends_the_row_and_goes_first_and_unwritten() {
    once(|| {
        let world = World::new(calm(1));
        let p = swapped(&world, 0, 64, RW);
        (0..8).for_each(|n| touch(&p, n));
        assert_eq!(costs(&world, || touch(&p, 8)), [1, 1, 1, 7]);
        // Pages 9 to 15 are there, and nobody wants them.
        assert_eq!(costs(&world, || touch(&p, 16)), [1, 1, 1, 0]);
        let written = world.count(MmEvent::PswpOut);
        world.on(CPU0, || world.system.reclaim_pages(4));
        assert!((9..16).all(|page| !is_present(&p, page)), "what was not used goes");
        assert!((0..9).all(|page| is_present(&p, page)), "what was used stays");
        assert_eq!(world.count(MmEvent::PswpOut), written, "it is on the disk as it was");
        finish(&world, p);
    });
}

#[test]
fn s000_r11_pages_read_ahead_and_dropped_have_their_tags_at_the_real_fault() {
    once(|| {
        let world = World::new(calm(1));
        let mut p = swapped(&world, 0, 32, TAGGED);
        (0..9).for_each(|n| touch(&p, n));
        assert!(is_present(&p, 15), "read ahead");
        world.on(CPU0, || world.system.reclaim_pages(4));
        assert!(!is_present(&p, 15), "dropped");
        p.verify(START.add(15));
        finish(&world, p);
    });
}

#[test]
fn pages_of_zeroes_take_no_request_and_split_the_others() {
    once(|| {
        let world = World::new(calm(1));
        let mut p = world.process(CPU0);
        let pages = p.map_at(Placement::Fixed(START), 16, RW);
        p.fill(pages);
        p.write(START.add(11), 0, 0);
        p.page_out(pages);
        (0..8).for_each(|n| touch(&p, n));
        assert_eq!(costs(&world, || touch(&p, 8)), [1, 1, 2, 7]);
        finish(&world, p);
    });
}

#[test]
fn folios_are_read_ahead_whole() {
    once(|| {
        let world = World::new(SimConfig { adversary: Adversary::CALM, ..world::folios::roomy(1) });
        world.allow_order(4);
        let p = swapped(&world, 0, NR, RW);
        // A folio of 16 alone, one more, then two, then four.
        let spent = costs(&world, || (0..NR).for_each(|n| touch(&p, n)));
        assert_eq!(spent, [4, 4, 4, 4 * 16]);
        let runs = world.system.thp().stats().total(mm::ThpStat::Swpin, Order::CONT);
        assert_eq!(runs, 8, "as whole folios");
        finish(&world, p);
    });
}

#[test]
fn a_cluster_of_one_page_reads_nothing_ahead() {
    once(|| {
        let world = World::new(calm(1));
        let p = swapped(&world, 0, NR, RW);
        world.system.set_page_cluster(0);
        let spent = costs(&world, || (0..NR).for_each(|n| touch(&p, n)));
        assert_eq!(spent, [NR, NR, NR, 0]);
        finish(&world, p);
    });
}

/// Each request fails once. One of many pages costs nobody anything: the page that is wanted is read
/// alone.
#[test]
fn each_request_fails_once() {
    once(|| {
        for k in 1..=12 {
            let world = World::new(calm(k));
            let p = swapped(&world, 0, NR, TAGGED);
            world.machine.fail_io(IoFault::any().on(SWAP).of(BlockOp::Read).nth(k));
            let refused: Vec<_> =
                (0..NR).filter(|n| p.load(START.add(*n).base()).is_err()).collect();
            // The first four are alone.
            let expected = if k <= 4 { vec![k - 1] } else { vec![] };
            assert_eq!(refused, expected, "request {k}");
            world.audit();
            finish(&world, p);
        }
    });
}

/// A page that cannot be read at all is a bus error for who touches it, and nothing to its neighbours.
#[test]
fn an_unreadable_page_in_a_window_is_its_own_misfortune() {
    once(|| {
        let world = World::new(calm(1));
        let p = swapped(&world, 0, 32, TAGGED);
        let PageView::Swapped(entry) = p.page_view(START.add(10)) else { panic!("swapped") };
        let sectors = u64::from(entry.slot) * 8..u64::from(entry.slot) * 8 + 8;
        world.machine.fail_io(IoFault::any().on(SWAP).of(BlockOp::Read).at(sectors));
        for n in (0..32).filter(|n| *n != 10) {
            touch(&p, n);
        }
        let refused = p.load(START.add(10).base());
        assert_eq!(refused, Err(AccessError::Fault(FaultError::NoContent)));
        world.machine.clear_io_faults();
        finish(&world, p);
    });
}

/// Each allocation fails once: that of a guess ends the guess, and no fault.
#[test]
fn each_allocation_fails_once() {
    once(|| {
        let mut nr_refused = 0;
        for n in 1.. {
            let world = World::new(calm(n));
            let p = swapped(&world, 0, 32, TAGGED);
            (0..8).for_each(|page| touch(&p, page));
            let asked = world.machine.asked_allocs();
            world.machine.fail_nth_alloc(n);
            let read = p.load(START.add(8).base());
            let is_past_the_last = world.machine.asked_allocs() < asked + n;
            world.machine.fail_allocs(0);
            nr_refused += u32::from(read.is_err());
            assert!(read.is_ok() || n <= 3, "allocation {n} is that of a guess");
            world.audit();
            finish(&world, p);
            if is_past_the_last {
                assert!(n > 8, "a window allocates");
                break;
            }
        }
        assert!(nr_refused > 0, "that of the page itself fails the fault");
    });
}

/// Runs threads beside one another over pages in swap, of which the first eight were used.
fn beside(others: fn(&World, &Process) -> Vec<world::races::Handle<()>>) {
    let nr = if cfg!(shuttle) { 60 } else { 40 };
    explore(world::seeds(nr), move |seed| {
        let hw_access_flag = seed % 4 != 3;
        let hw_dirty = hw_access_flag && seed % 2 == 0;
        let config = SimConfig { nr_cpus: 4, judges_new_mappings: false, ..config(seed) };
        let world = World::new(SimConfig { hw_access_flag, hw_dirty, ..config }).patient();
        let p = swapped(&world, 0, 24, TAGGED);
        (0..8).for_each(|n| touch(&p, n));
        let others = others(&world, &p);
        (8..20).for_each(|n| touch(&p, n));
        others.into_iter().for_each(|other| other.join().unwrap());
        finish_all(&world, p);
    });
}

fn finish_all(world: &World, mut p: Process) {
    world.audit();
    p.verify_all();
    world.audit();
    p.exit();
    world.audit();
    if let Some(area) = world.system.swap_areas().first() {
        assert_eq!(area.nr_used, 0);
    }
    assert_eq!(world.system.tag_bytes_stored(), 0);
}

#[test]
fn two_windows_that_overlap() {
    beside(|_, p| {
        vec![world::races::thread(p, CPU1, |p| {
            (8..24).rev().for_each(|n| touch(&p, n));
        })]
    });
}

/// A fault sees its slot on the disk only; before it can cache it another fault has, and is reading it.
#[test]
fn two_windows_that_begin_with_one_slot() {
    let legs = [(1, Some("only on disk")), (2, Some("window chosen")), (1, None), (2, None)];
    replay_stops(&legs, || {
        let world = World::new(SimConfig { nr_cpus: 4, judges_new_mappings: false, ..calm(3) });
        let p = swapped(&world, 0, 24, TAGGED);
        (0..8).for_each(|n| touch(&p, n));
        let threads = [CPU1, CPU2].map(|cpu| world::races::thread(&p, cpu, |p| touch(&p, 8)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        finish_all(&world, p);
    });
}

#[test]
fn a_window_beside_reclaim() {
    beside(|_, p| {
        let out = |p: Process| {
            p.call(|mm| mm.advise(of_len(4, 16), Advice::PageOut)).unwrap();
            p.world.on(CPU1, || p.world.system.reclaim_pages(16));
        };
        vec![world::races::thread(p, CPU1, out)]
    });
}

#[test]
fn a_window_beside_fork_and_exit() {
    beside(|_, p| {
        let child = p.fork(CPU1);
        let own = |mut child: Process| {
            child.check_tags(TagCheckMode::Sync);
            (6..14).for_each(|n| child.verify(START.add(n)));
            let grandchild = child.fork(CPU1);
            grandchild.exit();
            child.exit();
        };
        vec![child.world.machine.clone().spawn_on(CPU1, move || own(child))]
    });
}

#[test]
fn a_window_beside_swapoff() {
    beside(|world, _| {
        let other = world.clone();
        let off = move || {
            let off = other.system.swap_off(SWAP, || false);
            assert_eq!(off, Ok(()));
        };
        vec![world.machine.spawn_on(CPU1, off)]
    });
}

/// Pages go away while they are read for somebody: their slots are given up all the same.
#[test]
fn a_window_beside_dontneed() {
    let nr = if cfg!(shuttle) { 60 } else { 40 };
    explore(world::seeds(nr), move |seed| {
        let config = SimConfig { nr_cpus: 4, judges_new_mappings: false, ..config(seed) };
        let world = World::new(config);
        let p = swapped(&world, 0, 24, TAGGED);
        (0..8).for_each(|n| touch(&p, n));
        let other = world::races::thread(&p, CPU1, |p| {
            p.call(|mm| mm.advise(of_len(10, 10), Advice::DontNeed)).unwrap();
        });
        (8..16).for_each(|n| touch(&p, n));
        other.join().unwrap();
        (10..20).for_each(|n| assert_eq!(p.load(START.add(n).base()), Ok(0)));
        world.audit();
        p.exit();
        world.audit();
        world.on(CPU0, || world.system.reclaim_pages(64));
        assert_eq!(world.system.swap_areas()[0].nr_used, 0);
        assert_eq!(world.system.tag_bytes_stored(), 0);
    });
}
