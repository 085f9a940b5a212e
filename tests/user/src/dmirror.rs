// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file asks the dmirror devices of Linux's test_hmm (lib/test_hmm_uapi.h).

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;

use crate::memory::{self, Mapping, PAGE};
use crate::sys::{self, Errno};
use crate::trial::Skip;

/// Snapshot: no valid entry.
pub const PROT_ERROR: u8 = 0xff;
/// Snapshot: nothing there.
pub const PROT_NONE: u8 = 0;
/// Snapshot: readable only.
pub const PROT_READ: u8 = 1;
/// Snapshot: writable.
pub const PROT_WRITE: u8 = 2;
/// Snapshot: mapped by a block.
pub const PROT_PMD: u8 = 4;
/// Snapshot: the page of zeroes.
pub const PROT_ZERO: u8 = 0x10;
/// Snapshot: in this device's memory.
pub const PROT_LOCAL: u8 = 0x20;

/// `HMM_DMIRROR_FLAG_FAIL_ALLOC`.
pub const FAIL_ALLOC: u64 = 1;

/// `struct hmm_dmirror_cmd`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Command {
    /// Where the range starts.
    pub addr: u64,
    /// A buffer of the caller's.
    pub ptr: u64,
    /// Pages of the range.
    pub npages: u64,
    /// Pages done.
    pub cpages: u64,
    /// Rounds of faults.
    pub faults: u64,
}

/// An open device.
#[derive(Debug)]
pub struct Dmirror(File);

impl Dmirror {
    /// Opens device `number`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open(number: u32) -> Result<Self, Skip> {
        let path = format!("/dev/hmm_dmirror{number}");
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.map(Self).map_err(|_| Skip("no /dev/hmm_dmirror (test_hmm)"))
    }

    /// Makes request `number` with any structure.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn ioctl(&self, number: usize, command: &mut Command) -> Result<(), Errno> {
        let at = core::ptr::from_mut(command).addr();
        let fd = self.0.as_raw_fd() as usize;
        sys::call(libc::SYS_ioctl, [fd, 0xc028_4800 + number, at]).map(drop)
    }

    fn ask(&self, number: usize, range: Range<usize>, ptr: usize) -> Result<Command, Errno> {
        let npages = (range.len() / PAGE) as u64;
        let (addr, ptr) = (range.start as u64, ptr as u64);
        let mut command = Command { addr, ptr, npages, cpages: 77, faults: 77 };
        self.ioctl(number, &mut command).map(|()| command)
    }

    /// Has the device read a range; `buf` is as large.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn read(&self, range: Range<usize>, buf: &mut [u8]) -> Result<Command, Errno> {
        self.ask(0, range, buf.as_mut_ptr().addr())
    }

    /// Has the device write a range; `buf` is as large.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn write(&self, range: Range<usize>, buf: &[u8]) -> Result<Command, Errno> {
        self.ask(1, range, buf.as_ptr().addr())
    }

    /// Moves a range to the device, and has the device read it.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn migrate_to_device(&self, range: Range<usize>) -> Result<Vec<u8>, Errno> {
        let mut seen = vec![0; range.len()];
        let nr_pages = (range.len() / PAGE) as u64;
        let done = self.ask(2, range, seen.as_mut_ptr().addr())?;
        assert_eq!(done.cpages, nr_pages);
        Ok(seen)
    }

    /// Moves a range to the device, and has the device read it into `seen`, which is at least as large.
    ///
    /// # Errors
    ///
    /// The call's: ENOENT when a page is not on the device, or not any more.
    pub fn migrate_to_device_into(
        &self,
        range: Range<usize>,
        seen: &mut [u8],
    ) -> Result<(), Errno> {
        assert!(seen.len() >= range.len());
        self.ask(2, range, seen.as_mut_ptr().addr()).map(drop)
    }

    /// Moves a range back; returns how many pages moved.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn migrate_to_system(&self, range: Range<usize>) -> Result<u64, Errno> {
        self.ask(3, range, 0).map(|done| done.cpages)
    }

    /// Returns what the device would find, a byte a page.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn snapshot(&self, range: Range<usize>) -> Result<Vec<u8>, Errno> {
        let mut seen = vec![0xee; range.len() / PAGE];
        self.ask(4, range, seen.as_mut_ptr().addr())?;
        Ok(seen)
    }

    /// Takes each page of a range for the device alone, and has the device read it.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn take_exclusive(&self, range: Range<usize>) -> Result<Vec<u8>, Errno> {
        let mut seen = vec![0; range.len()];
        let nr_pages = (range.len() / PAGE) as u64;
        let done = self.ask(5, range, seen.as_mut_ptr().addr())?;
        assert_eq!(done.cpages, nr_pages);
        Ok(seen)
    }

    /// Tells whether the device has any page of a range for itself.
    ///
    /// # Panics
    ///
    /// When the call fails otherwise than by saying so.
    pub fn has_exclusive(&self, range: Range<usize>) -> bool {
        match self.ask(6, range, 0) {
            Ok(_) => false,
            Err(libc::EPERM) => true,
            Err(errno) => panic!("HMM_DMIRROR_CHECK_EXCLUSIVE: {errno}"),
        }
    }

    /// Moves everything off the device.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn release(&self, range: Range<usize>) -> Result<(), Errno> {
        self.ask(7, range, 0).map(drop)
    }

    /// Sets the flags of the open file.
    ///
    /// # Panics
    ///
    /// When the call fails.
    pub fn set_flags(&self, flags: u64) {
        let mut command = Command { npages: flags, ..Command::default() };
        self.ioctl(8, &mut command).expect("HMM_DMIRROR_FLAGS");
    }
}

/// Maps pages, and stores a pattern of its own to each.
pub fn filled(nr_pages: usize) -> Mapping {
    let mapping = Mapping::anonymous(nr_pages * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
    mapping
}

/// Checks that every page has its pattern.
///
/// # Panics
///
/// When one has not.
pub fn check(mapping: &Mapping) {
    for page in mapping.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None, "{page:#x}");
    }
}

/// Returns what is in a mapping.
pub fn bytes(mapping: &Mapping) -> Vec<u8> {
    mapping.range().map(memory::load_byte).collect()
}
