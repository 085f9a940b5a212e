// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file asks the emulator's host (Arm semihosting 2.0, IHI 0100): to end with an exit status,
//! and to read and write a file.
//!
//! The host does what it is asked before the next instruction: the guest takes the same way each time.
//! Only under an emulator that was told to offer it: elsewhere the instruction is undefined.

#![expect(unsafe_code, reason = "HLT #0xf000")]

use core::ffi::CStr;
use core::ptr::NonNull;

const SYS_OPEN: usize = 0x01;
const SYS_WRITE: usize = 0x05;
const SYS_READ: usize = 0x06;
const SYS_SEEK: usize = 0x0a;
const SYS_FLEN: usize = 0x0c;
const SYS_EXIT_EXTENDED: usize = 0x20;

/// Reason ADP_Stopped_ApplicationExit.
const APPLICATION_EXIT: usize = 0x2_0026;

/// Mode of SYS_OPEN as ISO C's "r+b".
const READ_AND_WRITE: usize = 3;

/// What the host answers when it could not do it.
const FAILED: usize = usize::MAX;

/// A file of the host.
#[derive(Debug)]
pub struct HostFile(usize);

/// The host could not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostError;

/// Ends the emulator with `status`.
pub fn exit(status: u8) -> ! {
    // SAFETY: the host reads the two words and does not come back.
    unsafe { call(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, status as usize]) };
    crate::cpu::park()
}

impl HostFile {
    /// Opens a file that is there, to read and to write it.
    ///
    /// # Errors
    ///
    /// When the host does not.
    pub fn open(path: &CStr) -> Result<Self, HostError> {
        let block = [path.as_ptr().addr(), READ_AND_WRITE, path.count_bytes()];
        // SAFETY: the host reads the path.
        let handle = unsafe { call(SYS_OPEN, &block) };
        if handle == FAILED { Err(HostError) } else { Ok(Self(handle)) }
    }

    /// Returns the length in bytes.
    ///
    /// # Errors
    ///
    /// When the host does not tell.
    pub fn len_bytes(&self) -> Result<usize, HostError> {
        // SAFETY: the host touches no memory.
        let len = unsafe { call(SYS_FLEN, &[self.0]) };
        if len == FAILED { Err(HostError) } else { Ok(len) }
    }

    /// Goes to a place, for what is read or written next.
    ///
    /// # Errors
    ///
    /// When the host does not.
    pub fn seek(&mut self, offset: usize) -> Result<(), HostError> {
        // SAFETY: the host touches no memory.
        let answer = unsafe { call(SYS_SEEK, &[self.0, offset]) };
        if answer == 0 { Ok(()) } else { Err(HostError) }
    }

    /// Fills `buffer` from the file.
    ///
    /// # Errors
    ///
    /// When the host does not fill all of it.
    ///
    /// # Safety
    ///
    /// The buffer is mapped memory that holds no Rust object.
    pub unsafe fn read(&mut self, buffer: NonNull<[u8]>) -> Result<(), HostError> {
        // SAFETY: the caller's promise.
        unsafe { self.transfer(SYS_READ, buffer) }
    }

    /// Writes `buffer` to the file.
    ///
    /// # Errors
    ///
    /// When the host does not write all of it.
    ///
    /// # Safety
    ///
    /// The buffer is mapped memory.
    pub unsafe fn write(&mut self, buffer: NonNull<[u8]>) -> Result<(), HostError> {
        // SAFETY: the caller's promise.
        unsafe { self.transfer(SYS_WRITE, buffer) }
    }

    /// # Safety
    ///
    /// The host may do to the buffer what `operation` does.
    unsafe fn transfer(
        &mut self,
        operation: usize,
        buffer: NonNull<[u8]>,
    ) -> Result<(), HostError> {
        let block = [self.0, buffer.addr().get(), buffer.len()];
        // SAFETY: the caller's promise.
        let nr_bytes_left = unsafe { call(operation, &block) };
        if nr_bytes_left == 0 { Ok(()) } else { Err(HostError) }
    }
}

/// # Safety
///
/// The host may do to memory what `operation` does.
unsafe fn call(operation: usize, block: &[usize]) -> usize {
    let answer;
    // SAFETY: the host reads the block; the rest is the caller's promise.
    unsafe {
        core::arch::asm!(
            "hlt #0xf000",
            inlateout("x0") operation => answer,
            in("x1") block.as_ptr(),
            options(nostack)
        );
    }
    answer
}
