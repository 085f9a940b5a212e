// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a disk that is a file of the emulator's host, which boot option `disk.host=NAME` names.
//!
//! A request is done when it has been started, and takes no time of the guest's. virtio-blk's requests
//! are done when the host's disk is done with them: at another instruction each time.

#![expect(unsafe_code, reason = "frames are handed to the host")]

use alloc::ffi::CString;
use core::ptr::NonNull;

use arch::semihosting::{HostError, HostFile};
use base::lock_level;
use base::sync::SpinLock;
use hal::{BlockOp, IoError};

const SECTOR_BYTES: usize = 512;

/// A disk.
pub struct HostDisk {
    nr_sectors: u64,
    /// Its place is set and used in one step.
    file: SpinLock<HostFile, lock_level::Device>,
}

impl HostDisk {
    /// Opens the file called `name`, in the directory where the emulator was started.
    ///
    /// # Errors
    ///
    /// When the host does not open it.
    pub fn open(name: &str) -> Result<Self, HostError> {
        let path = CString::new(name).map_err(|_| HostError)?;
        let file = HostFile::open(&path)?;
        let nr_sectors = (file.len_bytes()? / SECTOR_BYTES) as u64;
        Ok(Self { nr_sectors, file: SpinLock::new(file) })
    }

    /// Returns the size in sectors.
    pub const fn nr_sectors(&self) -> u64 {
        self.nr_sectors
    }

    /// Carries out a request, and returns how it ended.
    ///
    /// # Errors
    ///
    /// [`IoError::OutOfRange`], [`IoError::Unsupported`]; nothing is done then.
    ///
    /// # Safety
    ///
    /// The buffers are mapped memory, and those of a read hold no Rust object.
    pub unsafe fn run(
        &self,
        op: BlockOp,
        sector: u64,
        buffers: &[NonNull<[u8]>],
    ) -> Result<Result<(), HostError>, IoError> {
        match op {
            BlockOp::Read | BlockOp::Write => {}
            // What the guest calls durable need not outlive the emulator.
            BlockOp::Flush => return Ok(Ok(())),
            BlockOp::Discard { .. } => return Err(IoError::Unsupported),
        }
        let len_bytes: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let end = sector.checked_add((len_bytes / SECTOR_BYTES) as u64);
        if end.is_none_or(|end| end > self.nr_sectors) {
            return Err(IoError::OutOfRange);
        }
        let mut file = self.file.lock();
        let mut transfer = || {
            file.seek(sector as usize * SECTOR_BYTES)?;
            buffers.iter().try_for_each(|buffer| {
                if op == BlockOp::Read {
                    // SAFETY: the caller's promise.
                    unsafe { file.read(*buffer) }
                } else {
                    // SAFETY: the caller's promise.
                    unsafe { file.write(*buffer) }
                }
            })
        };
        Ok(transfer())
    }
}
