// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the disks as files: /dev/vda and its like.
//!
//! Bytes go through a frame that the device reads to and writes from. Nothing is cached: what was
//! written is on the device when the call returns, and durable after fsync.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::ioctl::{BLKFLSBUF, BLKGETSIZE, BLKGETSIZE64, BLKSSZGET};
use base::PAGE_SIZE;
use hal::block_dev::{SECTOR_SIZE, SECTORS_PER_PAGE};
use hal::sleep_lock::SleepLock;
use hal::{BlockOp, DiskId, IoError, Machine, Segment};

use super::Device;
use crate::fs::env::Env;
use crate::fs::inode::OpenMode;
use crate::fs::io::{Sink, Source, or_partial, put_counted, take_counted};
use crate::fs::ops::{FileOps, WriteAt, Written};

const PAGE: u64 = PAGE_SIZE as u64;

/// A disk.
pub(super) struct Disk<M: Machine> {
    env: Arc<Env<M>>,
    id: DiskId,
    /// Held by who writes: part of a page is written by reading all of it first.
    writing: SleepLock<()>,
}

impl<M: Machine> Disk<M> {
    pub fn new(env: &Arc<Env<M>>, id: DiskId) -> Arc<Self> {
        Arc::new(Self { env: Arc::clone(env), id, writing: SleepLock::new(()) })
    }

    /// Returns the bytes of whole pages: requests move whole frames.
    fn len_bytes(&self) -> u64 {
        self.env.machine().nr_sectors(self.id) / SECTORS_PER_PAGE * PAGE
    }

    fn transfer(&self, op: BlockOp, page: u64, frame: base::Pfn) -> Result<(), Errno> {
        let sector = page * SECTORS_PER_PAGE;
        let result = self.env.machine().transfer(self.id, op, sector, &[Segment::one(frame)]);
        result.map_err(|_| Errno::EIO)
    }

    /// Returns the part of the page at `at` that a transfer of at most `room` bytes moves.
    fn part(&self, at: u64, room: usize) -> usize {
        let left = self.len_bytes().saturating_sub(at);
        (PAGE - at % PAGE).min(left).min(room as u64) as usize
    }

    fn write_part(&self, at: u64, bytes: &[u8], frame: base::Pfn) -> Result<(), Errno> {
        let _alone = self.writing.lock(self.env.machine());
        if bytes.len() < PAGE_SIZE {
            self.transfer(BlockOp::Read, at / PAGE, frame)?;
        }
        self.env.machine().write_bytes(frame.at((at % PAGE) as usize), bytes);
        self.transfer(BlockOp::Write, at / PAGE, frame)
    }
}

impl<M: Machine> Device<M> for Disk<M> {
    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        Ok(self)
    }
}

impl<M: Machine> FileOps<M> for Disk<M> {
    fn read(&self, at: u64, to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        let frame = self.env.system().bounce_frame().map_err(|_| Errno::ENOMEM)?;
        let mut buf = self.env.buffer(to.room().min(PAGE_SIZE))?;
        let mut done = 0;
        loop {
            let from = at.saturating_add(done as u64);
            let len = self.part(from, to.room());
            if len == 0 {
                return Ok(done);
            }
            if let Err(why) = self.transfer(BlockOp::Read, from / PAGE, frame.pfn()) {
                return or_partial(done, Err(why));
            }
            let offset = (from % PAGE) as usize;
            self.env.machine().read_bytes(frame.pfn().at(offset), &mut buf[..len]);
            let put = put_counted(to, &buf[..len]);
            done += *put.as_ref().unwrap_or(&0);
            if put != Ok(len) {
                return or_partial(done, put.map(|_| ()));
            }
        }
    }

    fn write(&self, at: WriteAt, from: &mut dyn Source, _nonblock: bool) -> Result<Written, Errno> {
        let frame = self.env.system().bounce_frame().map_err(|_| Errno::ENOMEM)?;
        let start = if let WriteAt::Offset(offset) = at { offset } else { self.len_bytes() };
        let mut buf = self.env.buffer(from.left().min(PAGE_SIZE))?;
        let (mut done, mut result) = (0, Ok(()));
        while from.left() > 0 && result.is_ok() {
            let to = start.saturating_add(done as u64);
            let len = self.part(to, from.left());
            if len == 0 {
                result = Err(Errno::ENOSPC);
                break;
            }
            let (taken, why) = take_counted(from, &mut buf[..len]);
            result = why;
            if taken > 0 {
                match self.write_part(to, &buf[..taken], frame.pfn()) {
                    Ok(()) => done += taken,
                    Err(why) => result = Err(why),
                }
            }
        }
        let len = or_partial(done, result)?;
        Ok(Written { len, end: start + len as u64 })
    }

    fn end(&self) -> Option<u64> {
        Some(self.len_bytes())
    }

    fn ioctl(&self, request: u32, _input: &[u8]) -> Result<Vec<u8>, Errno> {
        let len = self.len_bytes();
        match request {
            BLKGETSIZE64 => Ok(len.to_le_bytes().to_vec()),
            BLKGETSIZE => Ok((len / SECTOR_SIZE as u64).to_le_bytes().to_vec()),
            BLKSSZGET => Ok((SECTOR_SIZE as u32).to_le_bytes().to_vec()),
            BLKFLSBUF => self.sync().map(|()| Vec::new()),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn sync(&self) -> Result<(), Errno> {
        match self.env.machine().transfer(self.id, BlockOp::Flush, 0, &[]) {
            // A device without a cache of its own has nothing to flush.
            Ok(()) | Err(IoError::Unsupported) => Ok(()),
            Err(_) => Err(Errno::EIO),
        }
    }
}
