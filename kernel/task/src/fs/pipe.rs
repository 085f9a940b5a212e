// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is pipes.
//!
//! A write of up to PIPE_BUF bytes arrives in one piece; a larger one in pieces, between which bytes
//! of others may come (pipe(7)). A piece is in a buffer of the kernel before the pipe is locked, so
//! no user memory is touched with it locked. Who waits is woken after each change.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use abi::Errno;
use abi::ioctl::FIONREAD;
use abi::stat::{FileTime, PIPEFS_MAGIC, S_IFIFO, Stat, StatFs};
use base::PAGE_SIZE;
use base::lock_level::Inode as InodeLevel;
use base::sync::SpinLock;
use hal::Machine;

use super::env::Env;
use super::inode::{Inode, Name, OpenMode};
use super::io::{Sink, Source, or_partial, put_counted, take_counted};
use super::nap::EventCount;
use super::ops::{FileOps, Offsets, PollEvents, WriteAt, Written};

/// Bytes that a pipe holds.
const CAPACITY: usize = 64 << 10;

/// Bytes that a write puts in one piece.
const PIPE_BUF: usize = 4096;

/// Heap that a pipe takes.
const HEAP_BYTES: usize = CAPACITY + (8 << 10);

/// A pipe.
pub struct Pipe<M: Machine> {
    env: Arc<Env<M>>,
    dev: u64,
    ino: u64,
    made: FileTime,
    state: SpinLock<State, InodeLevel>,
    /// Advances with each change of the state.
    changed: EventCount,
}

/// Bytes under way, and who may still come for them or bring more.
struct State {
    ring: Box<[u8]>,
    /// Where the oldest byte is.
    first: usize,
    len: usize,
    /// Bytes taken whose reader has not said yet whether it got them; their room is kept.
    held: usize,
    readers: usize,
    writers: usize,
}

impl State {
    fn room(&self) -> usize {
        self.ring.len() - self.len - self.held
    }

    /// Appends as many bytes as fit.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.room());
        let at = (self.first + self.len) % self.ring.len();
        let until_wrap = len.min(self.ring.len() - at);
        self.ring[at..at + until_wrap].copy_from_slice(&bytes[..until_wrap]);
        self.ring[..len - until_wrap].copy_from_slice(&bytes[until_wrap..len]);
        self.len += len;
        len
    }

    /// Takes the oldest bytes, to be settled ([`State::settle`]).
    fn pop(&mut self, buf: &mut [u8]) -> usize {
        let len = buf.len().min(self.len);
        let until_wrap = len.min(self.ring.len() - self.first);
        buf[..until_wrap].copy_from_slice(&self.ring[self.first..self.first + until_wrap]);
        buf[until_wrap..len].copy_from_slice(&self.ring[..len - until_wrap]);
        self.first = (self.first + len) % self.ring.len();
        self.len -= len;
        self.held += len;
        len
    }

    /// Says how many of the bytes taken were delivered; the others are the oldest again.
    fn settle(&mut self, taken: &[u8], delivered: usize) {
        self.held -= taken.len();
        for byte in taken[delivered..].iter().rev() {
            self.first = (self.first + self.ring.len() - 1) % self.ring.len();
            self.ring[self.first] = *byte;
            self.len += 1;
        }
    }
}

impl<M: Machine> Pipe<M> {
    /// Makes a pipe without ends.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(super) fn new(env: &Arc<Env<M>>, dev: u64, ino: u64) -> Result<Arc<Self>, Errno> {
        env.reserve(HEAP_BYTES)?;
        let ring = env.buffer(CAPACITY)?.into_boxed_slice();
        let state = State { ring, first: 0, len: 0, held: 0, readers: 0, writers: 0 };
        Ok(Arc::new(Self {
            env: Arc::clone(env),
            dev,
            ino,
            made: env.now(),
            state: SpinLock::new(state),
            changed: EventCount::default(),
        }))
    }
}

impl<M: Machine> Inode<M> for Pipe<M> {
    fn stat(&self) -> Stat {
        Stat {
            dev: self.dev,
            ino: self.ino,
            mode: S_IFIFO | 0o600,
            nr_links: 1,
            block_size: PAGE_SIZE as u32,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            ..Stat::default()
        }
    }

    /// Makes another end: also for who opens /proc/PID/fd/N.
    fn open(self: Arc<Self>, mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        let mut state = self.state.lock();
        state.readers += mode.read as usize;
        state.writers += mode.write as usize;
        drop(state);
        Ok(Arc::new(PipeEnd { pipe: self, mode }))
    }

