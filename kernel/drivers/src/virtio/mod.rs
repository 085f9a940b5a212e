// SPDX-License-Identifier: MIT OR Apache-2.0
//! This module drives virtio block devices (OASIS virtio 1.2, sections 2.7 and 5.2).
//!
//! The crate `virtio-drivers` serves for transports and for the split queue; its block device has
//! one request in flight, so the layer above the queue is here. The life of a request:
//!
//! 1. [`Disk::submit`] takes a ticket and a request slot, puts a chain of descriptors into the queue
//!    and rings the doorbell. It sleeps while the queue has too few descriptors.
//! 2. The device moves the data, in any order among requests, and raises its interrupt.
//! 3. [`Disk::complete`], called by whichever CPU took the interrupt, frees slot and descriptors,
//!    stores the outcome under the ticket and wakes who sleeps on it.
//! 4. [`Disk::wait`] reads the outcome and frees the ticket.
//!
//! Slots are few and tickets many, because slots are freed by the device alone and tickets by
//! threads: a thread may hold tickets while it waits for room, and must not keep the device from
//! making that room.
//!
//! After its start a disk allocates nothing: writing to it is how memory is freed.

#![expect(unsafe_code, reason = "device registers; memory by address")]

mod buffer_pool;
mod disk;
mod dma;
mod limits;
mod order;
mod queue;
mod request;
mod ring;
mod tickets;

use core::ops::Range;
use core::ptr::NonNull;

use base::PhysAddr;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, VirtIOHeader};

pub use disk::{Disk, StartError};
pub use dma::Dma;
pub use limits::MAX_SEGMENTS;
pub use virtio_drivers::transport::{DeviceType, SomeTransport, Transport};

/// What the driver needs to know of the machine's memory.
///
/// # Safety
///
/// `phys_of` is right for every byte of the kernel's heap and of every buffer given to
/// [`Disk::submit`], and what is adjacent there is adjacent for a device too. Memory is coherent with
/// devices.
pub unsafe trait Platform: 'static {
    /// Returns the address by which a device knows the byte at `va`.
    fn phys_of(va: usize) -> PhysAddr;

    /// Maps registers as device memory, for ever; a second time they are where they were.
    fn map_registers(registers: Range<PhysAddr>) -> Option<NonNull<u8>>;
}

/// Looks at the registers of an MMIO transport. `Ok(None)` when there is no device behind it.
///
/// # Errors
///
/// When they are not those of a virtio-mmio transport.
///
/// # Safety
///
/// `registers` is a mapping of a virtio-mmio transport, as device memory, for ever; no other driver
/// uses it.
pub unsafe fn mmio_transport(
    registers: NonNull<[u8]>,
) -> Result<Option<SomeTransport<'static>>, MmioError> {
    let header: NonNull<VirtIOHeader> = registers.cast();
    // SAFETY: the caller's promise.
    match unsafe { MmioTransport::new(header, registers.len()) } {
        Ok(transport) => Ok(Some(transport.into())),
        // Device number 0 says that nothing is there (virtio 1.2, 4.2.2).
        Err(MmioError::InvalidDeviceID(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
