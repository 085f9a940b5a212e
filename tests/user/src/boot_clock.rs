// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the time since the machine was reset.

#![expect(unsafe_code, reason = "the virtual counter")]

use core::arch::asm;

/// Where a program that starts another one leaves the time of its own start.
pub const VARIABLE: &str = "FIRST_USER_NS";

/// Returns the nanoseconds of the virtual counter, which starts at reset on QEMU's machines.
pub fn since_reset_ns() -> u64 {
    let (count, hz): (u64, u64);
    // SAFETY: Linux and this kernel let EL0 read both; reading changes nothing.
    unsafe {
        asm!("isb", "mrs {count}, cntvct_el0", "mrs {hz}, cntfrq_el0", count = out(reg) count,
            hz = out(reg) hz, options(nomem, nostack));
    }
    (u128::from(count) * 1_000_000_000 / u128::from(hz)) as u64
}

/// Returns it for the first instruction of user code: now, or what an earlier program has left.
pub fn first_user_ns() -> u64 {
    let now = since_reset_ns();
    std::env::var(VARIABLE).ok().and_then(|ns| ns.parse().ok()).unwrap_or(now)
}
