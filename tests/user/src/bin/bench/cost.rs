// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures one piece of work: instructions, TLB invalidations, requests to the disk.

#![expect(unsafe_code, reason = "hints for a plugin of the emulator")]

use core::arch::asm;

use user_tests::vmstat::Counters;

use crate::counter;

/// What an operation has cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Instructions a page.
    pub each: u64,
    /// TLB invalidations in all, where the kernel counts them.
    pub tlbis: Option<u64>,
    /// Requests to the disk in all, where the kernel counts them.
    pub requests: Option<u64>,
}

/// Measures `work` on so many pages; `own` instructions of it are the program's.
pub fn measured(nr_pages: usize, own: u64, work: impl FnOnce()) -> Cost {
    let before = Counters::read();
    let start = counter::now();
    mark::<BEGIN>();
    work();
    mark::<END>();
    let taken = counter::now() - start;
    let after = Counters::read();
    Cost {
        each: taken.saturating_sub(own) / nr_pages as u64,
        tlbis: after.sum_since(&before, &["tlbi_page", "tlbi_range", "tlbi_asid"]),
        requests: after.sum_since(&before, &["blk_reads", "blk_writes"]),
    }
}

/// Numbers of the hints that stand before and behind what is measured, for a plugin of the emulator.
const BEGIN: u32 = 112;
const END: u32 = 113;

/// Executes a hint that processors ignore.
fn mark<const NUMBER: u32>() {
    // SAFETY: it does nothing.
    unsafe { asm!("hint #{number}", number = const NUMBER, options(nomem, nostack)) };
}
