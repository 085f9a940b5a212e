// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows how the walker reads entries, and which entries it refuses.

use base::Pfn;

use super::rig::{
    ACCESSED, CPU0, CPU1, DBM, PAGE, READ_ONLY, Rig, USER, UXN, assert_judged, block, leaves,
    writable,
};
use crate::phys_mem::PhysMem;
use crate::pte_mem::PteMem;
use crate::sim::{SimConfig, explore};
use crate::user_mem::FaultCause::{self, AccessFlag, Permission, Translation};

/// What a load, a store and a fetch through an entry come to.
fn outcome(config: SimConfig, entry: u64) -> [Option<FaultCause>; 3] {
    [0, 1, 2].map(|access| {
        let rig = Rig::new(config.clone());
        let pfn = rig.frame();
        rig.sync_instructions(pfn);
        rig.map(PAGE, entry | pfn.base().get());
        let at = PAGE.base();
        match access {
            0 => rig.load(CPU1, at).err(),
            1 => rig.store(CPU1, at, 1).err(),
            _ => rig.fetch(CPU1, at).err(),
        }
        .map(|fault| fault.cause)
    })
}

#[test]
fn permissions_are_those_of_the_entry() {
    explore(0..1, |_| {
        let hw = SimConfig { adversary: crate::sim::Adversary::CALM, ..SimConfig::default() };
        let sw = SimConfig { hw_access_flag: false, hw_dirty: false, ..hw.clone() };
        let no_dbm = SimConfig { hw_dirty: false, ..hw.clone() };
        let rw = writable(Pfn::new(0));
        let denied = Some(Permission);
        assert_eq!(outcome(hw.clone(), rw), [None, None, denied]);
        assert_eq!(outcome(hw.clone(), rw | READ_ONLY), [None, denied, denied]);
        assert_eq!(outcome(hw.clone(), rw & !UXN), [None, None, None]);
        assert_eq!(outcome(hw.clone(), rw & !USER), [denied, denied, denied]);
        assert_eq!(outcome(hw.clone(), rw & !USER & !UXN), [denied, denied, None], "execute-only");
        assert_eq!(outcome(hw.clone(), rw | READ_ONLY | DBM), [None, None, denied]);
        assert_eq!(outcome(no_dbm, rw | READ_ONLY | DBM), [None, denied, denied]);
        assert_eq!(outcome(hw.clone(), rw & !ACCESSED), [None, None, denied]);
        assert_eq!(outcome(sw.clone(), rw & !ACCESSED), [Some(AccessFlag); 3]);
        assert_eq!(outcome(sw, rw & !1), [Some(Translation); 3]);
        assert_eq!(outcome(hw, rw & !2), [Some(Translation); 3], "reserved at level 3");
    });
}

#[test]
fn table_entries_restrict_what_is_below() {
    explore(0..1, |_| {
        for (bit, access) in [(61, 0), (62, 1), (60, 2)] {
            let rig = Rig::calm(0);
            let pfn = rig.frame();
            rig.sync_instructions(pfn);
            let entry = writable(pfn) & !UXN;
            rig.map(PAGE, entry);
            rig.run_on(CPU0, || {
                let table = rig.slot_at(rig.root, PAGE, 1);
                PteMem::store(&rig.machine, table, PteMem::load(&rig.machine, table) | 1 << bit);
                rig.publish();
            });
            let causes = [
                rig.load(CPU1, PAGE.base()).err(),
                rig.store(CPU1, PAGE.base(), 0).err(),
                rig.fetch(CPU1, PAGE.base()).err(),
            ];
            assert_eq!(causes[access].map(|fault| fault.cause), Some(Permission), "bit {bit}");
            assert_eq!(causes[(access + 2) % 3].is_none(), access != 1 || bit == 62);
        }
    });
}

#[test]
fn access_flag_is_set_by_hardware_once_and_not_again_without_invalidation() {
    explore(0..4, |seed| {
        let rig = Rig::calm(seed);
        let entry = writable(rig.frame());
        let slot = rig.map(PAGE, entry & !ACCESSED);
        rig.load(CPU1, PAGE.base()).unwrap();
        rig.run_on(CPU0, || {
            assert_eq!(rig.exchange(slot, entry & !ACCESSED), entry);
            rig.load(CPU1, PAGE.base()).unwrap();
            assert_eq!(PteMem::load(&rig.machine, slot), entry & !ACCESSED, "cached: no walk");
            rig.invalidate_all_cpus(leaves(PAGE, 1));
            rig.load(CPU1, PAGE.base()).unwrap();
            assert_eq!(PteMem::load(&rig.machine, slot), entry);
        });
        assert_eq!(rig.mmu_counts().access_flags_set, 2);
    });
}

#[test]
fn read_only_translation_faults_for_ever_until_invalidated() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let entry = writable(rig.frame());
        let slot = rig.map(PAGE, entry | READ_ONLY);
        rig.load(CPU1, PAGE.base()).unwrap();
        rig.run_on(CPU0, || {
            PteMem::store(&rig.machine, slot, entry);
            rig.publish();
            for _ in 0..10 {
                assert_eq!(rig.store(CPU1, PAGE.base(), 1).unwrap_err().cause, Permission);
            }
            rig.invalidate_all_cpus(leaves(PAGE, 1));
        });
        rig.store(CPU1, PAGE.base(), 1).unwrap();
    });
}

#[test]
fn entries_that_no_user_page_can_have_are_refused() {
    explore(0..1, |_| {
        let bits = [
            ("AttrIndx", 7 << 2, 0),
            ("global entry", 0, 1 << 11),
            ("inner shareable", 0, 3 << 8),
            ("PXN clear", 0, 1 << 53),
            ("not managed", 1 << 40, 0),
        ];
        for (why, set, clear) in bits {
            let rig = Rig::calm(0);
            rig.map(PAGE, (writable(rig.frame()) | set) & !clear);
            assert_judged(why, || rig.load(CPU1, PAGE.base()));
        }
        let rig = Rig::calm(0);
        rig.run_on(CPU0, || {
            let slot = rig.slot_at(rig.root, PAGE, 2);
            PteMem::store(&rig.machine, slot, block(rig.frames(512).add(1)));
            rig.publish();
        });
        assert_judged("not aligned", || rig.load(CPU1, PAGE.base()));
        let rig = Rig::calm(0);
        rig.run_on(CPU0, || {
            let slot = rig.slot_at(rig.root, PAGE, 1);
            PteMem::store(&rig.machine, slot, 1 << 40 | 3);
            rig.publish();
        });
        assert_judged("points to a table outside", || rig.load(CPU1, PAGE.base()));
    });
}
