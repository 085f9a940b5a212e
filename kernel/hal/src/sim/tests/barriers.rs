// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows what a missing barrier does to a walk, and what speculation does to a kernel.

use super::rig::{ACCESSED, ASID, CPU0, CPU1, PAGE, Rig, block, clean, leaves, writable};
use crate::phys_mem::PhysMem;
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::{Adversary, SimConfig, SimMachine, explore};
use crate::tlb::{Asid, Reach, Tlb};
use crate::user_mem::FaultCause;

const LATE: Adversary = Adversary { late_store: 2, ..Adversary::CALM };
const SPECULATIVE: Adversary = Adversary { speculation: 2, ..Adversary::CALM };

fn rig(seed: u64, adversary: Adversary) -> Rig {
    Rig::new(SimConfig { seed, adversary, ..SimConfig::default() })
}

/// Maps a page over an invalid entry, with `barrier` after it, and tells whether CPU 1 faults.
fn faults_at_once(seed: u64, barrier: impl FnOnce(&SimMachine)) -> bool {
    let rig = rig(seed, LATE);
    let entry = writable(rig.frame());
    let slot = rig.map(PAGE, 0);
    rig.run_on(CPU0, || {
        PteMem::store(&rig.machine, slot, entry);
        barrier(&rig.machine);
    });
    let first = rig.load(CPU1, PAGE.base());
    // Visible sooner or later: whoever retries gets there.
    assert!((0..100).any(|_| rig.load(CPU1, PAGE.base()).is_ok()));
    first.is_err_and(|fault| fault.cause == FaultCause::Translation)
}

#[test]
fn store_without_a_barrier_is_seen_late_by_some_walks() {
    explore(0..1, |_| {
        let late = (0..32).filter(|seed| faults_at_once(*seed, |_| {})).count();
        assert!((1..32).contains(&late), "{late} of 32");
        for barrier in [PteMem::publish, Tlb::before, |m: &SimMachine| m.complete(Reach::Broadcast)]
        {
            assert!((0..32).all(|seed| !faults_at_once(seed, barrier)));
        }
    });
}

#[test]
fn barrier_of_a_cpu_that_has_observed_the_store_makes_it_visible() {
    explore(0..32, |seed| {
        let rig = rig(seed, LATE);
        let slot = rig.map(PAGE, 0);
        rig.run_on(CPU0, || PteMem::store(&rig.machine, slot, writable(rig.frame())));
        rig.run_on(CPU1, || rig.publish());
        rig.load(CPU1, PAGE.base()).unwrap();
    });
}

#[test]
fn later_store_seen_means_earlier_one_seen() {
    explore(0..64, |seed| {
        let rig = rig(seed, LATE);
        let [first, second] = [PAGE, PAGE.add(1)];
        let slots = [rig.map(first, 0), rig.map(second, 0)];
        rig.run_on(CPU0, || {
            for slot in slots {
                PteMem::store(&rig.machine, slot, writable(rig.frame()));
            }
        });
        if rig.load(CPU1, second.base()).is_ok() {
            rig.load(CPU1, first.base()).expect("entry stores are releases");
        }
    });
}

#[test]
fn walk_between_store_and_barrier_may_bring_the_old_entry_back() {
    explore(0..1, |_| {
        let is_stale = |seed: u64| {
            let rig = rig(seed, LATE);
            let slot = rig.map(PAGE, writable(rig.frame()));
            rig.run_on(CPU0, || rig.exchange(slot, 0));
            let is_stale = rig.load(CPU1, PAGE.base()).is_ok();
            rig.run_on(CPU0, || rig.invalidate_all_cpus(leaves(PAGE, 1)));
            rig.load(CPU1, PAGE.base()).expect_err("the right sequence ends it");
            is_stale
        };
        let stale = (0..32).filter(|seed| is_stale(*seed)).count();
        assert!((1..32).contains(&stale), "{stale} of 32");
    });
}

#[test]
fn access_flag_appears_under_a_compare_exchange() {
    explore(0..1, |_| {
        let loses = |seed: u64, adversary: Adversary| {
            let rig = rig(seed, adversary);
            let entry = writable(rig.frame()) & !ACCESSED;
            let slot = rig.map(PAGE, entry);
            // A neighbour makes the CPU know the table; nobody ever touches PAGE.
            rig.map(PAGE.add(64), writable(rig.frame()));
            rig.load(CPU1, PAGE.add(64).base()).unwrap();
            let lost = rig.run_on(CPU0, || rig.compare_exchange(slot, entry, 0));
            assert!(matches!(lost, Ok(()) | Err(_)));
            lost.is_err_and(|found| found == entry | ACCESSED)
        };
        let lost = (0..32).filter(|seed| loses(*seed, SPECULATIVE)).count();
        assert!((1..32).contains(&lost), "{lost} of 32");
        assert!((0..32).all(|seed| !loses(seed, Adversary::CALM)));
    });
}

