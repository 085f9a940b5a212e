// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows that a translation outlives its entry until it is invalidated the right way.

use alloc::vec::Vec;

use base::{PageRange, Pfn, Vpn};

use super::rig::{
    ASID, CONTIGUOUS, CPU0, CPU1, PAGE, READ_ONLY, Rig, assert_judged, block, clean, leaves,
    writable,
};
use crate::block_dev::{BlockDevs, BlockOp, DiskId, Segment};
use crate::phys_mem::PhysMem;
use crate::pte_mem::PteMem;
use crate::sim::{Adversary, SimConfig, explore};
use crate::tag_mem::TagMem;
use crate::tlb::{Asid, Invalidate, LeafLevel, Reach, Tlb};
use crate::user_mem::FaultCause;

const STALE: &str = "stale translation to pfn";

/// Clears the entry of a page that CPU 1 has used, lets `invalidate` do its part, reuses the frame.
fn clear_then_reuse(seed: u64, invalidate: impl FnOnce(&Rig)) {
    let rig = Rig::calm(seed);
    let (slot, pfn) = rig.map_and_use();
    rig.run_on(CPU0, || {
        rig.exchange(slot, 0);
        invalidate(&rig);
        rig.zero_frame(pfn);
    });
}

#[test]
fn correct_invalidation_lets_the_frame_be_reused() {
    explore(0..4, |seed| {
        clear_then_reuse(seed, |rig| {
            rig.before();
            rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
            assert_eq!(rig.load(CPU1, PAGE.base()), Ok(1), "as late as permitted");
            rig.complete(Reach::Broadcast);
            let fault = rig.load(CPU1, PAGE.base()).unwrap_err();
            assert_eq!(fault.cause, FaultCause::Translation);
            rig.assert_quiescent();
        });
    });
}

#[test]
fn missing_invalidation_is_caught() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.before();
                rig.complete(Reach::Broadcast);
                assert_eq!(rig.load(CPU1, PAGE.base()), Ok(1), "the old translation still serves");
            });
        });
    });
}

#[test]
fn missing_before_is_caught() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
                rig.complete(Reach::Broadcast);
                assert_eq!(rig.load(CPU1, PAGE.base()), Ok(1));
            });
        });
    });
}

#[test]
fn missing_before_is_caught_however_often_the_entry_is_stored() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                PteMem::store(&rig.machine, rig.slot(PAGE), 0xabcd_0000);
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
                PteMem::store(&rig.machine, rig.slot(PAGE), 0xabcd_1000);
                rig.before();
                rig.complete(Reach::Broadcast);
            });
        });
    });
}

#[test]
fn local_barrier_orders_no_broadcast_after_it() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.complete(Reach::Local);
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
                rig.complete(Reach::Broadcast);
            });
        });
    });
}

#[test]
fn before_of_an_earlier_store_does_not_order_a_later_one() {
    explore(0..4, |seed| {
        let rig = Rig::calm(seed);
        let (slot, pfn) = rig.map_and_use();
        assert_judged(STALE, || {
            rig.run_on(CPU0, || {
                rig.before();
                rig.exchange(slot, 0);
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
                rig.complete(Reach::Broadcast);
                rig.zero_frame(pfn);
            });
        });
    });
}

#[test]
fn second_store_to_a_cleared_entry_needs_no_second_before() {
    explore(0..4, |seed| {
        clear_then_reuse(seed, |rig| {
            rig.before();
            // A swap entry over the cleared one: nothing that a walk could bring back.
            PteMem::store(&rig.machine, rig.slot(PAGE), 0xabcd_0000);
            rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
            rig.complete(Reach::Broadcast);
        });
    });
}

#[test]
fn store_that_another_cpu_has_built_on_needs_no_before() {
    explore(0..4, |seed| {
        clear_then_reuse(seed, |rig| {
            rig.run_on(CPU1, || PteMem::store(&rig.machine, rig.slot(PAGE), 0xabcd_0000));
            rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
            rig.complete(Reach::Broadcast);
        });
    });
}

#[test]
fn missing_complete_is_caught() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.before();
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
            });
        });
        let rig = Rig::calm(seed);
        rig.run_on(CPU0, || rig.invalidate(leaves(PAGE, 1), Reach::Broadcast));
        assert_judged("cpu 0 never completed", || rig.assert_quiescent());
    });
}

#[test]
fn completion_by_another_cpu_proves_nothing() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.before();
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
                rig.run_on(CPU1, || rig.complete(Reach::Broadcast));
            });
        });
    });
}

