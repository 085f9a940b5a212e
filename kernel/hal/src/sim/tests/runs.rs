// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows what hardware may make of 16 entries with the contiguous bit.

use alloc::vec::Vec;

use base::{PageRange, Pfn, Vpn};

use super::rig::{
    ACCESSED, ASID, CONTIGUOUS, CPU0, CPU1, DBM, READ_ONLY, Rig, TAGGED, assert_judged, clean,
    leaves, panic_of, writable,
};
use crate::phys_mem::PhysMem;
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::explore;
use crate::tlb::{Reach, Tlb};

/// First page of the run.
const FIRST: Vpn = Vpn::new(0x1_2340);

/// Maps a run with entries made by `entry`; returns the first frame.
fn map_run(rig: &Rig, entry: impl Fn(Pfn) -> u64) -> Pfn {
    let first = rig.frames(16);
    for n in 0..16 {
        rig.map(FIRST.add(n), entry(first.add(n as u32)) | CONTIGUOUS);
    }
    first
}

fn slots(rig: &Rig) -> impl Iterator<Item = PteSlot> {
    (0..16).map(|n| rig.slot(FIRST.add(n)))
}

/// Counts the seeds of 0..32 for which `f` holds.
fn count(f: impl Fn(u64) -> bool) -> usize {
    (0..32).filter(|seed| f(*seed)).count()
}

#[test]
fn run_translates_all_its_pages() {
    explore(0..8, |seed| {
        let rig = Rig::calm(seed);
        let first = map_run(&rig, writable);
        for n in 0..16 {
            rig.store(CPU1, FIRST.add(n).base(), n).unwrap();
            assert_eq!(rig.ram().frame(first.add(n as u32)).word(0), n);
        }
    });
}

#[test]
fn invalidating_one_page_of_a_run_is_not_enough() {
    explore(0..1, |_| {
        let caught = |pages: u64| {
            count(|seed| {
                let rig = Rig::calm(seed);
                let first = map_run(&rig, writable);
                (0..16).for_each(|n| rig.store(CPU1, FIRST.add(n).base(), n).unwrap());
                rig.run_on(CPU0, || {
                    for slot in slots(&rig) {
                        rig.exchange(slot, 0);
                    }
                    rig.invalidate_all_cpus(leaves(FIRST, pages));
                    let reuse = || (0..16).for_each(|n| rig.zero_frame(first.add(n)));
                    if pages == 16 {
                        reuse();
                        return false;
                    }
                    // Cached as one, the run is gone with any of its pages.
                    let is_whole = rig.load(CPU1, FIRST.add(5).base()).is_err();
                    is_whole || panic_of(reuse).contains("stale")
                }) && rig.load(CPU1, FIRST.add(5).base()).is_ok()
            })
        };
        // One coin decides it, and sticks.
        assert!((8..24).contains(&caught(1)), "{} of 32", caught(1));
        assert_eq!(caught(16), 0);
    });
}

#[test]
fn one_store_after_the_barrier_spoils_the_invalidation_of_a_run() {
    explore(0..16, |seed| {
        let rig = Rig::calm(seed);
        let first = map_run(&rig, writable);
        (0..16).for_each(|n| rig.store(CPU1, FIRST.add(n).base(), n).unwrap());
        rig.run_on(CPU0, || {
            let slots: Vec<PteSlot> = slots(&rig).collect();
            slots.iter().take(15).for_each(|slot| assert_ne!(rig.exchange(*slot, 0), 0));
            rig.before();
            rig.exchange(slots[15], 0);
            rig.invalidate(leaves(FIRST, 16), Reach::Broadcast);
            rig.complete(Reach::Broadcast);
            assert_judged("stale", || rig.zero_frame(first.add(15)));
        });
    });
}

#[test]
fn entry_in_the_middle_of_a_cached_run_needs_a_break() {
    explore(0..8, |seed| {
        let rig = Rig::calm(seed);
        map_run(&rig, writable);
        (0..16).for_each(|n| rig.store(CPU1, FIRST.add(n).base(), n).unwrap());
        rig.run_on(CPU0, || {
            let slot = rig.slot(FIRST.add(9));
            let entry = writable(rig.frame()) | CONTIGUOUS;
            assert_judged("break-before-make", || PteMem::store(&rig.machine, slot, entry));
        });
    });
}

