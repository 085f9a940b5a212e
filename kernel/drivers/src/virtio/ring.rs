// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file chooses a queue's size: the crate wants it at compile time, the device has a maximum.

#![expect(unsafe_code, reason = "the crate's queue trusts its caller with buffers")]

use alloc::boxed::Box;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::{Error, Hal};

/// The number of a disk's only queue.
pub const QUEUE: u16 = 0;

/// A split queue. A request of one segment takes three descriptors, so the larger one has room for
/// 170 of them and the smaller one, which is all that QEMU's PCI devices have by default, for 85.
///
/// Indirect descriptors are off, so the crate allocates nothing after the start.
pub enum Ring<H: Hal> {
    /// 512 descriptors.
    Large(Box<VirtQueue<H, 512>>),
    /// 256 descriptors.
    Small(Box<VirtQueue<H, 256>>),
}

macro_rules! either {
    ($ring:expr, $queue:ident => $body:expr) => {
        match $ring {
            Ring::Large($queue) => $body,
            Ring::Small($queue) => $body,
        }
    };
}

/// Sets up a queue. Not inlined: it is on the stack before it is in the box, and is kilobytes, of which
/// its caller shall have one at most.
#[inline(never)]
fn boxed<H: Hal, const SIZE: usize>(
    transport: &mut impl Transport,
) -> Result<Box<VirtQueue<H, SIZE>>, Error> {
    VirtQueue::new(transport, QUEUE, false, false).map(Box::new)
}

impl<H: Hal> Ring<H> {
    /// Sets up the device's queue.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParam`] when the device's queue is too small, [`Error::DmaError`] when there
    /// is no memory, [`Error::AlreadyUsed`].
    pub fn new(transport: &mut impl Transport) -> Result<Self, Error> {
        match transport.max_queue_size(QUEUE) {
            512.. => boxed(transport).map(Self::Large),
            _ => boxed(transport).map(Self::Small),
        }
    }

    /// Returns the number of descriptors.
    pub const fn size(&self) -> usize {
        match self {
            Self::Large(_) => 512,
            Self::Small(_) => 256,
        }
    }

    /// Returns how many descriptors are free.
    pub fn nr_free(&self) -> usize {
        either!(self, queue => queue.available_desc())
    }

    /// Makes a chain of descriptors available to the device and returns its number.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`].
    ///
    /// # Safety
    ///
    /// The buffers stay valid, and what the device reads or writes is left alone, until [`Ring::pop`]
    /// has returned the number.
    pub unsafe fn add<'a>(
        &mut self,
        to_device: &'a [&'a [u8]],
        from_device: &'a mut [&'a mut [u8]],
    ) -> Result<u16, Error> {
        // SAFETY: the caller's promise.
        either!(self, queue => unsafe { queue.add(to_device, from_device) })
    }

    /// Tells whether the device wants to be notified of what was added.
    pub fn wants_doorbell(&self) -> bool {
        either!(self, queue => queue.should_notify())
    }

    /// Returns the number of the next chain that the device is done with.
    pub fn peek(&self) -> Option<u16> {
        either!(self, queue => queue.peek_used())
    }

    /// Takes back the chain that [`Ring::peek`] returned.
    ///
    /// # Errors
    ///
    /// [`Error::WrongToken`], [`Error::NotReady`] when it did not.
    ///
    /// # Safety
    ///
    /// The buffers are those with which the chain was added.
    pub unsafe fn pop<'a>(
        &mut self,
        chain: u16,
        to_device: &'a [&'a [u8]],
        from_device: &'a mut [&'a mut [u8]],
    ) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        either!(self, queue => unsafe { queue.pop_used(chain, to_device, from_device) })?;
        Ok(())
    }
}
