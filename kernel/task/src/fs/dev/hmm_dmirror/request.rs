// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is one request of a program: the command it gave, and where its bytes go.

use abi::Errno;
use abi::hmm::DmirrorCommand;
use base::{PAGE_SIZE, PageRange, VirtAddr};
use mm::{DeviceError, MirrorError};

use crate::fs::ops::Caller;

/// A request that is being carried out.
pub(super) struct Request<'a> {
    pub command: &'a mut DmirrorCommand,
    /// The range that the device works on.
    pub pages: PageRange,
    caller: &'a dyn Caller,
    /// Bytes of the caller's buffer that are done.
    done: u64,
}

impl<'a> Request<'a> {
    /// Reads the range of a command, and zeroes what it tells.
    ///
    /// # Errors
    ///
    /// EINVAL for a range that is empty, not of pages, or past the end of memory.
    pub fn new(caller: &'a dyn Caller, command: &'a mut DmirrorCommand) -> Result<Self, Errno> {
        let page = PAGE_SIZE as u64;
        let len = command.npages.checked_mul(page).filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
        if !command.addr.is_multiple_of(page) || command.addr.checked_add(len).is_none() {
            return Err(Errno::EINVAL);
        }
        let pages = PageRange::of_len(VirtAddr::new(command.addr).page(), command.npages);
        (command.cpages, command.faults) = (0, 0);
        Ok(Self { command, pages, caller, done: 0 })
    }

    /// Gives the caller the next bytes, which tell of so many pages.
    pub fn put(&mut self, bytes: &[u8], nr_pages: u64) -> Result<(), Errno> {
        self.caller.write(self.command.ptr.wrapping_add(self.done), bytes)?;
        self.done += bytes.len() as u64;
        self.command.cpages += nr_pages;
        Ok(())
    }

    /// Reads the caller's next page.
    pub fn get_page(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        self.caller.read(self.command.ptr.wrapping_add(self.done), buf)?;
        self.done += buf.len() as u64;
        Ok(())
    }
}

pub(super) fn errno_of(why: MirrorError) -> Errno {
    match why {
        MirrorError::Fault => Errno::EFAULT,
        MirrorError::Denied => Errno::EPERM,
        MirrorError::Busy => Errno::EBUSY,
        MirrorError::Unknown => Errno::ENOENT,
        MirrorError::NotAnonymous => Errno::EOPNOTSUPP,
        MirrorError::OutOfMemory => Errno::ENOMEM,
        MirrorError::Gone => Errno::EINVAL,
    }
}

pub(super) fn errno_of_migration(why: DeviceError) -> Errno {
    match why {
        DeviceError::Invalid => Errno::EINVAL,
        DeviceError::OutOfMemory => Errno::ENOMEM,
    }
}
