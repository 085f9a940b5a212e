// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings a CPU from the state that boot/ leaves it in to its running state.

#![expect(unsafe_code, reason = "writes the registers that control translation")]

use aarch64_cpu::asm::barrier;
use base::percpu::CpuId;
use base::{PAGE_SIZE, PhysAddr};

use crate::control::{sctlr, tcr};
use crate::features::CpuFeatures;
use crate::sysreg;

/// Returns the CPU that runs the caller.
#[inline(always)]
pub fn current() -> CpuId {
    CpuId::new(sysreg::tpidr_el1() as usize)
}

/// Returns the affinity fields of the running CPU's MPIDR_EL1, as device tree and PSCI write them.
pub fn affinity() -> u64 {
    sysreg::mpidr_el1() & 0xff_00ff_ffff
}

/// Returns the exception level the CPU runs at.
pub fn exception_level() -> u64 {
    sysreg::current_el() >> 2 & 0b11
}

/// Sets the control registers of the running CPU for `features`: those of the machine, with what
/// boot options switched off already taken out.
pub fn init(features: &CpuFeatures) {
    // SAFETY: attribute 1, the one that differs, stays Normal write-back, with tags or without.
    unsafe { sysreg::set_mair_el1(features.mair()) };
    let tcr = sysreg::tcr_el1() & !tcr::OF_FEATURES | tcr_bits(features);
    // SAFETY: these bits change no kernel translation: kernel entries have their access flag set
    // and are not managed by DBM, and kernel pointers have a top byte of 0xff.
    unsafe { sysreg::set_tcr_el1(tcr) };
    let sctlr = sysreg::sctlr_el1() & !sctlr::OF_FEATURES | sctlr_bits(features);
    // SAFETY: these bits concern EL0, tag access and PAN only.
    unsafe { sysreg::set_sctlr_el1(sctlr) };
    barrier::isb(barrier::SY);
    // MAIR_EL1 and TCR_EL1 fields may be cached in TLB entries (Arm ARM D8.17.1): forget entries
    // made with the old values.
    crate::tlbi::local_all();
    if features.has_tags() {
        // SAFETY: clears a record; nothing ran at EL0 yet.
        unsafe { sysreg::set_tfsre0_el1(0) };
        // SAFETY: seeds IRG. A zero seed would make it generate one tag only (Arm ARM D24.2.136);
        // the counter differs by CPU and boot.
        unsafe { sysreg::set_rgsr_el1((crate::timer::ticks() & 0xffff | 1) << 8) };
    }
    // SErrors are reported where they happen, not as a later trap of some user thread.
    // SAFETY: the vectors are installed (boot/head.S).
    unsafe { core::arch::asm!("msr daifclr, #4", options(nostack)) };
}

const fn tcr_bits(features: &CpuFeatures) -> u64 {
    let mut bits = 0;
    if features.hw_access_flag {
        bits |= tcr::HA;
    }
    if features.hw_dirty {
        bits |= tcr::HD;
    }
    if features.e0pd {
        bits |= tcr::E0PD1;
    }
    if features.has_tags() {
        bits |= tcr::TBI1_TBID1 | tcr::TCMA1;
    }
    bits
}

const fn sctlr_bits(features: &CpuFeatures) -> u64 {
    let mut bits = 0;
    if features.epan {
        bits |= sctlr::EPAN;
    }
    if features.has_tags() {
        bits |= sctlr::ATA | sctlr::ATA0 | sctlr::ITFSB;
    }
    bits
}

/// Parks the running CPU for ever.
pub fn park() -> ! {
    loop {
        aarch64_cpu::asm::wfi();
    }
}

/// Parks the running CPU until an interrupt is pending, although interrupts are masked (Arm ARM
/// D1.6.2).
pub fn wait_for_interrupt() {
    // Stores that another CPU may be waiting for are on their way before this one sleeps.
    barrier::dsb(barrier::ISHST);
    aarch64_cpu::asm::wfi();
}

/// Parts of PSTATE that the kernel keeps constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pstate {
    /// PSTATE.I.
    pub irq_masked: bool,
    /// PSTATE.F.
    pub fiq_masked: bool,
    /// PSTATE.A.
    pub serror_masked: bool,
    /// PSTATE.PAN.
    pub user_access_denied: bool,
}

/// Reads the running CPU's PSTATE.
pub fn pstate() -> Pstate {
    let daif = sysreg::daif();
    Pstate {
        irq_masked: daif & 1 << 7 != 0,
        fiq_masked: daif & 1 << 6 != 0,
        serror_masked: daif & 1 << 8 != 0,
        user_access_denied: sysreg::pan() & 1 << 22 != 0,
    }
}

/// Asks the MMU for the physical address of a byte that EL1 wants to read (AT S1E1R, Arm ARM
/// D24.4.2). `None` when the access would fault.
pub fn translate(va: usize) -> Option<PhysAddr> {
    // SAFETY: a translation changes PAR_EL1 only.
    unsafe { core::arch::asm!("at s1e1r, {}", in(reg) va, options(nostack, preserves_flags)) };
    // The result is in PAR_EL1 after a context synchronization event.
    barrier::isb(barrier::SY);
    let par = sysreg::par_el1();
    let is_fault = par & 1 != 0;
    let page = PhysAddr::new(par & 0x000f_ffff_ffff_f000);
    (!is_fault).then(|| page.add((va % PAGE_SIZE) as u64))
}