#[test]
fn staleness_of_a_run_is_judged_page_by_page_but_its_dirty_state_once() {
    explore(0..8, |seed| {
        let rig = Rig::calm(seed);
        map_run(&rig, clean);
        let one = |n: u64| PageRange::of_len(FIRST.add(n), 1);
        (0..16).for_each(|n| rig.store(CPU1, FIRST.add(n).base(), n).unwrap());
        rig.assert_no_stale(CPU1, ASID, PageRange::of_len(FIRST, 16));
        rig.run_on(CPU0, || {
            let slot = rig.slot(FIRST.add(4));
            let entry = PteMem::load(&rig.machine, slot);
            rig.exchange(slot, (entry | READ_ONLY) & !DBM);
        });
        rig.assert_no_stale(CPU1, ASID, one(3));
        assert_judged("stale", || rig.assert_no_stale(CPU1, ASID, one(4)));
    });
}

#[test]
fn dirty_state_may_land_in_any_entry() {
    explore(0..1, |_| {
        let elsewhere = count(|seed| {
            let rig = Rig::calm(seed);
            map_run(&rig, clean);
            rig.load(CPU1, FIRST.base()).unwrap();
            rig.store(CPU1, FIRST.add(3).base(), 1).unwrap();
            rig.run_on(CPU0, || {
                let is_dirty = |slot| PteMem::load(&rig.machine, slot) & READ_ONLY == 0;
                assert_eq!(slots(&rig).filter(|slot| is_dirty(*slot)).count(), 1);
                !is_dirty(rig.slot(FIRST.add(3)))
            })
        });
        assert!((1..32).contains(&elsewhere), "{elsewhere} of 32");
    });
}

#[test]
fn later_stores_to_a_dirty_run_leave_no_trace_in_their_own_entry() {
    explore(0..1, |_| {
        let traceless = count(|seed| {
            let rig = Rig::calm(seed);
            map_run(&rig, clean);
            (0..16).for_each(|n| rig.store(CPU1, FIRST.add(n).base(), 1).unwrap());
            rig.mmu_counts().entries_made_dirty == 1
        });
        assert!((1..32).contains(&traceless), "{traceless} of 32");
    });
}

#[test]
fn access_to_one_page_may_spare_the_others_their_access_flag() {
    explore(0..1, |_| {
        let spared = count(|seed| {
            let rig = Rig::calm(seed);
            map_run(&rig, |pfn| writable(pfn) & !ACCESSED);
            for n in 0..16 {
                rig.load(CPU1, FIRST.add(n).base()).unwrap();
            }
            rig.mmu_counts().access_flags_set == 1
        });
        assert!((1..32).contains(&spared), "{spared} of 32");
    });
}

#[test]
fn half_protected_run_may_take_either_permission() {
    explore(0..1, |_| {
        let refused = count(|seed| {
            let rig = Rig::calm(seed);
            map_run(&rig, writable);
            rig.run_on(CPU0, || {
                for slot in slots(&rig).take(8) {
                    let entry = PteMem::load(&rig.machine, slot);
                    rig.compare_exchange(slot, entry, entry | READ_ONLY).unwrap();
                }
                rig.publish();
            });
            rig.store(CPU1, FIRST.add(12).base(), 1).is_err()
        });
        assert!((1..32).contains(&refused), "{refused} of 32");
    });
}

#[test]
fn page_missing_from_a_run_may_be_reached_through_it() {
    explore(0..1, |_| {
        let reached = count(|seed| {
            let rig = Rig::calm(seed);
            let first = map_run(&rig, writable);
            rig.run_on(CPU0, || {
                rig.exchange(rig.slot(FIRST.add(9)), 0);
                rig.publish();
            });
            rig.load(CPU1, FIRST.base()).unwrap();
            let is_reached = rig.load(CPU1, FIRST.add(9).base()).is_ok();
            if is_reached {
                assert_judged("stale", || rig.run_on(CPU0, || rig.zero_frame(first.add(9))));
            }
            is_reached
        });
        assert!((1..32).contains(&reached), "{reached} of 32");
    });
}

#[test]
fn entries_that_make_no_run_are_refused() {
    explore(0..1, |_| {
        let sins: [fn(&Rig, Pfn, u64) -> u64; 3] = [
            |_, _, entry| entry & !CONTIGUOUS,
            |_, _, entry| entry | TAGGED,
            |rig, _, entry| writable(rig.frame()) | entry & CONTIGUOUS,
        ];
        for sin in sins {
            let rig = Rig::calm(0);
            let first = map_run(&rig, writable);
            let odd = rig.slot(FIRST.add(7));
            let entry = sin(&rig, first, writable(first.add(7)) | CONTIGUOUS);
            rig.map(FIRST.add(7), entry);
            let message = panic_of(|| rig.load(CPU1, FIRST.base()));
            assert!(message.contains("does not belong to it"), "{message}");
            assert!(message.contains(&alloc::format!("{odd:?}")), "{message}");
        }
        let rig = Rig::calm(0);
        rig.map(FIRST, writable(rig.frames(16).add(1)) | CONTIGUOUS);
        assert_judged("run is not aligned", || rig.load(CPU1, FIRST.base()));
    });
}
