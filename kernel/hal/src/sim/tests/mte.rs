// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests tag-checked accesses and the instructions that access tags.

use base::Pfn;

use super::rig::{CPU0, CPU1, PAGE, READ_ONLY, Rig, TAGGED, clean, tagged, writable};
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::{SimConfig, explore};
use crate::tag_mem::{PageTags, TagMem};
use crate::user::{RunUser, TagCheckMode, TagControl};
use crate::user_mem::{Access, FaultCause};

/// A page with tag 3 everywhere, which CPU 1 checks in `mode`.
fn rig(mode: TagCheckMode, entry: impl Fn(Pfn) -> u64) -> (Rig, PteSlot, Pfn) {
    let rig = Rig::calm(0);
    let pfn = rig.frame();
    rig.write_tags(pfn, &PageTags::uniform(3));
    let slot = rig.map(PAGE, entry(pfn));
    rig.set_tag_control(CPU1, TagControl { mode, include: 0xffff });
    (rig, slot, pfn)
}

fn tagged_page(pfn: Pfn) -> u64 {
    writable(pfn) | TAGGED
}

#[test]
fn synchronous_mode_faults_on_loads_and_stores_and_leaves_memory_alone() {
    explore(0..1, |_| {
        let (rig, _, _) = rig(TagCheckMode::Sync, tagged_page);
        rig.store(CPU1, tagged(3), 1).unwrap();
        let fault = rig.store(CPU1, tagged(4), 2).unwrap_err();
        assert_eq!((fault.cause, fault.addr), (FaultCause::TagCheck, tagged(4)));
        let fault = rig.load(CPU1, tagged(0)).unwrap_err();
        assert_eq!((fault.cause, fault.access), (FaultCause::TagCheck, Access::Read));
        assert_eq!(rig.load(CPU1, tagged(3)), Ok(1));
        assert!(!rig.run_on(CPU1, || rig.take_async_tag_fault()));
    });
}

#[test]
fn asynchronous_mode_records_and_goes_on() {
    explore(0..1, |_| {
        let (rig, _, _) = rig(TagCheckMode::Async, tagged_page);
        rig.store(CPU1, tagged(4), 9).unwrap();
        rig.run_on(CPU1, || {
            assert!(rig.take_async_tag_fault());
            assert!(!rig.take_async_tag_fault(), "taken");
            assert_eq!(rig.load(CPU1, tagged(3)), Ok(9));
            assert!(!rig.take_async_tag_fault());
        });
    });
}

#[test]
fn asymmetric_mode_faults_on_loads_and_records_stores() {
    explore(0..1, |_| {
        let (rig, _, _) = rig(TagCheckMode::Asymmetric, tagged_page);
        assert_eq!(rig.load(CPU1, tagged(4)).unwrap_err().cause, FaultCause::TagCheck);
        rig.store(CPU1, tagged(4), 9).unwrap();
        assert!(rig.run_on(CPU1, || rig.take_async_tag_fault()));
    });
}

#[test]
fn nothing_is_checked_without_a_mode_or_on_untagged_memory() {
    explore(0..1, |_| {
        let (rig_off, _, _) = rig(TagCheckMode::None, tagged_page);
        rig_off.store(CPU1, tagged(4), 1).unwrap();
        let (rig_normal, _, _) = rig(TagCheckMode::Sync, writable);
        rig_normal.store(CPU1, tagged(4), 1).unwrap();
    });
}

#[test]
fn tags_belong_to_granules() {
    explore(0..1, |_| {
        let (rig, _, pfn) = rig(TagCheckMode::Sync, tagged_page);
        let second = tagged(3).wrapping_add(16);
        rig.store_tag(CPU1, second, 9).unwrap();
        assert_eq!(rig.load_tag(CPU1, second), Ok(9));
        assert_eq!(rig.load_tag(CPU1, second.wrapping_add(16)), Ok(3));
        assert_eq!(rig.read_tags(pfn).get(1), 9);
        rig.load(CPU1, second).unwrap_err();
        rig.load(CPU1, tagged(9).wrapping_add(24)).unwrap();
        rig.store_tag(CPU1, second.wrapping_add(8), 1).unwrap_err();
    });
}

#[test]
fn storing_a_tag_is_a_store() {
    explore(0..1, |_| {
        let (rig, slot, _) = rig(TagCheckMode::Sync, |pfn| clean(pfn) | TAGGED);
        rig.load_tag(CPU1, tagged(0)).unwrap();
        let entry = rig.run_on(CPU0, || PteMem::load(&rig.machine, slot));
        assert_ne!(entry & READ_ONLY, 0, "loading one is not");
        rig.store_tag(CPU1, tagged(0), 1).unwrap();
        let entry = rig.run_on(CPU0, || PteMem::load(&rig.machine, slot));
        assert_eq!(entry & READ_ONLY, 0);
    });
    explore(0..1, |_| {
        let (rig, _, _) = rig(TagCheckMode::Sync, |pfn| tagged_page(pfn) | READ_ONLY);
        let fault = rig.store_tag(CPU1, tagged(0), 1).unwrap_err();
        assert_eq!((fault.cause, fault.access), (FaultCause::Permission, Access::Write));
    });
}

#[test]
fn untagged_memory_ignores_tag_stores() {
    explore(0..1, |_| {
        let (rig_normal, _, pfn) = rig(TagCheckMode::Sync, writable);
        rig_normal.store_tag(CPU1, tagged(0), 1).unwrap();
        assert_eq!(rig_normal.load_tag(CPU1, tagged(0)), Ok(0));
        assert_eq!(rig_normal.read_tags(pfn), PageTags::uniform(3));
        let no_tags = Rig::new(SimConfig { has_tags: false, ..SimConfig::default() });
        no_tags.map(PAGE, tagged_page(no_tags.frame()));
        no_tags.set_tag_control(CPU1, TagControl { mode: TagCheckMode::Sync, include: 0 });
        no_tags.store(CPU1, tagged(4), 1).expect("no tags, no check");
    });
}
