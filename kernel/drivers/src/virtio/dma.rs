// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives `virtio-drivers` its memory: queues from the kernel's heap, and addresses as the
//! device knows them.

#![expect(unsafe_code, reason = "implements the crate's unsafe trait for memory")]

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::marker::PhantomData;
use core::ptr::NonNull;

use base::PhysAddr;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};

use super::Platform;

/// [`Platform`] in the shape that `virtio-drivers` wants.
pub struct Dma<P>(PhantomData<P>);

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}

// SAFETY: per method:
// - `dma_alloc` returns zeroed heap memory of its own, aligned to pages; address 0 says that there
//   is none, which the crate checks before it uses the pointer;
// - `mmio_phys_to_virt` returns a mapping of exactly the registers asked for, or panics;
// - `share` and `unshare` have nothing to do but translate: `Platform` promises coherence.
unsafe impl<P: Platform> Hal for Dma<P> {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (u64, NonNull<u8>) {
        let none = (0, NonNull::dangling());
        let Some(layout) = layout(pages).filter(|layout| layout.size() > 0) else { return none };
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc_zeroed(layout) };
        NonNull::new(memory).map_or(none, |at| (P::phys_of(memory.addr()).get(), at))
    }

    unsafe fn dma_dealloc(_: u64, at: NonNull<u8>, pages: usize) -> i32 {
        let layout = layout(pages).expect("the layout it was allocated with");
        // SAFETY: the caller's promise: `at` came from `dma_alloc` with as many pages.
        unsafe { dealloc(at.as_ptr(), layout) };
        0
    }

    unsafe fn mmio_phys_to_virt(at: u64, size: usize) -> NonNull<u8> {
        let start = PhysAddr::new(at);
        let registers = start..start.add(size as u64);
        P::map_registers(registers).expect("BARs were mapped when they got their addresses")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> u64 {
        P::phys_of(buffer.addr().get()).get()
    }

    unsafe fn unshare(_: u64, _: NonNull<[u8]>, _: BufferDirection) {}
}
