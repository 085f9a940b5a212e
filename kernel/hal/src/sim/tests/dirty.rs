// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows how dirty state gets lost, and how it does not.

use base::PageRange;

use super::rig::{ASID, CPU0, CPU1, PAGE, READ_ONLY, Rig, assert_judged, clean, leaves, writable};
use crate::block_dev::{BlockDevs, BlockOp, DiskId, Segment};
use crate::pte_mem::PteMem;
use crate::sim::{SimConfig, explore};
use crate::tlb::Tlb;
use crate::user_mem::FaultCause;

/// CPU 1 has the page cached as writable and clean.
fn clean_page(seed: u64) -> (Rig, crate::pte_mem::PteSlot, u64) {
    let rig = Rig::calm(seed);
    let entry = clean(rig.frame());
    let slot = rig.map(PAGE, entry);
    rig.load(CPU1, PAGE.base()).unwrap();
    (rig, slot, entry)
}

#[test]
fn store_through_a_clean_translation_makes_the_entry_dirty_first() {
    explore(0..4, |seed| {
        let (rig, slot, entry) = clean_page(seed);
        rig.store(CPU1, PAGE.base(), 5).unwrap();
        rig.run_on(CPU0, || assert_eq!(PteMem::load(&rig.machine, slot), entry & !READ_ONLY));
        assert_eq!(rig.mmu_counts().entries_made_dirty, 1);
        rig.store(CPU1, PAGE.base(), 6).unwrap();
        assert_eq!(rig.mmu_counts().entries_made_dirty, 1);
    });
}

#[test]
fn plain_store_over_an_entry_that_hardware_may_make_dirty_is_caught() {
    explore(0..4, |seed| {
        for is_stored_to in [false, true] {
            let (rig, slot, entry) = clean_page(seed);
            rig.run_on(CPU0, || {
                assert_eq!(PteMem::load(&rig.machine, slot), entry, "read as clean");
                if is_stored_to {
                    rig.store(CPU1, PAGE.base(), 5).unwrap();
                }
                assert_judged("lost dirty state", || PteMem::store(&rig.machine, slot, 0));
                rig.run_on(CPU1, || rig.deactivate());
                // Nobody walks: nothing to lose.
                PteMem::store(&rig.machine, slot, 0);
            });
        }
    });
}

#[test]
fn plain_store_that_leaves_the_entry_dirty_loses_nothing() {
    explore(0..4, |seed| {
        let (rig, slot, entry) = clean_page(seed);
        rig.run_on(CPU0, || PteMem::store(&rig.machine, slot, entry & !READ_ONLY));
        let config = SimConfig { hw_dirty: false, seed, ..SimConfig::default() };
        let rig = Rig::new(config);
        let slot = rig.map(PAGE, clean(rig.frame()));
        rig.load(CPU1, PAGE.base()).unwrap();
        rig.run_on(CPU0, || PteMem::store(&rig.machine, slot, 0));
    });
}

#[test]
fn exchange_returns_the_dirty_state_and_later_stores_fault() {
    explore(0..4, |seed| {
        let (rig, slot, entry) = clean_page(seed);
        rig.run_on(CPU0, || {
            rig.store(CPU1, PAGE.base(), 5).unwrap();
            assert_eq!(rig.exchange(slot, 0), entry & !READ_ONLY);
        });
        let (rig, slot, entry) = clean_page(seed);
        rig.run_on(CPU0, || {
            assert_eq!(rig.exchange(slot, 0), entry);
            let fault = rig.store(CPU1, PAGE.base(), 5).unwrap_err();
            assert_eq!(fault.cause, FaultCause::Translation, "cached clean, gone in memory");
            rig.load(CPU1, PAGE.base()).expect("loads still go through the old translation");
        });
    });
}

#[test]
fn store_through_a_dirty_translation_does_not_look_at_the_entry() {
    explore(0..4, |seed| {
        let (rig, slot, entry) = clean_page(seed);
        rig.store(CPU1, PAGE.base(), 5).unwrap();
        rig.run_on(CPU0, || {
            // Cleaned without invalidation: the next store leaves no trace.
            assert_eq!(rig.exchange(slot, entry), entry & !READ_ONLY);
            rig.store(CPU1, PAGE.base(), 6).unwrap();
            assert_eq!(PteMem::load(&rig.machine, slot), entry);
            let pages = PageRange::of_len(PAGE, 1);
            assert_judged("stale translation", || rig.assert_no_stale(CPU1, ASID, pages));
            rig.invalidate_all_cpus(leaves(PAGE, 1));
            rig.store(CPU1, PAGE.base(), 7).unwrap();
            assert_eq!(PteMem::load(&rig.machine, slot), entry & !READ_ONLY);
        });
    });
}

#[test]
fn page_written_out_while_a_stale_translation_stores_to_it_is_caught() {
    explore(0..4, |seed| {
        let write_out = |entry: fn(base::Pfn) -> u64, is_invalidated: bool| {
            let rig = Rig::new(SimConfig { disks: [64].into(), seed, ..SimConfig::default() });
            let pfn = rig.frame();
            let slot = rig.map(PAGE, entry(pfn));
            // Faults once where a walk sees the entry late; the map was published, so it does not.
            rig.load(CPU1, PAGE.base()).unwrap();
            rig.run_on(CPU0, || {
                rig.exchange(slot, 0);
                if is_invalidated {
                    rig.invalidate_all_cpus(leaves(PAGE, 1));
                }
                rig.transfer(DiskId(0), BlockOp::Write, 0, &[Segment::one(pfn)]).unwrap();
            });
        };
        assert_judged("stale writable translation", || write_out(writable, false));
        write_out(writable, true);
        // Made clean in place: the entry would not tell of a later store.
        assert_judged("stale writable translation", || {
            let rig = Rig::new(SimConfig { disks: [64].into(), seed, ..SimConfig::default() });
            let pfn = rig.frame();
            let slot = rig.map(PAGE, writable(pfn));
            rig.store(CPU1, PAGE.base(), 1).unwrap();
            rig.run_on(CPU0, || {
                let segments = [Segment::one(pfn)];
                rig.transfer(DiskId(0), BlockOp::Write, 0, &segments).expect("mapped and dirty");
                rig.exchange(slot, clean(pfn));
                rig.transfer(DiskId(0), BlockOp::Write, 0, &segments).unwrap();
            });
        });
        // A clean one has to look at its entry first: harmless.
        write_out(clean, false);
    });
}

#[test]
fn what_was_unmapped_may_be_written_where_nobody_reads_it_again() {
    explore(0..2, |seed| {
        for judges_unmapped_stores in [true, false] {
            let adversary = crate::sim::Adversary::CALM;
            let config = SimConfig { disks: [8].into(), seed, adversary, ..SimConfig::default() };
            let rig = Rig::new(SimConfig { judges_unmapped_stores, ..config });
            let (slot, pfn) = rig.map_and_use();
            let write = || {
                let segments = [Segment::one(pfn)];
                rig.transfer(DiskId(0), BlockOp::Write, 0, &segments).unwrap();
            };
            let stale = "with a stale writable translation";
            rig.run_on(CPU0, || {
                // An entry that names where the content will be, as swap entries do.
                rig.exchange(slot, 0x1000);
                assert_judged(stale, write);
                rig.exchange(slot, 0);
                match judges_unmapped_stores {
                    true => assert_judged(stale, write),
                    false => write(),
                }
                rig.invalidate_all_cpus(leaves(PAGE, 1));
                write();
            });
        }
    });
}
