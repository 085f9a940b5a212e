// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file pushes pages out to swap and says where a page is.

#![expect(unsafe_code, reason = "sysinfo")]

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::memory::{self, PAGE};
use crate::thp::Setting;
use crate::trial::Skip;

/// Bits of /proc/self/pagemap (Linux Documentation/admin-guide/mm/pagemap.rst).
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// How often a page that is busy elsewhere (on its way to a list, under I/O) is asked for again.
const NR_TRIES: usize = 1000;

/// Where a page of this process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Never touched, or given up.
    Nowhere,
    /// Mapped.
    Memory,
    /// In a swap slot, as far as the page table knows.
    Swap,
}

/// Has faults read from swap what they ask for and nothing else, as long as the setting is kept.
///
/// # Errors
///
/// Where that cannot be set.
pub fn without_read_ahead() -> Result<Setting, Skip> {
    Ok(Setting::at(String::from("/proc/sys/vm/page-cluster"))?.to("0"))
}

/// Returns where the page at `address` is.
///
/// # Panics
///
/// When there is no /proc/self/pagemap.
pub fn place(address: usize) -> Place {
    place_of(pagemap_entry(address))
}

/// Returns where each page of a range is, read at once.
///
/// # Panics
///
/// When there is no /proc/self/pagemap.
pub fn places(range: Range<usize>) -> Vec<Place> {
    let mut entries = vec![0; range.len() / PAGE * size_of::<u64>()];
    read_pagemap(range.start, &mut entries);
    let entries = entries.as_chunks().0.iter();
    entries.map(|entry| place_of(u64::from_le_bytes(*entry))).collect()
}

fn place_of(entry: u64) -> Place {
    match entry {
        entry if entry & PRESENT != 0 => Place::Memory,
        entry if entry & SWAPPED != 0 => Place::Swap,
        _ => Place::Nowhere,
    }
}

/// Returns the slot of a page that is out.
///
/// # Panics
///
/// When there is no /proc/self/pagemap.
pub fn swap_slot(address: usize) -> Option<u64> {
    // Bits 4:0 are the area, 54:5 the slot.
    let entry = pagemap_entry(address);
    (entry & SWAPPED != 0).then_some(entry >> 5 & ((1 << 50) - 1))
}

/// Returns the frames of the pages of a range, of those that are mapped.
///
/// # Panics
///
/// When there is no /proc/self/pagemap.
pub fn frames(range: Range<usize>) -> Vec<Option<u64>> {
    let pagemap = File::open("/proc/self/pagemap").expect("/proc/self/pagemap");
    let mut bytes = vec![0; range.len() / PAGE * 8];
    let offset = range.start / PAGE * 8;
    pagemap.read_exact_at(&mut bytes, offset as u64).expect("entries of pagemap");
    let entries = bytes.as_chunks().0.iter().map(|entry| u64::from_le_bytes(*entry));
    entries.map(|entry| (entry & PRESENT != 0).then_some(entry & FRAME)).collect()
}

fn pagemap_entry(address: usize) -> u64 {
    let mut entry = [0; size_of::<u64>()];
    read_pagemap(address, &mut entry);
    u64::from_le_bytes(entry)
}

fn read_pagemap(address: usize, entries: &mut [u8]) {
    let pagemap = File::open("/proc/self/pagemap").expect("/proc/self/pagemap");
    let offset = address / PAGE * size_of::<u64>();
    pagemap.read_exact_at(entries, offset as u64).expect("entries of pagemap");
}

/// Goes on only where there is swap.
///
/// # Errors
///
/// Elsewhere.
pub fn needed() -> Result<(), Skip> {
    // SAFETY: all zeroes is a valid sysinfo.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes the structure.
    let result = unsafe { libc::sysinfo(&raw mut info) };
    assert_eq!(result, 0, "sysinfo");
    if info.totalswap > 0 { Ok(()) } else { Err(Skip("no swap")) }
}

/// Pushes out the pages of a range, all of which must be in memory or out already.
///
/// # Panics
///
/// When one stays.
pub fn page_out(range: Range<usize>) {
    let len_bytes = range.end - range.start;
    for _ in 0..NR_TRIES {
        memory::madvise(range.start, len_bytes, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
        if places(range.clone()).iter().all(|place| *place == Place::Swap) {
            return;
        }
        std::thread::yield_now();
    }
    let left = range.clone().step_by(PAGE).filter(|page| place(*page) != Place::Swap);
    panic!("{} pages of {range:x?} do not go to swap", left.count());
}
