// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the PMU, where the kernel lets it.

#![expect(unsafe_code, reason = "a counter of the PMU")]

use core::arch::asm;

/// Reads PMEVCNTR0_EL0 (Arm ARM D24.5.10), which the kernel option `pmu.user=on` makes count
/// instructions. Elsewhere the instruction is undefined: SIGILL.
#[inline]
pub fn instructions() -> u64 {
    let count;
    // SAFETY: reading changes nothing.
    unsafe {
        asm!("isb", "mrs {count}, pmevcntr0_el0", count = lateout(reg) count,
            options(nomem, nostack));
    }
    count
}
