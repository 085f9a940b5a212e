// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes kernel stacks, each with an unmapped guard below it.
//!
//! A stack is the upper half of a slot of the stack window. Slots stay mapped once they are: a
//! freed stack goes to a free list, threaded through the stacks themselves, and is used again, so
//! that no invalidation is needed. Peak use is kept for good.

#![expect(unsafe_code, reason = "writes the free list into freed stacks")]

extern crate alloc;

use alloc::alloc::{Layout, alloc_zeroed};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use base::PAGE_SIZE;
use base::lock_level;
use base::sync::SpinLock;

use crate::descriptor::{MemoryType, Protection};
use crate::kernel_map::{self, Mapping};
use crate::layout::{STACK_BASE, STACK_SIZE, STACK_SLOT_SIZE};
use crate::{image, linear_map};

/// The kernel has no memory for another stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// A kernel stack that nobody runs on. Dropping it frees it.
#[derive(Debug)]
pub struct KernelStack {
    slot: u32,
}

/// Head of the free list. Each free stack's topmost word holds the next one. The lock also guards
/// the mapping of another slot.
static FREE: SpinLock<Option<u32>, lock_level::KernelMap> = SpinLock::new(None);

/// Slots below this one are mapped. An atomic, so that a fault report needs no lock to read it.
static NR_MAPPED: AtomicU32 = AtomicU32::new(0);

/// What the topmost word of a free stack holds when it is the last one.
const END_OF_LIST: u64 = u64::MAX;

impl KernelStack {
    /// Takes a free stack, or maps another one.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        let mut free = FREE.lock();
        if let Some(slot) = *free {
            // SAFETY: a free stack's topmost word was written when it was freed, and the lock is
            // held.
            let next = unsafe { link_of(slot).read() };
            *free = (next != END_OF_LIST).then_some(next as u32);
            return Ok(Self { slot });
        }
        let slot = NR_MAPPED.load(Ordering::Relaxed);
        map_stack(slot)?;
        NR_MAPPED.store(slot + 1, Ordering::Release);
        Ok(Self { slot })
    }

    /// Returns the stack's addresses. Its end is where SP starts.
    pub fn bounds(&self) -> Range<usize> {
        bounds_of_slot(self.slot)
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        let mut free = FREE.lock();
        let next = free.map_or(END_OF_LIST, u64::from);
        // SAFETY: the stack is mapped and nobody runs on it: its owner is gone.
        unsafe { link_of(self.slot).write(next) };
        *free = Some(self.slot);
    }
}

/// Returns the stack that holds an address: the boot CPU's, or one of the window.
pub fn bounds_of(address: usize) -> Option<Range<usize>> {
    let boot = image::boot_stack_top() - STACK_SIZE..image::boot_stack_top();
    if boot.contains(&address) {
        return Some(boot);
    }
    let slot = u32::try_from(address.checked_sub(STACK_BASE)? / STACK_SLOT_SIZE).ok()?;
    if slot >= NR_MAPPED.load(Ordering::Acquire) {
        return None;
    }
    let bounds = bounds_of_slot(slot);
    bounds.contains(&address).then_some(bounds)
}

/// Returns how many bytes at the far end of each stack were never written: of the boot CPU's, and the least
/// of the others.
pub fn headroom() -> (usize, usize) {
    let boot = image::boot_stack_top() - STACK_SIZE..image::boot_stack_top();
    let others = (0..NR_MAPPED.load(Ordering::Acquire)).map(bounds_of_slot).map(never_written);
    (never_written(boot), others.min().unwrap_or(STACK_SIZE))
}

/// Stacks start as zeroes: those of the window here, the boot CPU's because no image has bytes for it and
/// RAM is zero at reset (QEMU).
fn never_written(stack: Range<usize>) -> usize {
    let word = |at: &usize| core::ptr::with_exposed_provenance::<u64>(*at);
    let written = stack.clone().step_by(8).find(|at| {
        // SAFETY: `at` is in a stack that is mapped for good; its owner may be writing to it, which a
        // volatile read of an aligned word bears.
        unsafe { word(at).read_volatile() != 0 }
    });
    written.unwrap_or(stack.end) - stack.start
}

fn bounds_of_slot(slot: u32) -> Range<usize> {
    let end = STACK_BASE + (slot as usize + 1) * STACK_SLOT_SIZE;
    end - STACK_SIZE..end
}

fn link_of(slot: u32) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(bounds_of_slot(slot).end - 8)
}

/// Maps a slot's stack, page by page: it need not be contiguous. On failure the pages allocated so
/// far stay where they are; the next attempt goes on behind them.
fn map_stack(slot: u32) -> Result<(), OutOfMemory> {
    const PAGE: Layout = match Layout::from_size_align(PAGE_SIZE, PAGE_SIZE) {
        Ok(layout) => layout,
        Err(_) => panic!("a page is a valid layout"),
    };
    for at in bounds_of_slot(slot).step_by(PAGE_SIZE) {
        if kernel_map::is_mapped(at) {
            continue;
        }
        // SAFETY: the layout is not of size zero.
        let page = unsafe { alloc_zeroed(PAGE) };
        if page.is_null() {
            return Err(OutOfMemory);
        }
        let mapping = Mapping {
            at,
            to: linear_map::phys_of(page.addr()),
            len_bytes: PAGE_SIZE,
            protection: Protection::ReadWrite,
            memory_type: MemoryType::NormalTagged,
        };
        if kernel_map::map(&mapping).is_err() {
            // SAFETY: allocated above with this layout, and not mapped.
            unsafe { alloc::alloc::dealloc(page, PAGE) };
            return Err(OutOfMemory);
        }
    }
    Ok(())
}
