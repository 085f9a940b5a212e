// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that tables, roots and ASIDs outlive their use until they are invalidated.

use super::rig::{ASID, CPU0, CPU1, PAGE, Rig, assert_judged, clean, leaves, walks, writable};
use crate::phys_mem::PhysMem;
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::explore;
use crate::tlb::{Invalidate, Tlb};

#[test]
fn removed_table_needs_more_than_its_leaves_invalidated() {
    explore(0..4, |seed| {
        let tear_down = |what: Invalidate| {
            let rig = Rig::calm(seed);
            let (slot, _) = rig.map_and_use();
            rig.run_on(CPU0, || {
                rig.exchange(slot, 0);
                rig.exchange(rig.slot_at(rig.root, PAGE, 2), 0);
                rig.invalidate_all_cpus(what);
                rig.zero_frame(slot.table);
            });
        };
        assert_judged("TableAt2 held by cpu 1", || tear_down(leaves(PAGE, 1)));
        tear_down(walks(PAGE, 1));
        tear_down(Invalidate::Asid(ASID));
    });
}

#[test]
fn table_in_use_must_not_be_reused() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let (slot, _) = rig.map_and_use();
        rig.run_on(CPU0, || {
            assert_judged("while it is a table", || rig.zero_frame(slot.table));
            rig.exchange(rig.slot_at(rig.root, PAGE, 2), 0);
            rig.invalidate_all_cpus(Invalidate::Asid(ASID));
            rig.zero_frame(slot.table);
        });
    });
}

#[test]
fn table_that_led_nowhere_must_not_be_reused_either() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let slot = rig.map(PAGE, 0);
        rig.load(CPU1, PAGE.base()).unwrap_err();
        rig.run_on(CPU0, || {
            assert_judged("while it is a table", || rig.zero_frame(slot.table));
        });
    });
}

#[test]
fn root_that_was_walked_from_must_not_be_reused() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        rig.map_and_use();
        for cpu in [CPU0, CPU1] {
            rig.run_on(cpu, || rig.deactivate());
        }
        rig.run_on(CPU0, || {
            assert_judged("table that was read from", || rig.zero_frame(rig.root));
            rig.invalidate_all_cpus(Invalidate::Asid(ASID));
            rig.zero_frame(rig.root);
        });
    });
}

#[test]
fn active_root_must_not_be_reused() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        assert_judged("active root of cpu 0", || rig.run_on(CPU0, || rig.zero_frame(rig.root)));
        for cpu in [CPU0, CPU1] {
            rig.run_on(cpu, || rig.deactivate());
        }
        rig.run_on(CPU0, || rig.zero_frame(rig.root));
    });
}

#[test]
fn reused_asid_is_caught() {
    explore(0..4, |seed| {
        let switch = |is_invalidated: bool| {
            let rig = Rig::calm(seed);
            let (_, pfn) = rig.map_and_use();
            let other = rig.frame();
            rig.run_on(CPU0, || {
                rig.zero_frame(other);
                PteMem::store(&rig.machine, rig.slot_at(other, PAGE, 3), writable(pfn));
                rig.deactivate();
                if is_invalidated {
                    rig.invalidate_all_cpus(Invalidate::Asid(ASID));
                }
            });
            rig.run_on(CPU1, || rig.activate(other, ASID));
            rig.load(CPU1, PAGE.base())
        };
        assert_judged("asid reuse", || switch(false));
        assert_eq!(switch(true), Ok(1));
    });
}

#[test]
fn one_asid_with_two_tables_at_once_is_caught() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let other = rig.frame();
        assert_judged("asid reuse", || rig.run_on(CPU1, || rig.activate(other, ASID)));
    });
}

#[test]
fn translation_walked_for_again_belongs_to_its_new_table() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let entry = clean(rig.frame());
        let old = rig.map(PAGE, entry);
        rig.load(CPU1, PAGE.base()).unwrap();
        rig.run_on(CPU0, || {
            let upper = rig.slot_at(rig.root, PAGE, 2);
            let new = PteSlot { table: rig.frame(), ..old };
            rig.zero_frame(new.table);
            PteMem::store(&rig.machine, new, entry);
            rig.exchange(upper, 0);
            // The walk into the old table goes, the translation read from it stays.
            rig.invalidate_all_cpus(walks(PAGE.add(1), 1));
            PteMem::store(&rig.machine, upper, new.table.base().get() | 3);
            rig.publish();
            assert_judged("table that was read from", || rig.zero_frame(old.table));
            rig.store(CPU1, PAGE.base(), 1).expect("a clean translation is walked for again");
            rig.zero_frame(old.table);
            assert_judged("while it is a table", || rig.zero_frame(new.table));
        });
    });
}
