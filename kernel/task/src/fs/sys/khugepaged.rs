// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is khugepaged's directory of settings. There is no such thread, and nothing collapses but by
//! MADV_COLLAPSE: the numbers are kept for the programs that write back what they found.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use abi::Errno;
use base::sync::atomic::{AtomicU64, Ordering};

use super::fixed;
use super::setting::number;
use crate::fs::synthetic::Spec;

const U32: u64 = u32::MAX as u64;

/// Returns what is in the directory.
pub(super) fn entries() -> Vec<(&'static str, Spec)> {
    vec![
        ("alloc_sleep_millisecs", kept(60_000, 0..=U32)),
        ("defrag", kept(1, 0..=1)),
        ("full_scans", fixed(String::from("0\n"))),
        ("max_ptes_none", kept(511, 0..=511)),
        ("max_ptes_shared", kept(256, 0..=511)),
        ("max_ptes_swap", kept(64, 0..=511)),
        ("pages_collapsed", fixed(String::from("0\n"))),
        ("pages_to_scan", kept(4096, 1..=U32)),
        ("scan_sleep_millisecs", kept(10_000, 0..=U32)),
    ]
}

/// A number that is shown as it was last written.
fn kept(start: u64, range: RangeInclusive<u64>) -> Spec {
    let value = Arc::new(AtomicU64::new(start));
    let written = Arc::clone(&value);
    let set = move |wish| {
        if !range.contains(&wish) {
            return Err(Errno::EINVAL);
        }
        written.store(wish, Ordering::Relaxed);
        Ok(())
    };
    number(move || value.load(Ordering::Relaxed), set)
}
