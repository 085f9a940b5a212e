// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows which changes of a valid entry need a break first, and which do not.

use base::{Pfn, Vpn};

use super::rig::{
    ACCESSED, ASID, CPU0, CPU1, DBM, PAGE, READ_ONLY, Rig, TAGGED, UXN, assert_judged, block,
    clean, leaves, walks, writable,
};
use crate::phys_mem::PhysMem;
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::explore;
use crate::tlb::Tlb;

const BROKEN: &str = "break-before-make violation";

/// Replaces an entry that CPU 1 has cached by another, at once.
fn replace(old: impl Fn(&Rig) -> u64, new: impl Fn(&Rig, u64) -> u64) {
    let rig = Rig::calm(0);
    let old = old(&rig);
    let slot = rig.map(PAGE, old);
    rig.load(CPU1, PAGE.base()).unwrap();
    rig.run_on(CPU0, || PteMem::store(&rig.machine, slot, new(&rig, old)));
}

#[test]
fn change_of_frame_or_memory_type_or_contiguity_needs_a_break() {
    explore(0..1, |_| {
        let any = |rig: &Rig| writable(rig.frames(16).add(5));
        assert_judged(BROKEN, || replace(any, |rig, _| writable(rig.frame())));
        assert_judged(BROKEN, || replace(any, |_, old| old | TAGGED));
        assert_judged(BROKEN, || replace(any, |_, old| old | 1 << 52));
    });
}

#[test]
fn change_of_permissions_and_flags_needs_none() {
    explore(0..1, |_| {
        let any = |rig: &Rig| writable(rig.frame());
        replace(any, |_, old| old | READ_ONLY);
        replace(any, |_, old| old | READ_ONLY | DBM);
        replace(any, |_, old| old & !ACCESSED);
        replace(any, |_, old| old & !UXN);
        replace(any, |_, old| old | 1 << 55);
        replace(|rig| clean(rig.frame()), |_, old| old & !READ_ONLY);
    });
}

#[test]
fn break_without_invalidation_is_no_break() {
    explore(0..2, |seed| {
        let make = |is_invalidated: bool| {
            let rig = Rig::calm(seed);
            let (slot, _) = rig.map_and_use();
            rig.run_on(CPU0, || {
                rig.exchange(slot, 0);
                if is_invalidated {
                    rig.invalidate_all_cpus(leaves(PAGE, 1));
                }
                PteMem::store(&rig.machine, slot, writable(rig.frame()));
            });
        };
        assert_judged(BROKEN, || make(false));
        make(true);
    });
}

#[test]
fn table_and_block_replace_each_other_only_after_a_break() {
    explore(0..2, |seed| {
        let collapse = |invalidated: Option<_>| {
            let rig = Rig::calm(seed);
            let (_, _) = rig.map_and_use();
            let frames = rig.frames(512);
            rig.run_on(CPU0, || {
                let slot = rig.slot_at(rig.root, PAGE, 2);
                rig.exchange(slot, 0);
                if let Some(what) = invalidated {
                    rig.invalidate_all_cpus(what);
                }
                PteMem::store(&rig.machine, slot, block(frames));
                rig.publish();
            });
            rig.store(CPU1, PAGE.base(), 42).unwrap();
            let offset = PAGE.get() % 512;
            assert_eq!(rig.ram().frame(frames.add(offset as u32)).word(0), 42);
            (rig, frames)
        };
        assert_judged(BROKEN, || collapse(None));
        assert_judged(BROKEN, || collapse(Some(leaves(PAGE, 1))));
        let (rig, frames) = collapse(Some(walks(PAGE, 1)));
        let split = |rig: &Rig| {
            let slot = rig.slot_at(rig.root, PAGE, 2);
            let table = rig.frame();
            rig.zero_frame(table);
            let own = PteSlot::new(table, (PAGE.get() % 512) as usize);
            PteMem::store(&rig.machine, own, writable(frames.add((PAGE.get() % 512) as u32)));
            PteMem::store(&rig.machine, slot, table.base().get() | 3);
            rig.publish();
        };
        assert_judged(BROKEN, || rig.run_on(CPU0, || split(&rig)));
        rig.run_on(CPU0, || {
            rig.exchange(rig.slot_at(rig.root, PAGE, 2), 0);
            // Any page of the block will do.
            rig.invalidate_all_cpus(leaves(PAGE.add(3), 1));
            split(&rig);
        });
        assert_eq!(rig.load(CPU1, PAGE.base()), Ok(42));
    });
}

