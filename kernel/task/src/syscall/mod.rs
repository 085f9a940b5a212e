// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is the system calls: one function each, in files by subject, each with its table rows.
//!
//! `docs/SYSCALLS.md` lists them.

mod credentials;
#[cfg(test)]
mod document;
mod file;
mod identity;
mod limits;
mod memory;
mod process;
mod random;
mod read_write;
pub(crate) mod restart;
mod signal;
mod swap;
mod system;
mod tags;
mod time;
mod unknown;

pub(crate) use identity::{RELEASE, VERSION};
pub(crate) use unknown::UnknownCalls;

use alloc::sync::Arc;

use abi::stat::{S_IFBLK, S_IFDIR, S_IFMT};
use abi::{Errno, Layout, number};
use base::sync::atomic::Ordering;
use hal::{Platform, UserRegs};

use crate::fs::{Mapping, disk_of};
use crate::kernel::Kernel;
use crate::process::{Thread, Work};

/// What a system call returns in x0.
pub(crate) type Outcome = Result<u64, Errno>;

/// The object that a mapping of a file shows, and whether stores may go to it.
pub(crate) type MappedFile<P> = (Arc<mm::Shmem<P>>, bool);

/// A function that does a system call.
pub(crate) type Handler<P> = fn(&mut Call<'_, P>) -> Outcome;

/// A row of the table: number and function.
pub(crate) type Row<P> = (usize, Handler<P>);

/// A system call that is being done.
pub(crate) struct Call<'a, P: Platform> {
    pub kernel: &'static Kernel<P>,
    pub thread: &'a Arc<Thread<P>>,
    /// Which call it is.
    pub number: u64,
    pub regs: &'a mut UserRegs,
}

impl<P: Platform> Call<'_, P> {
    /// Returns an argument, the first being 0.
    #[inline(always)]
    pub fn arg(&self, index: usize) -> u64 {
        self.regs.x[index]
    }

    /// Returns an argument of 32 bits; those above are ignored, as Linux does.
    #[inline(always)]
    pub fn arg_u32(&self, index: usize) -> u32 {
        self.regs.x[index] as u32
    }

    /// Returns a signed argument of 32 bits.
    #[inline(always)]
    pub fn arg_i32(&self, index: usize) -> i32 {
        self.regs.x[index] as i32
    }

    /// Reads a value from user memory.
    pub fn read<T: Layout, const N: usize>(&self, from: u64) -> Result<T, Errno> {
        const { assert!(T::SIZE == N, "N is the size of T") };
        Ok(T::get(&self.kernel.read_array::<N>(self.thread, from)?))
    }

    /// Returns the object behind an open file, and whether it may be written through a mapping;
    /// `None` when a mapping of it is anonymous memory.
    pub fn file_to_map(&self, fd: i32) -> Result<Option<MappedFile<P>>, Errno> {
        let file = self.thread.process().file_table().get(fd)?;
        if !file.is_readable() {
            return Err(Errno::EACCES);
        }
        Ok(match file.mapping()? {
            Mapping::Object(object) => Some((object, file.is_writable())),
            Mapping::Anonymous => None,
        })
    }

    /// Returns the disk that a path names, for what opens it to write.
    ///
    /// # Errors
    ///
    /// Those of a walk; EISDIR for a directory, EINVAL for anything else that is no disk.
    pub fn disk_at(&self, path: u64) -> Result<hal::DiskId, Errno> {
        let path = self.kernel.read_string(self.thread, path, 4096, Errno::ENAMETOOLONG)?;
        let inode = self.kernel.vfs().find(&self.thread.process().cwd(), &path, true)?;
        let stat = inode.stat();
        match stat.mode & S_IFMT {
            S_IFBLK => disk_of(stat.rdev).ok_or(Errno::EINVAL),
            S_IFDIR => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Writes bytes to user memory.
    pub fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        Ok(self.kernel.copy_out(self.thread, to, bytes)?)
    }
}

/// Functions by number.
struct Table<P: Platform>(core::marker::PhantomData<P>);

impl<P: Platform> Table<P> {
    const ROWS: [Option<Handler<P>>; number::LIMIT] = {
        let mut rows = [None; number::LIMIT];
        let files: &[&[Row<P>]] = &[
            Call::<P>::CREDENTIALS,
            Call::<P>::DESCRIPTORS,
            Call::<P>::FILE_NAMES,
            Call::<P>::FILE_STATUS,
            Call::<P>::OPEN,
            Call::<P>::POLL,
            Call::<P>::TRANSFER,
            Call::<P>::IDENTITY,
            Call::<P>::LIMITS,
            Call::<P>::MEMORY,
            Call::<P>::PROCESS,
            Call::<P>::RANDOM,
            Call::<P>::RESTART,
            Call::<P>::READ_WRITE,
            Call::<P>::SIGNAL,
            Call::<P>::SWAP,
            Call::<P>::SYSTEM,
            Call::<P>::TAGS,
            Call::<P>::TIME,
            Call::<P>::FUTEX,
        ];
        let mut file = 0;
        while file < files.len() {
            let mut row = 0;
            while row < files[file].len() {
                let (number, handler) = files[file][row];
                assert!(rows[number].is_none(), "two functions for one system call");
                rows[number] = Some(handler);
                row += 1;
            }
            file += 1;
        }
        rows
    };

    const BY_NUMBER: &'static [Option<Handler<P>>; number::LIMIT] = &Self::ROWS;
}

#[inline(always)]
fn handler<P: Platform>(number: u64) -> Option<Handler<P>> {
    Table::<P>::BY_NUMBER.get(number as usize).copied().flatten()
}

/// Does the system call that user code has asked for; `regs` then hold its result.
#[inline]
pub(crate) fn dispatch<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    regs: &mut UserRegs,
) {
    let (number, first) = (regs.x[8], regs.x[0]);
    let mut call = Call { kernel, thread, number, regs };
    let outcome = match handler(number) {
        Some(handler) => handler(&mut call),
        None => unknown::report(&mut call, number),
    };
    regs.x[0] = match outcome {
        Ok(value) => value,
        Err(why) => failed(thread, why, first),
    };
}

#[cold]
fn failed<P: Platform>(thread: &Thread<P>, why: Errno, first: u64) -> u64 {
    if restart::is_restart(why) {
        thread.restart_x0.store(first, Ordering::Relaxed);
        thread.add_work(Work::RESTART);
    }
    why.to_return_value()
}