#[test]
fn wrong_asid_is_caught() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                let pages = PageRange::of_len(PAGE, 1);
                rig.invalidate_all_cpus(Invalidate::Leaves {
                    asid: Asid(8),
                    pages,
                    level: LeafLevel::Any,
                });
                rig.invalidate_all_cpus(Invalidate::Asid(Asid(8)));
            });
        });
        clear_then_reuse(seed, |rig| rig.invalidate_all_cpus(Invalidate::Asid(ASID)));
    });
}

#[test]
fn neighbouring_pages_do_not_count() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.invalidate_all_cpus(leaves(PAGE.sub(8), 8));
                rig.invalidate_all_cpus(leaves(PAGE.add(1), 8));
            });
        });
        clear_then_reuse(seed, |rig| rig.invalidate_all_cpus(leaves(PAGE.sub(8), 9)));
    });
}

#[test]
fn local_reach_leaves_other_cpus_alone() {
    explore(0..4, |seed| {
        assert_judged("held by cpu 1", || {
            clear_then_reuse(seed, |rig| {
                rig.load(CPU0, PAGE.base()).unwrap_err();
                rig.before();
                rig.invalidate(leaves(PAGE, 1), Reach::Local);
                rig.complete(Reach::Broadcast);
            });
        });
        clear_then_reuse(seed, |rig| {
            rig.before();
            rig.run_on(CPU1, || {
                rig.before();
                rig.invalidate(leaves(PAGE, 1), Reach::Local);
                rig.complete(Reach::Local);
            });
        });
    });
}

#[test]
fn local_barrier_completes_no_broadcast() {
    explore(0..4, |seed| {
        assert_judged(STALE, || {
            clear_then_reuse(seed, |rig| {
                rig.before();
                rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
                rig.complete(Reach::Local);
            });
        });
    });
}

#[test]
fn translation_cached_after_the_invalidation_began_stays() {
    explore(0..4, |seed| {
        let rig = Rig::calm(seed);
        let (old, new) = (rig.frame(), rig.frame());
        let slot = rig.map(PAGE, writable(old));
        rig.run_on(CPU0, || {
            rig.exchange(slot, 0);
            rig.invalidate_all_cpus(leaves(PAGE, 1));
            rig.before();
            rig.invalidate(leaves(PAGE, 1), Reach::Broadcast);
        });
        rig.map(PAGE, writable(new));
        rig.load(CPU1, PAGE.base()).unwrap();
        rig.run_on(CPU0, || {
            rig.exchange(slot, 0);
            rig.complete(Reach::Broadcast);
        });
        assert_judged(STALE, || rig.run_on(CPU0, || rig.zero_frame(new)));
    });
}

#[test]
fn every_way_to_fill_a_frame_is_judged() {
    explore(0..2, |seed| {
        let fills: [fn(&Rig, Pfn, Pfn); 5] = [
            |rig, stale, _| rig.zero_frame(stale),
            |rig, stale, _| rig.zero_frame_and_tags(stale),
            |rig, stale, other| rig.copy_frame(stale, other),
            |rig, stale, _| {
                let segments = [Segment::one(stale)];
                rig.transfer(DiskId(0), BlockOp::Read, 0, &segments).unwrap();
            },
            |rig, stale, _| {
                rig.map(PAGE.add(1), writable(stale));
            },
        ];
        for fill in fills {
            let rig = Rig::new(SimConfig { disks: [8].into(), seed, ..SimConfig::default() });
            let (slot, pfn) = rig.map_and_use();
            rig.run_on(CPU0, || {
                rig.exchange(slot, 0);
                assert_judged(STALE, || fill(&rig, pfn, rig.frame()));
                rig.invalidate_all_cpus(leaves(PAGE, 1));
                fill(&rig, pfn, rig.frame());
            });
        }
    });
}

#[test]
fn entry_may_move_early_when_new_mappings_are_not_judged() {
    explore(0..2, |seed| {
        let config = SimConfig { judges_new_mappings: false, seed, ..SimConfig::default() };
        let rig = Rig::new(config);
        let (slot, pfn) = rig.map_and_use();
        rig.run_on(CPU0, || {
            rig.exchange(slot, 0);
            rig.map(PAGE.add(1), writable(pfn));
            rig.invalidate_all_cpus(leaves(PAGE, 1));
        });
    });
}

