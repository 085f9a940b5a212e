// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to devices with memory of their own: its frames, and the engine that copies
//! between them and RAM.
//!
//! The frames have numbers like those of RAM, and are no RAM: no table walk ever reaches one. A copy
//! moves bytes and, where it is asked to, allocation tags, which the device keeps beside the bytes;
//! copies run beside the CPUs and end in any order.

use core::ops::Range;

use base::{Pfn, PhysAddr};

/// A device, counted from 0 in the order the machine found them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(pub u8);

/// What the engine is to do: fill adjacent frames. Either side is a device's, the other may be RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameCopy {
    /// First frame to fill.
    pub to: Pfn,
    /// First frame to read; `None` fills with zeroes.
    pub from: Option<Pfn>,
    /// How many.
    pub nr_frames: u32,
    /// Allocation tags too.
    pub with_tags: bool,
}

/// The engine failed; the frames to fill hold anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyError;

/// A copy in flight.
#[must_use = "a copy in flight must be waited for before its frames are touched"]
#[derive(Debug, PartialEq, Eq)]
pub struct CopyTicket(u32);

impl CopyTicket {
    /// Wraps the machine's own number for the copy.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// Returns the machine's own number for the copy.
    pub const fn raw(&self) -> u32 {
        self.0
    }
}

/// Devices with memory of their own.
pub trait DeviceMem {
    /// Returns how many there are.
    fn nr_devices(&self) -> usize;

    /// Returns the frames of a device, 2 MiB aligned at both ends.
    fn device_frames(&self, device: DeviceId) -> Range<Pfn>;

    /// Starts a copy. May sleep while the engine has no room for one more.
    fn start_copy(&self, copy: FrameCopy) -> CopyTicket;

    /// Sleeps until a copy is complete: its bytes and tags are there for every CPU.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    fn finish_copy(&self, ticket: CopyTicket) -> Result<(), CopyError>;

    /// Copies bytes out of a device's frame, as the device reads them; the range stays within it.
    fn read_device(&self, from: PhysAddr, buf: &mut [u8]);

    /// Copies bytes into a device's frame, as the device writes them; the range stays within it.
    fn write_device(&self, to: PhysAddr, bytes: &[u8]);

    /// Tells whether the allocation of device frames that is about to be made should fail: fault
    /// injection. Machines other than the simulated one never ask for it.
    #[inline(always)]
    fn inject_device_failure(&self) -> bool {
        false
    }
}