#[test]
fn table_is_replaced_by_another_only_after_a_break() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        rig.map_and_use();
        rig.run_on(CPU0, || {
            let other = rig.frame();
            rig.zero_frame(other);
            let slot = rig.slot_at(rig.root, PAGE, 2);
            let entry = other.base().get() | 3;
            assert_judged(BROKEN, || PteMem::store(&rig.machine, slot, entry));
            PteMem::store(&rig.machine, slot, 0);
            rig.invalidate_all_cpus(walks(PAGE, 1));
            PteMem::store(&rig.machine, slot, entry);
        });
    });
}

/// Changes tables with `change` while the table is not active on CPU 1, which has `entry` cached
/// for [`PAGE`]; then CPU 1 stores to `page`.
fn change_while_inactive(entry: fn(Pfn) -> u64, change: fn(&Rig, PteSlot, Pfn), page: Vpn) {
    let rig = Rig::calm(0);
    let frames = rig.frames(512);
    let pfn = frames.add((PAGE.get() % 512) as u32);
    let slot = rig.map(PAGE, entry(pfn));
    rig.load(CPU1, PAGE.base()).unwrap();
    rig.run_on(CPU1, || {
        rig.deactivate();
        change(&rig, slot, pfn);
        rig.publish();
        rig.activate(rig.root, ASID);
    });
    rig.store(CPU1, page.base(), 1).unwrap();
}

#[test]
fn change_of_an_inactive_table_is_judged_at_the_next_walk() {
    explore(0..1, |_| {
        let to_frame = |rig: &Rig, slot, _| PteMem::store(&rig.machine, slot, clean(rig.frame()));
        let to_tagged = |rig: &Rig, slot, pfn| {
            PteMem::store(&rig.machine, slot, clean(pfn) | TAGGED);
        };
        // A clean entry is walked for again at the first store.
        assert_judged(BROKEN, || change_while_inactive(clean, to_frame, PAGE));
        assert_judged(BROKEN, || change_while_inactive(clean, to_tagged, PAGE));
        change_while_inactive(
            clean,
            |rig, slot, pfn| {
                PteMem::store(&rig.machine, slot, clean(pfn) & !UXN);
            },
            PAGE,
        );
        let to_block = |rig: &Rig, _, pfn: Pfn| {
            let slot = rig.slot_at(rig.root, PAGE, 2);
            let first = Pfn::new(pfn.get() & !511);
            PteMem::store(&rig.machine, slot, 0);
            // Of the walk into the table this leaves nothing, of the translation of PAGE all.
            rig.invalidate_all_cpus(walks(PAGE.add(1), 1));
            PteMem::store(&rig.machine, slot, block(first));
        };
        assert_judged(BROKEN, || change_while_inactive(writable, to_block, PAGE.add(1)));
    });
}

#[test]
fn block_split_while_inactive_is_judged_at_the_next_walk() {
    explore(0..1, |_| {
        let rig = Rig::calm(0);
        let frames = rig.frames(512);
        rig.run_on(CPU1, || {
            let slot = rig.slot_at(rig.root, PAGE, 2);
            PteMem::store(&rig.machine, slot, block(frames) | READ_ONLY | DBM);
            rig.publish();
            rig.load(CPU1, PAGE.base()).unwrap();
            rig.deactivate();
            let table = rig.frame();
            rig.zero_frame(table);
            PteMem::store(&rig.machine, slot, table.base().get() | 3);
            rig.publish();
            rig.activate(rig.root, ASID);
        });
        assert_judged(BROKEN, || rig.store(CPU1, PAGE.base(), 1));
    });
}
