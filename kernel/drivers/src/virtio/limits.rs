// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds what a disk can do, and judges requests by it before they start.

use core::ptr::NonNull;

use bitflags::bitflags;
use hal::block_dev::SECTOR_SIZE;
use hal::{BlockOp, IoError};
use virtio_drivers::Error;
use virtio_drivers::transport::Transport;

/// The most segments of one request.
pub const MAX_SEGMENTS: usize = 32;

bitflags! {
    /// Features that the driver understands (virtio 1.2, sections 5.2.3 and 6). The queue's event
    /// index is left out: the crate compares indices without regard to their wrapping. Indirect
    /// descriptors are left out: each would be allocated.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Features: u64 {
        /// A segment's size is limited.
        const SIZE_MAX = 1 << 1;
        /// The number of segments is limited.
        const SEG_MAX = 1 << 2;
        /// Nothing can be written.
        const READ_ONLY = 1 << 5;
        /// There is a command that makes writes durable.
        const FLUSH = 1 << 9;
        /// There is a command that gives up contents.
        const DISCARD = 1 << 13;
        /// The device follows virtio 1.0 or later.
        const VERSION_1 = 1 << 32;
    }
}

/// What a disk can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Size in sectors.
    pub nr_sectors: u64,
    /// The most segments of a request.
    pub max_segments: usize,
    /// The longest segment.
    pub max_segment_bytes: usize,
    /// Whether it can be written to.
    pub is_writable: bool,
    /// Whether it knows the command.
    pub can_flush: bool,
    /// The most sectors that it can give up at once, 0 when it does not know the command.
    pub max_discard_sectors: u32,
}

/// Offsets in the configuration space (virtio 1.2, 5.2.4).
const CAPACITY: usize = 0;
const SIZE_MAX: usize = 8;
const SEG_MAX: usize = 12;
const MAX_DISCARD_SECTORS: usize = 36;

impl Limits {
    /// Reads the limits of a device whose features have been agreed on.
    ///
    /// # Errors
    ///
    /// When its configuration space is too small.
    pub fn read(transport: &impl Transport, features: Features) -> Result<Self, Error> {
        let word = |offset| transport.read_config_space::<u32>(offset);
        let limit = |feature, offset, most: usize| match features.contains(feature) {
            true => word(offset).map(|limit| most.min(limit as usize)),
            false => Ok(most),
        };
        transport.read_consistent(|| {
            Ok(Self {
                nr_sectors: u64::from(word(CAPACITY)?) | u64::from(word(CAPACITY + 4)?) << 32,
                max_segments: limit(Features::SEG_MAX, SEG_MAX, MAX_SEGMENTS)?,
                max_segment_bytes: limit(Features::SIZE_MAX, SIZE_MAX, usize::MAX)?,
                is_writable: !features.contains(Features::READ_ONLY),
                can_flush: features.contains(Features::FLUSH),
                max_discard_sectors: match features.contains(Features::DISCARD) {
                    true => word(MAX_DISCARD_SECTORS)?,
                    false => 0,
                },
            })
        })
    }

    /// Judges a request.
    ///
    /// # Errors
    ///
    /// [`IoError::OutOfRange`] past the end of the disk, [`IoError::Unsupported`] for what the disk
    /// or this driver cannot do.
    ///
    /// # Panics
    ///
    /// When a read or a write has no segments, or another request has.
    pub fn check(
        &self,
        op: BlockOp,
        sector: u64,
        buffers: &[NonNull<[u8]>],
    ) -> Result<(), IoError> {
        let moves_data = matches!(op, BlockOp::Read | BlockOp::Write);
        assert!(moves_data != buffers.is_empty(), "what moves data has segments");
        let nr_sectors = match op {
            BlockOp::Discard { nr_sectors } => nr_sectors.into(),
            _ => buffers.iter().map(|buffer| (buffer.len() / SECTOR_SIZE) as u64).sum(),
        };
        let end = sector.checked_add(nr_sectors);
        if end.is_none_or(|end| end > self.nr_sectors) {
            return Err(IoError::OutOfRange);
        }
        let is_possible = match op {
            BlockOp::Read => true,
            BlockOp::Write => self.is_writable,
            BlockOp::Flush => self.can_flush,
            BlockOp::Discard { nr_sectors } => {
                self.is_writable && (1..=self.max_discard_sectors).contains(&nr_sectors)
            }
        };
        let fits = buffers.len() <= self.max_segments
            && buffers.iter().all(|buffer| buffer.len() <= self.max_segment_bytes);
        if is_possible && fits { Ok(()) } else { Err(IoError::Unsupported) }
    }
}
