// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes instructions that were written as data visible to instruction fetch.

#![expect(unsafe_code, reason = "cache maintenance by address")]

use aarch64_cpu::asm::barrier;
use base::PAGE_SIZE;

use crate::linear_map::Frame;
use crate::sysreg;

/// Makes instructions just written to a frame visible to instruction fetch on every CPU (Arm ARM
/// B2.4.4, *Concurrent modification and execution of instructions*): clean the data to the point of
/// unification, then invalidate all instruction caches of the inner-shareable domain.
pub fn sync_instructions(frame: Frame<'_>) {
    let ctr = sysreg::ctr_el0();
    let has_idc = ctr >> 28 & 1 == 1;
    if !has_idc {
        // DminLine: log2 of words in the smallest data cache line.
        let line = 4 << (ctr >> 16 & 0xf);
        for offset in (0..PAGE_SIZE).step_by(line) {
            // SAFETY: a clean changes no content, and the address is inside the frame.
            unsafe {
                core::arch::asm!(
                    "dc cvau, {}",
                    in(reg) frame.as_ptr().wrapping_add(offset),
                    options(nostack, preserves_flags)
                );
            }
        }
    }
    // The cleaned data (or, with CTR_EL0.IDC, the plain stores) reach the point of unification
    // before any CPU refetches.
    barrier::dsb(barrier::ISH);
    // SAFETY: an invalidation of instruction caches changes no content. All of them, and not by
    // address, because the page's user alias is what is cached on a VIPT machine.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    // The invalidation is complete on all CPUs; this one also refetches what it had ready. The
    // other CPUs take an exception return before they run the page.
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}
