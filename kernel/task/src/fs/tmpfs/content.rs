// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves the bytes of regular files.
//!
//! A page on its way is copied through a buffer of the kernel: user memory may be a mapping of the
//! very page that is read or written, and a fault on it needs the lock of the folio.
//!
//! Writers and whoever changes the size exclude each other by a sleeping lock, as on Linux
//! (`i_rwsem`); so appends do not overlap. Readers take no lock: a page that goes away meanwhile
//! ends the read.

use alloc::sync::Arc;

use abi::Errno;
use abi::open::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
use base::PAGE_SIZE;
use hal::Machine;
use hal::sleep_lock::SleepLock;
use mm::{PagePool, Shmem, ShmemError};

use super::node::Node;
use crate::fs::env::Env;
use crate::fs::io::{Sink, Source, or_partial, put_counted, take_counted};
use crate::fs::ops::{FileOps, Mapping, WriteAt, Written};

/// Largest size of a file: offsets are signed.
pub const MAX_LEN: u64 = i64::MAX as u64;

/// The bytes of a file.
pub struct Content<M: Machine> {
    object: Arc<Shmem<M>>,
    /// Held by who writes or changes the size.
    writing: SleepLock<()>,
}

const PAGE: u64 = PAGE_SIZE as u64;

/// Returns what user programs get for a failure of the object.
pub(super) fn errno(error: ShmemError) -> Errno {
    match error {
        ShmemError::BeyondEnd | ShmemError::Unreadable => Errno::EIO,
        ShmemError::Full => Errno::ENOSPC,
        ShmemError::OutOfMemory => Errno::ENOMEM,
    }
}

impl<M: Machine> Content<M> {
    /// Builds the content of an empty file whose pages count in `pool`.
    ///
    /// # Errors
    ///
    /// ENOMEM when there are too many objects.
    pub fn new(env: &Env<M>, pool: &Arc<PagePool>) -> Result<Arc<Self>, Errno> {
        let object = Shmem::new(env.system(), 0, Some(Arc::clone(pool))).map_err(errno)?;
        Ok(Arc::new(Self { object, writing: SleepLock::new(()) }))
    }

    /// Returns the object that holds the pages.
    pub fn object(&self) -> &Arc<Shmem<M>> {
        &self.object
    }

    /// Reads from `at` on.
    ///
    /// # Errors
    ///
    /// EFAULT, EIO, ENOMEM, when no byte was read.
    pub fn read(&self, env: &Env<M>, at: u64, to: &mut dyn Sink) -> Result<usize, Errno> {
        let mut done = 0;
        let mut buf = env.buffer(to.room().min(PAGE_SIZE))?;
        while to.room() > 0 {
            let from = at.saturating_add(done as u64);
            let left = self.object.len_bytes().saturating_sub(from);
            let in_page = (PAGE - from % PAGE).min(left) as usize;
            let len = in_page.min(to.room()).min(buf.len());
            if len == 0 {
                break;
            }
            let page = &mut buf[..len];
            let offset = (from % PAGE) as usize;
            let read = self.object.read_page(from / PAGE, |pfn| match pfn {
                Some(pfn) => env.machine().read_bytes(pfn.at(offset), page),
                None => page.fill(0),
            });
            match read {
                Ok(()) => {}
                // Truncated since its length was read: this is the end.
                Err(ShmemError::BeyondEnd) => break,
                Err(error) => return or_partial(done, Err(errno(error))),
            }
            let put = put_counted(to, page);
            done += *put.as_ref().unwrap_or(&0);
            if put != Ok(len) {
                return or_partial(done, put.map(|_| ()));
            }
            env.machine().cond_resched();
        }
        Ok(done)
    }

