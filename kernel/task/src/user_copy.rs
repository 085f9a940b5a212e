// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file copies from and to the memory of the running thread's process.
//!
//! A copy stops at a fault; the fault is resolved as if user code had taken it, and the copy goes
//! on. What cannot be resolved, a wrong tag among it, is EFAULT.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use base::{PAGE_SIZE, VirtAddr};
use hal::{Platform, UserFault};

use crate::kernel::Kernel;
use crate::process::Thread;

/// A copy that stopped for good, after so many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stopped {
    pub done: usize,
}

impl From<Stopped> for Errno {
    fn from(_: Stopped) -> Self {
        Errno::EFAULT
    }
}

impl<P: Platform> Kernel<P> {
    /// Copies from user memory.
    #[inline]
    pub(crate) fn copy_in(
        &'static self,
        thread: &Arc<Thread<P>>,
        from: u64,
        buf: &mut [u8],
    ) -> Result<(), Stopped> {
        check_pointer(thread, from)?;
        self.retry(thread, |done| {
            let from = VirtAddr::new(from).wrapping_add(done as u64);
            self.machine().read_user(from, &mut buf[done..])
        })
    }

    /// Copies to user memory.
    #[inline]
    pub(crate) fn copy_out(
        &'static self,
        thread: &Arc<Thread<P>>,
        to: u64,
        bytes: &[u8],
    ) -> Result<(), Stopped> {
        check_pointer(thread, to)?;
        self.retry(thread, |done| {
            let to = VirtAddr::new(to).wrapping_add(done as u64);
            self.machine().write_user(to, &bytes[done..])
        })
    }

    /// Reads a fixed number of bytes.
    #[inline]
    pub(crate) fn read_array<const N: usize>(
        &'static self,
        thread: &Arc<Thread<P>>,
        from: u64,
    ) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        self.copy_in(thread, from, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a 64-bit word.
    pub(crate) fn read_u64(
        &'static self,
        thread: &Arc<Thread<P>>,
        from: u64,
    ) -> Result<u64, Errno> {
        self.read_array(thread, from).map(u64::from_le_bytes)
    }

    /// Reads a string up to its NUL, which is left out.
    ///
    /// # Errors
    ///
    /// EFAULT; `too_long` when there is no NUL among the first `limit` bytes.
    pub(crate) fn read_string(
        &'static self,
        thread: &Arc<Thread<P>>,
        from: u64,
        limit: usize,
        too_long: Errno,
    ) -> Result<Vec<u8>, Errno> {
        const CHUNK: usize = 256;
        let mut string = Vec::new();
        while string.len() < limit {
            let at = from.wrapping_add(string.len() as u64);
            // Not across the end of a page: the string may end with it.
            let in_page = PAGE_SIZE - VirtAddr::new(at).page_offset();
            let mut chunk = [0; CHUNK];
            let chunk = &mut chunk[..CHUNK.min(in_page).min(limit - string.len())];
            self.copy_in(thread, at, chunk)?;
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                string.extend_from_slice(&chunk[..end]);
                return Ok(string);
            }
            string.extend_from_slice(chunk);
        }
        Err(too_long)
    }

    /// Calls `step` with the bytes done so far, until it succeeds or its fault cannot be resolved.
    #[inline]
    fn retry(
        &'static self,
        thread: &Arc<Thread<P>>,
        mut step: impl FnMut(usize) -> Result<(), UserFault>,
    ) -> Result<(), Stopped> {
        let mut done = 0;
        loop {
            match step(done) {
                Ok(()) => return Ok(()),
                Err(stop) => {
                    done += stop.done;
                    self.resolve(thread, &stop.fault).map_err(|_| Stopped { done })?;
                }
            }
        }
    }
}

/// Refuses a pointer with a tag from a thread that has not asked for the tagged-address ABI, as
/// Linux's access_ok() (arch/arm64/include/asm/uaccess.h).
#[inline(always)]
fn check_pointer<P: Platform>(thread: &Thread<P>, addr: u64) -> Result<(), Stopped> {
    let has_tag = addr >> 56 != 0;
    if has_tag && !thread.may_pass_tags() { Err(Stopped { done: 0 }) } else { Ok(()) }
}
