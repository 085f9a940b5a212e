// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests RAM, its faults, and that a seed replays a run.

use alloc::vec::Vec;

use base::{PAGE_SIZE, Pfn, PhysAddr};

use super::rig::{CPU0, CPU1, PAGE, Rig, assert_judged, clean, leaves};
use crate::phys_mem::PhysMem;
use crate::pte_mem::PteMem;
use crate::sim::{Bank, SimConfig, explore};
use crate::tag_mem::{PageTags, TagMem};

const FIRST: Pfn = Pfn::new(0x4_0000);

fn two_banks() -> SimConfig {
    let banks =
        [Bank { first: FIRST, nr_blocks: 2 }, Bank { first: FIRST.add(4 * 512), nr_blocks: 1 }];
    SimConfig { banks: banks.into(), nr_heap_blocks: 1, ..SimConfig::default() }
}

#[test]
fn frame_outside_the_managed_set_is_refused() {
    explore(0..1, |_| {
        let machine = two_banks().build();
        let ends = [FIRST..FIRST.add(1024), FIRST.add(2048)..FIRST.add(2560)];
        assert_eq!(machine.managed_frames(), ends);
        for hole in [FIRST.get() - 1, FIRST.get() + 1024, FIRST.get() + 2560, 0] {
            assert_judged("not managed memory", || machine.zero_frame(Pfn::new(hole)));
        }
        assert_judged("leave their frame", || machine.read_bytes(FIRST.at(4095), &mut [0; 2]));
    });
}

#[test]
fn adopted_block_is_managed_no_longer() {
    explore(0..1, |_| {
        let machine = two_banks().build();
        assert!(machine.adopt_block(FIRST.add(512)));
        assert!(!machine.adopt_block(FIRST), "the machine wants one block");
        let left = [FIRST..FIRST.add(512), FIRST.add(2048)..FIRST.add(2560)];
        assert_eq!(machine.managed_frames(), left);
        assert_judged("not managed memory", || machine.zero_frame(FIRST.add(1023)));
    });
}

#[test]
fn fresh_frame_holds_neither_zeroes_nor_zero_tags() {
    explore(0..1, |_| {
        let machine = two_banks().build();
        assert!(!machine.is_zero_frame(FIRST));
        assert_ne!(machine.read_tags(FIRST), PageTags::ZERO);
        machine.zero_frame_and_tags(FIRST);
        assert!(machine.is_zero_frame(FIRST));
        assert_eq!(machine.read_tags(FIRST), PageTags::ZERO);
    });
}

#[test]
fn bytes_at_any_offset_leave_their_neighbours_alone() {
    explore(0..1, |_| {
        let machine = two_banks().build();
        for (offset, len) in [(0, 1), (3, 2), (7, 9), (8, 8), (4091, 5), (0, PAGE_SIZE)] {
            machine.zero_frame(FIRST);
            let at = PhysAddr::new(FIRST.base().get() + offset as u64);
            let bytes: Vec<u8> = (0..len).map(|n| n as u8 | 0x80).collect();
            machine.write_bytes(at, &bytes);
            let mut page = [0; PAGE_SIZE];
            machine.read_bytes(FIRST.base(), &mut page);
            assert_eq!(&page[offset..offset + len], &bytes);
            assert_eq!(page.iter().filter(|byte| **byte != 0).count(), len);
        }
    });
}

#[test]
fn copy_moves_bytes_and_leaves_tags() {
    explore(0..1, |_| {
        let machine = two_banks().build();
        let (from, to) = (FIRST, FIRST.add(1));
        machine.zero_frame_and_tags(to);
        machine.write_tags(from, &PageTags::uniform(5));
        machine.write_bytes(from.at(100), b"granule");
        machine.copy_frame(to, from);
        let mut bytes = [0; 7];
        machine.read_bytes(to.at(100), &mut bytes);
        assert_eq!(&bytes, b"granule");
        assert_eq!(machine.read_tags(to), PageTags::ZERO);
    });
}

#[test]
fn machine_without_tags_refuses_tag_operations() {
    explore(0..1, |_| {
        let machine = SimConfig { has_tags: false, ..SimConfig::default() }.build();
        assert!(!machine.has_tags());
        assert_judged("without tags", || machine.read_tags(FIRST));
    });
}

#[test]
fn every_allocation_can_be_made_to_fail() {
    explore(0..1, |_| {
        let machine = two_banks().build();
        let operation = || (0..5).position(|_| machine.inject_alloc_failure());
        let mut failed_at = Vec::new();
        for n in 1.. {
            let before = machine.asked_allocs();
            machine.fail_nth_alloc(n);
            failed_at.push(operation());
            if machine.asked_allocs() - before < n {
                break;
            }
        }
        assert_eq!(failed_at, [Some(0), Some(1), Some(2), Some(3), Some(4), None]);
        machine.fail_allocs(4);
        let failed = (0..400).filter(|_| machine.inject_alloc_failure()).count();
        assert!((50..200).contains(&failed), "{failed} of 400");
    });
}

/// A run with a bit of everything; returns what it left behind.
fn sample_run(seed: u64) -> (u64, u64) {
    let rig = Rig::new(SimConfig { seed, ..SimConfig::default() });
    for n in 0..64 {
        let page = PAGE.add(n % 8);
        let slot = rig.map(page, clean(rig.frame()));
        let cpu = if n % 3 == 0 { CPU0 } else { CPU1 };
        while rig.store(cpu, page.base(), n).is_err() {}
        rig.run_on(CPU0, || {
            rig.exchange(slot, 0);
            rig.invalidate_all_cpus(leaves(page, 1));
        });
    }
    (rig.ram_digest(), rig.mmu_counts().walks)
}

#[test]
fn equal_seeds_give_equal_runs() {
    explore(0..8, |seed| {
        assert_eq!(sample_run(seed), sample_run(seed));
        assert_ne!(sample_run(seed), sample_run(seed + 1));
    });
}
