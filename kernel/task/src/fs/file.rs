// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is an open file: what Linux calls a file description.
//!
//! Descriptors that came from one open by dup or fork share it, and with it the offset and the
//! flags that F_SETFL changes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::ioctl::FIONBIO;
use abi::open::{
    O_APPEND, O_CLOEXEC, O_CREAT, O_EXCL, O_NOCTTY, O_NONBLOCK, O_PATH, O_TRUNC, SEEK_CUR,
    SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET, SETFL_MASK,
};
use base::sync::atomic::{AtomicU32, Ordering};
use hal::Machine;
use hal::sleep_lock::SleepLock;

use super::env::Env;
use super::inode::{InodeRef, OpenMode};
use super::io::{Sink, Source};
use super::ops::{Caller, FileOps, Mapping, Offsets, PollEvents, WriteAt};

/// Largest offset.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// Flags that matter at open only, and are not shown by F_GETFL.
const OPEN_ONLY: u32 = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;

/// An open file.
pub struct File<M: Machine> {
    env: Arc<Env<M>>,
    inode: InodeRef<M>,
    /// `None` for a directory, and with O_PATH.
    ops: Option<Arc<dyn FileOps<M>>>,
    flags: AtomicU32,
    mode: OpenMode,
    /// Held while a read or write moves it; above the mmap lock, as user memory is copied then.
    offset: SleepLock<u64>,
}

