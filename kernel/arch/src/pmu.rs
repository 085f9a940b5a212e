// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has the PMU count instructions, for user programs that measure the kernel.

#![expect(unsafe_code, reason = "writes the registers of the PMU")]

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{ID_AA64DFR0_EL1, Readable};

use crate::features::field;
use crate::sysreg;

/// INST_RETIRED (Arm ARM D13.12), counted at EL0 and EL1: no filter bit is set.
const INSTRUCTIONS: u64 = 0x08;

/// PMCR_EL0 (Arm ARM D24.5.7): counting is on; counters start at zero; they have 64 bits (FEAT_PMUv3p5,
/// ignored before that).
const ENABLE: u64 = 1 << 0;
const RESET: u64 = 1 << 1;
const LONG: u64 = 1 << 7;
const NR_COUNTERS_SHIFT: u64 = 11;

/// PMUSERENR_EL0.ER (Arm ARM D24.5.17): EL0 reads event counters, and changes nothing.
const EVENT_COUNTERS_READABLE: u64 = 1 << 3;

/// Sets up the running CPU's PMU: closed to EL0, or with counter 0 counting instructions and readable.
/// Returns whether it is as asked for.
pub fn init_cpu(is_user_readable: bool) -> bool {
    let version = field(ID_AA64DFR0_EL1.get(), 8);
    // None, or one that is not Arm's.
    if matches!(version, 0 | 0xf) {
        return !is_user_readable;
    }
    let has_counter = sysreg::pmcr_el0() >> NR_COUNTERS_SHIFT & 0x1f > 0;
    let is_open = is_user_readable && has_counter;
    if is_open {
        // SAFETY: which event is counted concerns no memory; no counter interrupts (PMINTENSET_EL1
        // is not written).
        unsafe { sysreg::set_pmevtyper0_el0(INSTRUCTIONS) };
        // SAFETY: the same.
        unsafe { sysreg::set_pmcr_el0(ENABLE | RESET | LONG) };
        // SAFETY: the same; counter 0 counts from here on.
        unsafe { sysreg::set_pmcntenset_el0(1) };
    }
    // SAFETY: what EL0 may read is a number of instructions.
    unsafe { sysreg::set_pmuserenr_el0(if is_open { EVENT_COUNTERS_READABLE } else { 0 }) };
    barrier::isb(barrier::SY);
    is_open == is_user_readable
}