    /// Writes from `at` on.
    ///
    /// # Errors
    ///
    /// EFAULT, ENOSPC, EFBIG, EIO, ENOMEM, when no byte was written.
    pub fn write(
        &self,
        env: &Env<M>,
        at: WriteAt,
        from: &mut dyn Source,
    ) -> Result<Written, Errno> {
        let _alone = self.writing.lock(env.machine());
        let start = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => self.object.len_bytes(),
        };
        if start >= MAX_LEN && from.left() > 0 {
            return Err(Errno::EFBIG);
        }
        let mut buf = env.buffer(from.left().min(PAGE_SIZE))?;
        let (mut done, mut result) = (0, Ok(()));
        while from.left() > 0 && result.is_ok() {
            let to = start + done as u64;
            let in_page = (PAGE - to % PAGE).min(MAX_LEN - to) as usize;
            let len = in_page.min(from.left()).min(buf.len());
            if len == 0 {
                break;
            }
            let (taken, why) = take_counted(from, &mut buf[..len]);
            result = why;
            if taken > 0 {
                match self.write_within_page(env, to, &buf[..taken]) {
                    Ok(()) => done += taken,
                    Err(error) => result = Err(error),
                }
            }
            env.machine().cond_resched();
        }
        let len = or_partial(done, result)?;
        Ok(Written { len, end: start + len as u64 })
    }

    /// Writes bytes that lie in one page. The lock of writers is held.
    fn write_within_page(&self, env: &Env<M>, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        // The object ends with its length, so that comes first; a reader may see zeroes until the
        // bytes are there, and nothing else if they cannot be.
        let len_before = self.object.len_bytes();
        self.object.extend(at + bytes.len() as u64).map_err(|_| Errno::EFBIG)?;
        let offset = (at % PAGE) as usize;
        let write = |pfn: base::Pfn| env.machine().write_bytes(pfn.at(offset), bytes);
        self.object.write_page(at / PAGE, write).map_err(|error| {
            // Pages below it stay, and a tail to clear is still the hole that could not be filled.
            let _ = self.object.truncate(len_before);
            errno(error)
        })
    }

    /// Sets the size.
    ///
    /// # Errors
    ///
    /// EINVAL for a negative one, EFBIG, EIO, ENOMEM.
    pub fn truncate(&self, env: &Env<M>, len: u64) -> Result<(), Errno> {
        if len > MAX_LEN {
            return Err(Errno::EINVAL);
        }
        let _alone = self.writing.lock(env.machine());
        self.object.truncate(len).map_err(|error| match error {
            ShmemError::Full => Errno::EFBIG,
            other => errno(other),
        })
    }

    /// Fills holes of `at..at + len` with zeroes, or makes them.
    fn allocate(&self, env: &Env<M>, mode: u32, at: u64, len: u64) -> Result<(), Errno> {
        if mode & !(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = at.checked_add(len).filter(|end| *end <= MAX_LEN).ok_or(Errno::EFBIG)?;
        let _alone = self.writing.lock(env.machine());
        if mode & FALLOC_FL_PUNCH_HOLE != 0 {
            return match mode & FALLOC_FL_KEEP_SIZE {
                0 => Err(Errno::EOPNOTSUPP),
                _ => self.punch(env, at, end),
            };
        }
        // With KEEP_SIZE, pages behind the end would be reserved; here they are made when written.
        let len_before = self.object.len_bytes();
        if mode & FALLOC_FL_KEEP_SIZE == 0 {
            self.object.extend(end).map_err(|_| Errno::EFBIG)?;
        }
        let last = end.min(self.object.len_bytes()).div_ceil(PAGE);
        for index in at / PAGE..last {
            if let Err(error) = self.object.write_page(index, |_| ()) {
                let _ = self.object.truncate(len_before);
                return Err(errno(error));
            }
            env.machine().cond_resched();
        }
        Ok(())
    }

    /// Makes whole pages holes, and zeroes the parts of pages at both ends.
    fn punch(&self, env: &Env<M>, at: u64, end: u64) -> Result<(), Errno> {
        let (first, last) = (at.div_ceil(PAGE), end / PAGE);
        if first > last {
            return self.zero_within_page(env, at, end);
        }
        self.zero_within_page(env, at, first * PAGE)?;
        self.zero_within_page(env, last * PAGE, end)?;
        self.object.punch(first, last);
        Ok(())
    }

    fn zero_within_page(&self, env: &Env<M>, at: u64, end: u64) -> Result<(), Errno> {
        let end = end.min(self.object.len_bytes());
        if at >= end {
            return Ok(());
        }
        let is_hole = self.object.read_page(at / PAGE, |pfn| pfn.is_none()).map_err(errno)?;
        if is_hole {
            return Ok(());
        }
        let zeroes = [0; 512];
        let write = |pfn: base::Pfn| {
            let mut from = at;
            while from < end {
                let len = (end - from).min(zeroes.len() as u64) as usize;
                env.machine().write_bytes(pfn.at((from % PAGE) as usize), &zeroes[..len]);
                from += len as u64;
            }
        };
        self.object.write_page(at / PAGE, write).map_err(errno)
    }

    /// Finds data, or a hole, from `from` on; the end counts as a hole.
    fn seek(&self, from: u64, hole: bool) -> Result<u64, Errno> {
        let len = self.object.len_bytes();
        if from >= len {
            return Err(Errno::ENXIO);
        }
        for index in from / PAGE..len.div_ceil(PAGE) {
            if self.object.is_hole(index) == hole {
                return Ok((index * PAGE).max(from));
            }
        }
        if hole { Ok(len) } else { Err(Errno::ENXIO) }
    }
}

impl<M: Machine> Node<M> {
    fn bytes(&self) -> &Arc<Content<M>> {
        self.content().expect("tmpfs opens regular files only as themselves")
    }
}

impl<M: Machine> FileOps<M> for Node<M> {
    fn read(&self, at: u64, to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        let len = self.bytes().read(self.fs().env(), at, to)?;
        let now = self.fs().env().now();
        let mut attr = self.attr();
        // relatime: the first read after a change is recorded.
        if attr.atime <= attr.mtime || attr.atime <= attr.ctime {
            attr.atime = now;
        }
        Ok(len)
    }

    fn write(&self, at: WriteAt, from: &mut dyn Source, _nonblock: bool) -> Result<Written, Errno> {
        let written = self.bytes().write(self.fs().env(), at, from)?;
        if written.len > 0 {
            self.attr().set_changed(self.fs().env().now());
        }
        Ok(written)
    }

    fn seek_data(&self, from: u64, hole: bool) -> Result<u64, Errno> {
        self.bytes().seek(from, hole)
    }

    fn mapping(&self) -> Result<Mapping<M>, Errno> {
        Ok(Mapping::Object(Arc::clone(self.bytes().object())))
    }

    fn allocate(&self, mode: u32, at: u64, len: u64) -> Result<(), Errno> {
        self.bytes().allocate(self.fs().env(), mode, at, len)?;
        self.attr().set_changed(self.fs().env().now());
        Ok(())
    }

    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
}
