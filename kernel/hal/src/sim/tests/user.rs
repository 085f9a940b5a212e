// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests copies to and from user memory, and user code that a test plays.

use base::{PAGE_SIZE, VirtAddr};

use super::rig::{CPU0, CPU1, PAGE, READ_ONLY, Rig, TAGGED, UXN, assert_judged, tagged, writable};
use crate::cpu::Cpus;
use crate::phys_mem::PhysMem;
use crate::sim::{Adversary, SimConfig, explore};
use crate::tag_mem::{PageTags, TagMem};
use crate::tlb::Tlb;
use crate::user::{FpState, RunUser, TagCheckMode, TagControl, Trap, UserRegs};
use crate::user_mem::{Access, FaultCause, UserMem};

/// Two writable pages, the third one missing.
fn two_pages(seed: u64) -> Rig {
    let rig = Rig::new(SimConfig { seed, ..SimConfig::default() });
    for n in 0..2 {
        rig.map(PAGE.add(n), writable(rig.frame()));
    }
    rig
}

fn pattern<const N: usize>() -> [u8; N] {
    core::array::from_fn(|n| (n % 251) as u8)
}

#[test]
fn copies_cross_pages_at_any_alignment() {
    explore(0..4, |seed| {
        let rig = two_pages(seed);
        rig.run_on(CPU1, || {
            for offset in [0, 1, 7, 8, 15, 4000, 4095] {
                let at = PAGE.base().wrapping_add(offset);
                let bytes = pattern::<{ PAGE_SIZE }>();
                rig.write_user(at, &bytes).unwrap();
                let mut back = [0; PAGE_SIZE];
                rig.read_user(at, &mut back).unwrap();
                assert_eq!(back, bytes);
            }
        });
    });
}

#[test]
fn copy_stops_at_the_first_byte_that_faults() {
    explore(0..4, |seed| {
        let rig = two_pages(seed);
        rig.run_on(CPU1, || {
            let end = PAGE.add(2).base();
            let at = end.wrapping_add(-5_i64 as u64);
            let fault = rig.write_user(at, &[1; 64]).unwrap_err();
            assert_eq!((fault.done, fault.fault.addr), (5, end));
            assert_eq!(fault.fault.access, Access::Write);
            assert_eq!(fault.fault.cause, FaultCause::Translation);
            let fault = rig.zero_user(PAGE.base(), 3 * PAGE_SIZE).unwrap_err();
            assert_eq!(fault.done, 2 * PAGE_SIZE);
            let mut byte = [1];
            rig.read_user(at, &mut byte).unwrap();
            assert_eq!(byte, [0]);
        });
    });
}

#[test]
fn addresses_outside_the_user_half_fault() {
    explore(0..1, |_| {
        let rig = two_pages(0);
        rig.run_on(CPU1, || {
            for raw in [1 << 48, 0xffff_0000_0000_0000, 0x0080_0000_0000_0000, u64::MAX] {
                let fault = rig.read_user(VirtAddr::new(raw), &mut [0]).unwrap_err();
                assert_eq!((fault.done, fault.fault.cause), (0, FaultCause::Translation));
            }
            rig.deactivate();
            rig.read_user(PAGE.base(), &mut [0]).unwrap_err();
        });
    });
}

#[test]
fn copies_check_tags_granule_by_granule() {
    explore(0..4, |seed| {
        let rig = Rig::new(SimConfig { seed, ..SimConfig::default() });
        let pfn = rig.frame();
        let mut tags = PageTags::uniform(3);
        tags.set(2, 4);
        rig.write_tags(pfn, &tags);
        rig.map(PAGE, writable(pfn) | TAGGED);
        rig.run_on(CPU1, || {
            let mode = TagCheckMode::Sync;
            rig.load_tag_control(TagControl { mode, include: 0 });
            let fault = rig.write_user(tagged(3).wrapping_add(10), &[1; 100]).unwrap_err();
            assert_eq!((fault.done, fault.fault.cause), (22, FaultCause::TagCheck));
            let mode = TagCheckMode::Async;
            rig.load_tag_control(TagControl { mode, include: 0 });
            rig.write_user(tagged(3).wrapping_add(10), &[1; 100]).unwrap();
            assert!(rig.take_async_tag_fault());
        });
    });
}

#[test]
fn frames_are_copied_to_and_from_user_memory() {
    explore(0..4, |seed| {
        let rig = two_pages(seed);
        let (source, target) = (rig.frame(), rig.frame());
        rig.write_bytes(source.at(100), &pattern::<1000>());
        rig.run_on(CPU1, || {
            let user = PAGE.base().wrapping_add(4001);
            rig.write_user_from_frame(user, source.at(100), 1000).unwrap();
            rig.read_user_to_frame(user, target.at(7), 1000).unwrap();
        });
        let mut bytes = [0; 1000];
        rig.read_bytes(target.at(7), &mut bytes);
        assert_eq!(bytes, pattern::<1000>());
    });
}

