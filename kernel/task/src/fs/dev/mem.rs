// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the devices of major number 1: null, zero, full, random.

use alloc::sync::Arc;

use abi::Errno;
use hal::{Machine, Platform};

use super::Device;
use crate::fs::env::Env;
use crate::fs::inode::OpenMode;
use crate::fs::io::{Sink, Source, or_partial, put_counted};
use crate::fs::ops::{FileOps, Mapping, Offsets, WriteAt, Written};

/// Bytes made at a time.
const CHUNK: usize = 256;

/// Devices that need nothing from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MemDevice {
    /// Ends at once, and takes everything.
    Null,
    /// Zeroes, and takes everything.
    Zero,
    /// Zeroes, and is full.
    Full,
}

impl<M: Machine> Device<M> for MemDevice {
    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        Ok(self)
    }
}

impl<M: Machine> FileOps<M> for MemDevice {
    fn read(&self, _at: u64, to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        match self {
            MemDevice::Null => Ok(0),
            MemDevice::Zero | MemDevice::Full => fill(to, |chunk| chunk.fill(0)),
        }
    }

    fn write(&self, at: WriteAt, from: &mut dyn Source, _nonblock: bool) -> Result<Written, Errno> {
        match self {
            MemDevice::Full if from.left() > 0 => Err(Errno::ENOSPC),
            _ => Ok(taken_whole(at, from)),
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets::Ignored
    }

    fn mapping(&self) -> Result<Mapping<M>, Errno> {
        match self {
            MemDevice::Zero => Ok(Mapping::Anonymous),
            MemDevice::Null | MemDevice::Full => Err(Errno::ENODEV),
        }
    }
}

/// Random bytes.
pub(super) struct Random<P: Platform> {
    env: Arc<Env<P>>,
}

impl<P: Platform> Random<P> {
    pub fn new(env: &Arc<Env<P>>) -> Self {
        Self { env: Arc::clone(env) }
    }
}

impl<P: Platform> Device<P> for Random<P> {
    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<P>>, Errno> {
        Ok(self)
    }
}

impl<P: Platform> FileOps<P> for Random<P> {
    fn read(&self, _at: u64, to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        fill(to, |chunk| {
            self.env.machine().cond_resched();
            self.env.machine().entropy(chunk);
        })
    }

    /// Takes entropy that is not needed.
    fn write(&self, at: WriteAt, from: &mut dyn Source, _nonblock: bool) -> Result<Written, Errno> {
        Ok(taken_whole(at, from))
    }

    fn offsets(&self) -> Offsets {
        Offsets::Ignored
    }
}

/// Fills a sink with bytes that `make` makes.
fn fill(to: &mut dyn Sink, mut make: impl FnMut(&mut [u8])) -> Result<usize, Errno> {
    let mut done = 0;
    let mut chunk = [0; CHUNK];
    while to.room() > 0 {
        let len = to.room().min(CHUNK);
        make(&mut chunk[..len]);
        let put = put_counted(to, &chunk[..len]);
        done += *put.as_ref().unwrap_or(&0);
        if put != Ok(len) {
            return or_partial(done, put.map(|_| ()));
        }
    }
    Ok(done)
}

/// Takes a write without looking at a byte of it, as Linux does.
fn taken_whole(at: WriteAt, from: &mut dyn Source) -> Written {
    let len = from.left();
    let start = if let WriteAt::Offset(offset) = at { offset } else { 0 };
    Written { len, end: start + len as u64 }
}
