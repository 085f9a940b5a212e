// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what can be done with an open file.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use bitflags::bitflags;
use hal::Machine;
use mm::{Mm, Shmem};

use super::io::{Sink, Source};

bitflags! {
    /// What poll finds; the bits are those of `struct pollfd`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PollEvents: u16 {
        /// A read would not wait.
        const IN = abi::poll::POLLIN | abi::poll::POLLRDNORM;
        /// A write would not wait.
        const OUT = abi::poll::POLLOUT | abi::poll::POLLWRNORM;
        /// An error.
        const ERR = abi::poll::POLLERR;
        /// The other end is gone.
        const HUP = abi::poll::POLLHUP;
    }
}

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteAt {
    /// To an offset.
    Offset(u64),
    /// To wherever the end is when the bytes get there: O_APPEND.
    End,
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Bytes.
    pub len: usize,
    /// Offset behind the last of them.
    pub end: u64,
}

/// Whether a file has offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offsets {
    /// Yes; SEEK_END counts from the size that stat tells.
    Seekable,
    /// No: a pipe, a terminal. Reads and writes do not wait for each other.
    Stream,
    /// They are accepted and mean nothing: /dev/null.
    Ignored,
}

/// What mmap gets from a file.
pub enum Mapping<M: Machine> {
    /// Pages of an object.
    Object(Arc<Shmem<M>>),
    /// Memory of its own: /dev/zero.
    Anonymous,
}

/// Who makes a request: its memory.
pub trait Caller {
    /// Copies from its memory.
    ///
    /// # Errors
    ///
    /// EFAULT.
    fn read(&self, from: u64, buf: &mut [u8]) -> Result<(), Errno>;

    /// Copies to its memory.
    ///
    /// # Errors
    ///
    /// EFAULT.
    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Errno>;
}

/// Operations of an open file. `nonblock` is O_NONBLOCK as it is set at the moment.
pub trait FileOps<M: Machine>: Send + Sync {
    /// Reads bytes from `at` on; 0 bytes is the end.
    ///
    /// # Errors
    ///
    /// EINVAL when the file cannot be read; EAGAIN, EINTR, EFAULT, EIO, ENOMEM.
    fn read(&self, _at: u64, _to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// EINVAL when the file cannot be written; EAGAIN, EINTR, EPIPE, EFAULT, EIO, ENOSPC, EFBIG.
    fn write(
        &self,
        _at: WriteAt,
        _from: &mut dyn Source,
        _nonblock: bool,
    ) -> Result<Written, Errno> {
        Err(Errno::EINVAL)
    }

    /// Tells whether the file has offsets.
    fn offsets(&self) -> Offsets {
        Offsets::Seekable
    }

    /// Returns where SEEK_END counts from, if that is not the size that stat tells.
    fn end(&self) -> Option<u64> {
        None
    }

    /// Finds data (or, with `hole`, a hole) at `from` or after it, for SEEK_DATA and SEEK_HOLE.
    ///
    /// # Errors
    ///
    /// ENXIO behind the last one; EINVAL where there are no holes to find.
    fn seek_data(&self, _from: u64, _hole: bool) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns what would not wait.
    fn poll(&self) -> PollEvents {
        PollEvents::IN | PollEvents::OUT
    }

    /// Carries out a request; `input` are the bytes it reads, the result those it writes.
    ///
    /// # Errors
    ///
    /// ENOTTY when the file does not know the request.
    fn ioctl(&self, _request: u32, _input: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTTY)
    }

    /// Hears, once, whose program has opened the file.
    ///
    /// # Errors
    ///
    /// ENOMEM; the file is not opened then.
    fn opened_by(&self, _mm: &Arc<Mm<M>>) -> Result<(), Errno> {
        Ok(())
    }

    /// Like [`FileOps::ioctl`], for a request that works on memory of the caller's besides.
    ///
    /// # Errors
    ///
    /// Those of [`FileOps::ioctl`], and EFAULT.
    fn ioctl_for(
        &self,
        _caller: &dyn Caller,
        request: u32,
        input: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        self.ioctl(request, input)
    }

    /// Returns the capacity of a pipe in bytes; `None` for anything else.
    fn pipe_capacity(&self) -> Option<usize> {
        None
    }

    /// Returns what mmap maps.
    ///
    /// # Errors
    ///
    /// ENODEV when the file cannot be mapped.
    fn mapping(&self) -> Result<Mapping<M>, Errno> {
        Err(Errno::ENODEV)
    }

    /// Reserves space, or makes a hole.
    ///
    /// # Errors
    ///
    /// ENODEV, or ESPIPE for a pipe; EOPNOTSUPP, ENOSPC, EFBIG.
    fn allocate(&self, _mode: u32, _at: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::ENODEV)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// EINVAL when there is nothing to make durable; EIO.
    fn sync(&self) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