/// Stores an entry with its access flag clear that CPU 1 can walk to, lets `act` run, and counts
/// the seeds of 0..64 that had no flag before and have one after.
fn flags_set_by(act: impl Fn(&Rig, PteSlot, u64)) -> usize {
    let is_set_by = |seed: &u64| {
        let rig = rig(*seed, SPECULATIVE);
        rig.map(PAGE.add(1), writable(rig.frame()));
        while rig.load(CPU1, PAGE.add(1).base()).is_err() {}
        let entry = writable(rig.frame()) & !ACCESSED;
        let slot = rig.map(PAGE, entry);
        let was_clear = rig.ram().entry(slot) == entry;
        rig.run_on(CPU0, || act(&rig, slot, entry));
        was_clear && rig.ram().entry(slot) == entry | ACCESSED
    };
    (0..64).filter(is_set_by).count()
}

#[test]
fn every_look_at_an_entry_is_a_moment_to_walk() {
    explore(0..1, |_| {
        assert_eq!(flags_set_by(|_, _, _| {}), 0);
        let acts: [fn(&Rig, PteSlot, u64); 3] = [
            |rig, slot, _| (0..64).for_each(|_| assert_ne!(PteMem::load(&rig.machine, slot), 0)),
            |rig, slot, _| assert!(rig.compare_exchange(slot, 0, 0).is_err()),
            |rig, _, _| (0..64).for_each(|_| assert!(rig.load(CPU1, PAGE.add(1).base()).is_ok())),
        ];
        for act in acts {
            assert_ne!(flags_set_by(act), 0);
        }
        // Before an exchange, which returns the flag, and after it, in the new entry.
        let returned = flags_set_by(|rig, slot, entry| {
            if rig.exchange(slot, 0) == entry | ACCESSED {
                rig.ram().exchange_entry(slot, entry | ACCESSED);
            }
        });
        assert_ne!(returned, 0);
        let is_set_at_once = |seed: &u64| {
            let rig = rig(*seed, SPECULATIVE);
            rig.map(PAGE.add(1), writable(rig.frame()));
            rig.load(CPU1, PAGE.add(1).base()).unwrap();
            let entry = writable(rig.frame()) & !ACCESSED;
            let slot = rig.map(PAGE, entry);
            rig.ram().entry(slot) == entry | ACCESSED
        };
        assert_ne!((0..64).filter(is_set_at_once).count(), 0);
    });
}

#[test]
fn page_that_nobody_touched_is_cached_all_the_same() {
    explore(0..1, |_| {
        let is_cached = |seed: u64| {
            let rig = rig(seed, SPECULATIVE);
            let pfn = rig.frame();
            rig.map(PAGE.add(64), writable(rig.frame()));
            rig.load(CPU1, PAGE.add(64).base()).unwrap();
            let slot = rig.map(PAGE, writable(pfn));
            rig.run_on(CPU0, || rig.exchange(slot, 0));
            rig.load(CPU1, PAGE.base()).is_ok()
        };
        let cached = (0..32).filter(|seed| is_cached(*seed)).count();
        assert!((1..32).contains(&cached), "{cached} of 32");
    });
}

#[test]
fn block_that_nobody_touched_gets_its_access_flag_too() {
    explore(0..1, |_| {
        let is_set = |seed: u64| {
            let rig = rig(seed, SPECULATIVE);
            let entry = block(rig.frames(512)) & !ACCESSED;
            rig.map(PAGE.add(512), writable(rig.frame()));
            rig.load(CPU1, PAGE.add(512).base()).unwrap();
            rig.run_on(CPU0, || {
                let slot = rig.slot_at(rig.root, PAGE, 2);
                PteMem::store(&rig.machine, slot, entry);
                PteMem::load(&rig.machine, slot) == entry | ACCESSED
            })
        };
        let set = (0..32).filter(|seed| is_set(*seed)).count();
        assert!((1..32).contains(&set), "{set} of 32");
    });
}

#[test]
fn speculation_never_makes_an_entry_dirty() {
    explore(0..32, |seed| {
        let rig = rig(seed, SPECULATIVE);
        let entry = clean(rig.frame());
        let slot = rig.map(PAGE, entry);
        for _ in 0..16 {
            let _ = rig.load(CPU1, PAGE.base());
            assert_eq!(rig.run_on(CPU0, || PteMem::load(&rig.machine, slot)), entry);
        }
    });
}

#[test]
fn inactive_table_is_not_walked() {
    explore(0..8, |seed| {
        let rig = rig(seed, SPECULATIVE);
        let entry = writable(rig.frame()) & !ACCESSED;
        let slot = rig.map(PAGE, 0);
        rig.run_on(CPU1, || {
            rig.activate(rig.root, ASID);
            rig.load(CPU1, PAGE.base()).unwrap_err();
            rig.deactivate();
        });
        rig.run_on(CPU0, || {
            let other = rig.frame();
            rig.zero_frame(other);
            rig.activate(other, Asid(9));
            for _ in 0..16 {
                PteMem::store(&rig.machine, slot, entry);
                assert_eq!(PteMem::load(&rig.machine, slot), entry);
            }
        });
    });
}