#[test]
fn change_of_permissions_is_no_new_mapping() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let (slot, pfn) = rig.map_and_use();
        let second = rig.map(PAGE.add(1), writable(pfn));
        rig.run_on(CPU0, || {
            rig.exchange(slot, 0);
            PteMem::store(&rig.machine, second, clean(pfn));
            assert_judged(STALE, || rig.map(PAGE.add(2), writable(pfn)));
            rig.invalidate_all_cpus(leaves(PAGE, 2));
        });
    });
}

#[test]
fn frame_in_the_middle_of_a_block_is_found() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let frames = rig.frames(512);
        rig.run_on(CPU0, || {
            let slot = rig.slot_at(rig.root, PAGE, 2);
            PteMem::store(&rig.machine, slot, block(frames));
            rig.publish();
            rig.load(CPU1, PAGE.base()).unwrap();
            assert_judged("while it is mapped", || rig.zero_frame(frames.add(77)));
            rig.exchange(slot, 0);
            assert_judged(STALE, || rig.zero_frame(frames.add(77)));
            rig.invalidate_all_cpus(leaves(PAGE, 1));
            rig.zero_frame(frames.add(77));
        });
    });
}

#[test]
fn frames_of_a_run_may_be_mapped_by_a_block_as_well() {
    explore(0..4, |seed| {
        let rig = Rig::calm(seed);
        let frames = rig.frames(512);
        let run = PAGE.align_down(16);
        for n in 0..16 {
            rig.map(run.add(n), writable(frames.add(496 + n as u32)) | CONTIGUOUS);
            rig.load(CPU1, run.base()).unwrap();
        }
        rig.run_on(CPU0, || {
            let slot = rig.slot_at(rig.root, PAGE.add(512), 2);
            PteMem::store(&rig.machine, slot, block(frames));
        });
    });
}

#[test]
fn older_translation_survives_a_walk_for_nothing() {
    explore(0..4, |seed| {
        let rig = Rig::new(SimConfig {
            adversary: Adversary { speculation: 1, ..Adversary::CALM },
            seed,
            ..SimConfig::default()
        });
        let (slot, pfn) = rig.map_and_use();
        rig.run_on(CPU0, || {
            for entry in [clean(pfn), writable(pfn) | READ_ONLY] {
                rig.exchange(slot, entry);
                rig.store(CPU1, PAGE.base(), 1).expect("cached as writable and dirty");
            }
        });
    });
}

#[test]
fn replaced_frame_is_stale_where_the_table_is_inactive() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let (slot, _) = rig.map_and_use();
        rig.run_on(CPU1, || rig.deactivate());
        rig.run_on(CPU0, || PteMem::store(&rig.machine, slot, writable(rig.frame())));
        let pages = PageRange::of_len(PAGE, 1);
        assert_judged(STALE, || rig.assert_no_stale(CPU1, ASID, pages));
        rig.assert_no_stale(CPU1, ASID, PageRange::of_len(PAGE.add(1), 1));
    });
}

#[test]
fn mapping_that_still_exists_is_not_stale() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let (slot, pfn) = rig.map_and_use();
        rig.run_on(CPU0, || {
            // Shared by a second page, then read-only: the frame is still where the CPU thinks.
            rig.map(PAGE.add(1), writable(pfn));
            rig.compare_exchange(slot, writable(pfn), clean(pfn)).unwrap();
            rig.assert_no_stale(CPU0, ASID, PageRange::of_len(PAGE, 1));
            assert_judged(STALE, || rig.assert_no_stale(CPU1, ASID, PageRange::of_len(PAGE, 1)));
            rig.invalidate_all_cpus(leaves(PAGE, 1));
            rig.assert_no_stale(CPU1, ASID, PageRange::of_len(PAGE, 1));
        });
    });
}

#[test]
fn too_narrow_invalidation_of_many_pages_names_the_page() {
    explore(0..2, |seed| {
        let rig = Rig::calm(seed);
        let pages = PageRange::of_len(Vpn::new(0x400), 512);
        let frames: Vec<Pfn> = pages.pages().map(|_| rig.frame()).collect();
        for (page, pfn) in pages.pages().zip(&frames) {
            rig.map(page, writable(*pfn));
            rig.store(CPU1, page.base(), page.get()).unwrap();
        }
        rig.run_on(CPU0, || {
            pages.pages().for_each(|page| assert_ne!(rig.exchange(rig.slot(page), 0), 0));
            rig.invalidate_all_cpus(leaves(pages.start, 511));
            frames[..511].iter().for_each(|pfn| rig.zero_frame(*pfn));
            assert_judged("0x5ff000..0x600000", || rig.zero_frame(frames[511]));
        });
    });
}