    fn stat_fs(&self) -> StatFs {
        StatFs {
            magic: PIPEFS_MAGIC,
            block_size: PAGE_SIZE as u64,
            dev: self.dev,
            name_max: abi::open::NAME_MAX as u64,
            ..StatFs::default()
        }
    }

    fn label(&self) -> Option<Name> {
        Some(format!("pipe:[{}]", self.ino).into_bytes())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An end of a pipe, or both.
struct PipeEnd<M: Machine> {
    pipe: Arc<Pipe<M>>,
    mode: OpenMode,
}

impl<M: Machine> Drop for PipeEnd<M> {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= self.mode.read as usize;
        state.writers -= self.mode.write as usize;
        drop(state);
        self.pipe.env.changed(&self.pipe.changed);
    }
}

impl<M: Machine> PipeEnd<M> {
    /// Puts bytes into the pipe: all at once if `whole`, and waits for room.
    fn push(
        &self,
        bytes: &[u8],
        whole: bool,
        nonblock: bool,
        done: &mut usize,
    ) -> Result<(), Errno> {
        let pipe = &self.pipe;
        let mut rest = bytes;
        while !rest.is_empty() {
            let seen = pipe.changed.now();
            let mut state = pipe.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            let fits = state.room() >= if whole { rest.len() } else { 1 };
            let pushed = if fits { state.push(rest) } else { 0 };
            drop(state);
            if fits {
                pipe.env.changed(&pipe.changed);
                rest = &rest[pushed..];
                *done += pushed;
            } else if nonblock {
                return Err(Errno::EAGAIN);
            } else {
                pipe.changed.wait(pipe.env.nap(), seen, None)?;
            }
        }
        Ok(())
    }
}

impl<M: Machine> FileOps<M> for PipeEnd<M> {
    fn read(&self, _at: u64, to: &mut dyn Sink, nonblock: bool) -> Result<usize, Errno> {
        let pipe = &self.pipe;
        let mut buf = pipe.env.buffer(to.room().min(PIPE_BUF))?;
        let mut done = 0;
        while to.room() > 0 {
            let seen = pipe.changed.now();
            let wanted = to.room().min(buf.len());
            let mut state = pipe.state.lock();
            let len = state.pop(&mut buf[..wanted]);
            let is_end = state.writers == 0;
            drop(state);
            if len > 0 {
                // A reader whose memory cannot be written loses nothing.
                let put = put_counted(to, &buf[..len]);
                let delivered = *put.as_ref().unwrap_or(&0);
                pipe.state.lock().settle(&buf[..len], delivered);
                pipe.env.changed(&pipe.changed);
                done += delivered;
                if put != Ok(len) {
                    return or_partial(done, put.map(|_| ()));
                }
            } else if done > 0 || is_end {
                break;
            } else if nonblock {
                return Err(Errno::EAGAIN);
            } else {
                pipe.changed.wait(pipe.env.nap(), seen, None)?;
            }
        }
        Ok(done)
    }

    fn write(&self, _at: WriteAt, from: &mut dyn Source, nonblock: bool) -> Result<Written, Errno> {
        let whole = from.left() <= PIPE_BUF;
        let mut buf = self.pipe.env.buffer(from.left().min(PIPE_BUF))?;
        let (mut done, mut result) = (0, Ok(()));
        while from.left() > 0 && result.is_ok() {
            let len = from.left().min(PIPE_BUF);
            let (taken, why) = take_counted(from, &mut buf[..len]);
            let pushed = self.push(&buf[..taken], whole, nonblock, &mut done);
            result = pushed.and(why);
        }
        or_partial(done, result).map(|len| Written { len, end: 0 })
    }

    fn offsets(&self) -> Offsets {
        Offsets::Stream
    }

    fn poll(&self) -> PollEvents {
        let state = self.pipe.state.lock();
        let mut events = PollEvents::empty();
        if self.mode.read {
            events.set(PollEvents::IN, state.len > 0);
            events.set(PollEvents::HUP, state.writers == 0);
        }
        if self.mode.write {
            events.set(PollEvents::OUT, state.room() >= PIPE_BUF);
            events.set(PollEvents::ERR, state.readers == 0);
        }
        events
    }

    fn ioctl(&self, request: u32, _input: &[u8]) -> Result<Vec<u8>, Errno> {
        match request {
            FIONREAD => Ok((self.pipe.state.lock().len as u32).to_le_bytes().to_vec()),
            _ => Err(Errno::ENOTTY),
        }
    }

    fn pipe_capacity(&self) -> Option<usize> {
        Some(CAPACITY)
    }

    fn allocate(&self, _mode: u32, _at: u64, _len: u64) -> Result<(), Errno> {
        Err(Errno::ESPIPE)
    }
}
