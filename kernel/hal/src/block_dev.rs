// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to block devices.
//!
//! A request moves whole frames; many are in flight at once; each is completed by exactly one
//! [`BlockDevs::wait`]. Devices neither check nor carry allocation tags.

use base::Pfn;

/// Bytes in a sector, the unit of disk addresses.
pub const SECTOR_SIZE: usize = 512;
/// Sectors in a page.
pub const SECTORS_PER_PAGE: u64 = (base::PAGE_SIZE / SECTOR_SIZE) as u64;

/// A disk, counted from 0 in the order the machine found them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DiskId(pub u8);

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockOp {
    /// Disk to frames.
    Read,
    /// Frames to disk.
    Write,
    /// Makes completed writes durable; takes no segments.
    Flush,
    /// Gives up the contents of the disk, which may read as anything then; takes no segments.
    Discard {
        /// How much of it.
        nr_sectors: u32,
    },
}

/// A run of adjacent frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First frame.
    pub first: Pfn,
    /// Number of frames.
    pub nr_frames: u32,
}

impl Segment {
    /// The segment of one frame.
    pub const fn one(pfn: Pfn) -> Self {
        Self { first: pfn, nr_frames: 1 }
    }
}

/// Why a request did not move its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoError {
    /// The device reported an error.
    Device,
    /// The disk does not exist, or the request reaches past its end.
    OutOfRange,
    /// The device does not support the operation.
    Unsupported,
}

/// A request in flight. Wait for it: the device writes to its frames until then.
#[must_use = "a request in flight must be waited for before its frames are touched"]
#[derive(Debug, PartialEq, Eq)]
pub struct IoTicket(u32);

impl IoTicket {
    /// Wraps the machine's own number for the request.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// Returns the machine's own number for the request.
    pub const fn raw(&self) -> u32 {
        self.0
    }
}

/// Disks.
pub trait BlockDevs {
    /// Returns the number of disks.
    fn nr_disks(&self) -> usize;

    /// Returns the size of a disk in sectors, 0 when there is no such disk.
    fn nr_sectors(&self, disk: DiskId) -> u64;

    /// Starts a request at `sector`. Sleeps while the device's queue is full; allocates nothing.
    ///
    /// # Errors
    ///
    /// [`IoError::OutOfRange`] and [`IoError::Unsupported`], before anything is started.
    fn submit(
        &self,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        segments: &[Segment],
    ) -> Result<IoTicket, IoError>;

    /// Sleeps until the request is complete and retires it.
    ///
    /// # Errors
    ///
    /// [`IoError::Device`] when the device failed; frames of a failed read hold anything.
    fn wait(&self, ticket: IoTicket) -> Result<(), IoError>;

    /// Does one request from start to end.
    ///
    /// # Errors
    ///
    /// Those of [`BlockDevs::submit`] and [`BlockDevs::wait`].
    fn transfer(
        &self,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        segments: &[Segment],
    ) -> Result<(), IoError> {
        let ticket = self.submit(disk, op, sector, segments)?;
        self.wait(ticket)
    }
}