#[test]
fn user_words_are_exchanged_in_place() {
    explore(0..1, |_| {
        let rig = two_pages(0);
        rig.run_on(CPU1, || {
            let at = PAGE.base().wrapping_add(4);
            rig.zero_user(PAGE.base(), 16).unwrap();
            assert_eq!(rig.compare_exchange_user_u32(at, 0, 7), Ok(0));
            assert_eq!(rig.compare_exchange_user_u32(at, 0, 9), Ok(7));
            assert_eq!(rig.load_user_u32(at), Ok(7));
            assert_eq!(rig.load_user_u32(PAGE.base()), Ok(0));
            let fault = rig.load_user_u32(at.wrapping_add(2)).unwrap_err();
            assert_eq!(fault.fault.cause, FaultCause::Alignment);
        });
    });
}

#[test]
fn instructions_are_fetched_only_once_synchronised() {
    explore(0..1, |_| {
        let rig = Rig::calm(0);
        let pfn = rig.frame();
        rig.map(PAGE, (writable(pfn) | READ_ONLY) & !UXN);
        rig.write_bytes(pfn.at(4), &0xd400_0001_u32.to_le_bytes());
        let at = PAGE.base().wrapping_add(4);
        assert_judged("not synchronised", || rig.fetch(CPU1, at));
        rig.sync_instructions(pfn);
        assert_eq!(rig.fetch(CPU1, at), Ok(0xd400_0001));
        rig.write_bytes(pfn.at(8), &[0; 4]);
        assert_judged("not synchronised", || rig.fetch(CPU1, at));
        let writes: [fn(&Rig, base::Pfn); 2] =
            [|rig, pfn| rig.zero_frame(pfn), |rig, pfn| rig.copy_frame(pfn, rig.frame())];
        for (n, write) in (1..).zip(writes) {
            let pfn = rig.frame();
            rig.sync_instructions(pfn);
            write(&rig, pfn);
            let page = PAGE.add(n);
            rig.map(page, writable(pfn) & !UXN);
            assert_judged("not synchronised", || rig.fetch(CPU1, page.base()));
        }
    });
}

#[test]
fn user_code_runs_until_it_traps() {
    explore(0..1, |_| {
        let rig = Rig::calm(0);
        rig.map(PAGE, writable(rig.frame()));
        rig.set_user_code(|machine, cpu, regs| {
            let at = VirtAddr::new(regs.x[0]);
            regs.pc += 4;
            match machine.store(cpu, at, regs.x[1]) {
                Ok(()) => Trap::Syscall,
                Err(fault) => Trap::Fault(fault),
            }
        });
        rig.run_on(CPU1, || {
            let mut regs = UserRegs::default();
            regs.x[..2].copy_from_slice(&[PAGE.base().get(), 42]);
            assert_eq!(rig.run_user(&mut regs), Trap::Syscall);
            assert_eq!((regs.pc, rig.load(CPU1, PAGE.base())), (4, Ok(42)));
            regs.x[0] = PAGE.add(1).base().get();
            assert!(matches!(rig.run_user(&mut regs), Trap::Fault(_)));
        });
    });
}

#[test]
fn user_code_is_interrupted_for_a_reason_or_for_none() {
    explore(0..1, |_| {
        let rig = Rig::new(SimConfig {
            adversary: Adversary { speculation: 4, ..Adversary::CALM },
            ..SimConfig::default()
        });
        rig.set_user_code(|_, _, _| Trap::Syscall);
        rig.run_on(CPU0, || {
            use crate::thread::{Interrupt, Threads};
            let mut regs = UserRegs::default();
            let traps = (0..64).filter(|_| rig.run_user(&mut regs) == Trap::Interrupt).count();
            assert!((1..64).contains(&traps), "{traps} of 64");
            assert_eq!(rig.take_interrupt(), None);
            rig.kick(rig.cpu());
            assert_eq!(rig.run_user(&mut regs), Trap::Interrupt);
            assert_eq!(rig.take_interrupt(), Some(Interrupt::Kick));
        });
    });
}

#[test]
fn registers_belong_to_their_cpu() {
    explore(0..1, |_| {
        let rig = Rig::calm(0);
        let fp = FpState { fpsr: 5, ..FpState::default() };
        rig.run_on(CPU1, || {
            rig.load_fp(&fp);
            rig.load_tls(99);
        });
        rig.run_on(CPU0, || assert_eq!(rig.save_tls(), 0));
        rig.run_on(CPU1, || {
            let mut saved = FpState::default();
            rig.save_fp(&mut saved);
            assert_eq!((saved, rig.save_tls()), (fp, 99));
        });
        assert_eq!(rig.hwcaps().1, 1 << 18 | 1 << 22);
    });
}