impl<M: Machine> File<M> {
    /// Builds an open file at offset 0.
    pub fn new(
        env: &Arc<Env<M>>,
        inode: InodeRef<M>,
        ops: Option<Arc<dyn FileOps<M>>>,
        flags: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            env: Arc::clone(env),
            inode,
            ops,
            flags: AtomicU32::new(flags & !OPEN_ONLY),
            mode: OpenMode::of_flags(flags),
            offset: SleepLock::new(0),
        })
    }

    /// Returns the file that is open.
    pub fn inode(&self) -> &InodeRef<M> {
        &self.inode
    }

    /// Returns the flags, as F_GETFL shows them.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Changes the flags that F_SETFL may change.
    pub fn set_flags(&self, wish: u32) {
        let change = |old| Some(old & !SETFL_MASK | wish & SETFL_MASK);
        let _ = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Tells whether the file may be read.
    pub fn is_readable(&self) -> bool {
        self.mode.read && !self.is_path()
    }

    /// Tells whether the file may be written.
    pub fn is_writable(&self) -> bool {
        self.mode.write && !self.is_path()
    }

    /// Tells whether the file was only named: O_PATH.
    pub fn is_path(&self) -> bool {
        self.flags() & O_PATH != 0
    }

    fn is_nonblock(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }

    /// Returns the operations of what can be read or written.
    fn ops(&self) -> Result<&dyn FileOps<M>, Errno> {
        match &self.ops {
            Some(ops) => Ok(&**ops),
            None if self.is_path() => Err(Errno::EBADF),
            None => Err(Errno::EISDIR),
        }
    }

    fn readable(&self) -> Result<&dyn FileOps<M>, Errno> {
        if self.is_readable() { self.ops() } else { Err(Errno::EBADF) }
    }

    fn writable(&self) -> Result<&dyn FileOps<M>, Errno> {
        if self.is_writable() { self.ops() } else { Err(Errno::EBADF) }
    }

    /// Reads from the offset on, and moves it.
    ///
    /// # Errors
    ///
    /// EBADF when it is not open for reading, EISDIR, and those of [`FileOps::read`].
    pub fn read(&self, to: &mut dyn Sink) -> Result<usize, Errno> {
        let ops = self.readable()?;
        if ops.offsets() == Offsets::Stream {
            return ops.read(0, to, self.is_nonblock());
        }
        let mut offset = self.offset.lock(self.env.machine());
        let len = ops.read(*offset, to, self.is_nonblock())?;
        *offset += len as u64;
        Ok(len)
    }

    /// Writes from the offset on (or at the end, with O_APPEND), and moves it.
    ///
    /// # Errors
    ///
    /// EBADF when it is not open for writing, and those of [`FileOps::write`].
    pub fn write(&self, from: &mut dyn Source) -> Result<usize, Errno> {
        let ops = self.writable()?;
        if ops.offsets() == Offsets::Stream {
            return Ok(ops.write(WriteAt::End, from, self.is_nonblock())?.len);
        }
        let mut offset = self.offset.lock(self.env.machine());
        let at = self.append_or(*offset);
        let written = ops.write(at, from, self.is_nonblock())?;
        *offset = written.end;
        Ok(written.len)
    }

    fn append_or(&self, offset: u64) -> WriteAt {
        if self.flags() & O_APPEND != 0 { WriteAt::End } else { WriteAt::Offset(offset) }
    }

    /// Reads from `at` on; the offset stays.
    ///
    /// # Errors
    ///
    /// ESPIPE without offsets, and those of [`File::read`].
    pub fn read_at(&self, at: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        let ops = self.readable()?;
        check_position(ops, at)?;
        ops.read(at, to, self.is_nonblock())
    }

    /// Writes from `at` on (or, as on Linux, at the end with O_APPEND); the offset stays.
    ///
    /// # Errors
    ///
    /// ESPIPE without offsets, and those of [`File::write`].
    pub fn write_at(&self, at: u64, from: &mut dyn Source) -> Result<usize, Errno> {
        let ops = self.writable()?;
        check_position(ops, at)?;
        Ok(ops.write(self.append_or(at), from, self.is_nonblock())?.len)
    }

    /// Moves the offset.
    ///
    /// # Errors
    ///
    /// EINVAL, ESPIPE, EBADF, ENXIO.
    pub fn seek(&self, by: i64, whence: u32) -> Result<u64, Errno> {
        if self.is_path() {
            return Err(Errno::EBADF);
        }
        match self.ops.as_ref().map(|ops| ops.offsets()) {
            Some(Offsets::Stream) => return Err(Errno::ESPIPE),
            Some(Offsets::Ignored) => return Ok(0),
            Some(Offsets::Seekable) | None => {}
        }
        let mut offset = self.offset.lock(self.env.machine());
        let from = match whence {
            SEEK_SET => 0,
            SEEK_CUR => *offset,
            SEEK_END => {
                let end = self.ops.as_ref().and_then(|ops| ops.end());
                end.unwrap_or_else(|| self.inode.stat().size)
            }
            SEEK_DATA | SEEK_HOLE => {
                let from = u64::try_from(by).map_err(|_| Errno::ENXIO)?;
                *offset = self.ops()?.seek_data(from, whence == SEEK_HOLE)?;
                return Ok(*offset);
            }
            _ => return Err(Errno::EINVAL),
        };
        let target = from.checked_add_signed(by).filter(|target| *target <= MAX_OFFSET);
        *offset = target.ok_or(Errno::EINVAL)?;
        Ok(*offset)
    }

    /// Lists the directory from the offset on into `buf` as getdents64 does; returns the bytes.
    ///
    /// # Errors
    ///
    /// ENOTDIR; EBADF with O_PATH; ENOENT when the directory has been removed; EINVAL when not
    /// even one entry fits.
    pub fn list(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        if self.is_path() {
            return Err(Errno::EBADF);
        }
        let mut offset = self.offset.lock(self.env.machine());
        let (len, next) = super::listing::list(&self.inode, *offset, buf)?;
        *offset = next;
        Ok(len)
    }

    /// Returns what would not wait. A directory is always ready.
    pub fn poll(&self) -> PollEvents {
        let all = PollEvents::IN | PollEvents::OUT;
        self.ops.as_ref().map_or(all, |ops| ops.poll())
    }

    /// Carries out a request of ioctl. `input` are the bytes it reads
    /// ([`abi::ioctl::input_len`]), the result those that it writes.
    ///
    /// # Errors
    ///
    /// ENOTTY, and what the request says.
    pub fn ioctl(&self, request: u32, input: &[u8]) -> Result<Vec<u8>, Errno> {
        if self.is_path() {
            return Err(Errno::EBADF);
        }
        if request == FIONBIO {
            let is_on = input.iter().any(|byte| *byte != 0);
            let others = self.flags() & !O_NONBLOCK;
            self.set_flags(others | if is_on { O_NONBLOCK } else { 0 });
            return Ok(Vec::new());
        }
        let ops = self.ops.as_ref().ok_or(Errno::ENOTTY)?;
        ops.ioctl(request, input)
    }

    /// Like [`File::ioctl`], for `caller`.
    ///
    /// # Errors
    ///
    /// Those of [`File::ioctl`].
    pub fn ioctl_for(
        &self,
        caller: &dyn Caller,
        request: u32,
        input: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        match &self.ops {
            Some(ops) if request != FIONBIO => ops.ioctl_for(caller, request, input),
            _ => self.ioctl(request, input),
        }
    }

    /// Tells the file whose program has opened it.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub fn opened_by(&self, mm: &Arc<mm::Mm<M>>) -> Result<(), Errno> {
        self.ops.as_ref().map_or(Ok(()), |ops| ops.opened_by(mm))
    }

    /// Returns what mmap maps.
    ///
    /// # Errors
    ///
    /// EBADF with O_PATH, ENODEV when it cannot be mapped. Whether the rights suffice is for the
    /// caller to judge.
    pub fn mapping(&self) -> Result<Mapping<M>, Errno> {
        match &self.ops {
            Some(ops) => ops.mapping(),
            None if self.is_path() => Err(Errno::EBADF),
            None => Err(Errno::ENODEV),
        }
    }

    /// Sets the size.
    ///
    /// # Errors
    ///
    /// EINVAL when it is not open for writing or not a regular file; EFBIG, EIO, ENOMEM.
    pub fn truncate(&self, len: u64) -> Result<(), Errno> {
        if self.is_path() {
            return Err(Errno::EBADF);
        }
        if !self.is_writable() || !super::inode::is_regular(self.inode.kind()) {
            return Err(Errno::EINVAL);
        }
        self.inode.truncate(len)
    }

    /// Reserves space, or makes a hole.
    ///
    /// # Errors
    ///
    /// EBADF, EINVAL, and those of [`FileOps::allocate`].
    pub fn allocate(&self, mode: u32, at: i64, len: i64) -> Result<(), Errno> {
        let at = u64::try_from(at).map_err(|_| Errno::EINVAL)?;
        let len = u64::try_from(len).ok().filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
        self.writable()?.allocate(mode, at, len)
    }

    /// Returns the capacity of a pipe in bytes.
    ///
    /// # Errors
    ///
    /// EBADF when it is no pipe.
    pub fn pipe_capacity(&self) -> Result<usize, Errno> {
        self.ops.as_ref().and_then(|ops| ops.pipe_capacity()).ok_or(Errno::EBADF)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// EBADF with O_PATH, EINVAL when there is nothing to make durable, EIO.
    pub fn sync(&self) -> Result<(), Errno> {
        match &self.ops {
            Some(ops) => ops.sync(),
            None if self.is_path() => Err(Errno::EBADF),
            None => Ok(()),
        }
    }
}

fn check_position<M: Machine>(ops: &dyn FileOps<M>, at: u64) -> Result<(), Errno> {
    match ops.offsets() {
        Offsets::Stream => Err(Errno::ESPIPE),
        _ if at > MAX_OFFSET => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}
