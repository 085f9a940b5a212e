// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets several CPUs at once want the 2 MiB of zeroes that loads map as one block.

mod world;

use base::{PageRange, Vpn};
use mm::{Advice, Placement};
use world::process::{Process, RW};
use world::races::{CPU2, CPU3, schedules_on, thread};
use world::{CPU0, CPU1, World};

const START: Vpn = Vpn::new(0x10_0000);
const BLOCK: u64 = 512;

fn process_with_room(world: &World, cpu: base::percpu::CpuId) -> (Process, PageRange) {
    let mut p = world.process(cpu);
    let pages = p.map_at(Placement::Fixed(START), BLOCK, RW);
    (p, pages)
}

/// Processes come and go, each a user for a moment, while reclaim takes what nobody uses.
#[test]
fn they_are_made_once_at_a_time_and_freed_after_their_last_user() {
    schedules_on(4, |world| {
        world.allow_order(9);
        let before = world.footprint();
        let come_and_go = |cpu| {
            let theirs = world.clone();
            world.machine.spawn_on(cpu, move || {
                for round in 0..4 {
                    let (mut p, pages) = process_with_room(&theirs, cpu);
                    assert_eq!(p.load(pages.start.add(round).base()), Ok(0));
                    if round == 2 {
                        p.write(pages.start, 0, 1);
                    }
                    p.verify(pages.start);
                    p.exit();
                }
            })
        };
        let users = [CPU1, CPU2].map(come_and_go);
        for _ in 0..6 {
            world.on(CPU0, || world.system.shrink_huge_zero_page());
            base::sync::schedule_point();
        }
        users.into_iter().for_each(|user| user.join().unwrap());
        world.audit();
        assert_eq!(world.footprint(), before);
    });
}

/// Threads of one process load, store and discard; what is read is zero or what was stored.
#[test]
fn threads_load_store_and_discard_at_once() {
    schedules_on(6, |world| {
        world.allow_order(9);
        let before = world.footprint();
        let (p, pages) = process_with_room(&world, CPU0);
        let at = move |n: u64| pages.start.add(n).base();
        let loads = move |p: Process| {
            for n in 0..8 {
                assert_eq!(p.load(at(100 + n)), Ok(0), "nobody stores there");
                assert!([0, 5].contains(&p.load(at(n % 2)).unwrap()));
            }
        };
        let stores = move |p: Process| {
            for n in 0..4 {
                p.store(at(n % 2), 5).unwrap();
            }
        };
        let discards = move |p: Process| {
            for n in 0..3 {
                let part = if n == 1 { PageRange::of_len(pages.start.add(100), 8) } else { pages };
                p.call(|mm| mm.advise(part, Advice::DontNeed)).unwrap();
            }
        };
        let all = [thread(&p, CPU1, loads), thread(&p, CPU2, stores), thread(&p, CPU3, discards)];
        all.into_iter().for_each(|one| one.join().unwrap());
        world.audit();
        world.assert_no_stale(&p.mm);
        p.exit();
        world.audit();
        assert_eq!(world.footprint(), before);
    });
}
