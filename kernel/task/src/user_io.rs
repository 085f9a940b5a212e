// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets files read from and write to user memory: one buffer, or several in a row.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use hal::Platform;

use crate::fs::{Sink, Source};
use crate::kernel::Kernel;
use crate::process::Thread;

/// Most buffers of one call (Linux's UIO_MAXIOV).
pub(crate) const MAX_BUFFERS: usize = 1024;
/// Most bytes of one call (Linux's MAX_RW_COUNT).
pub(crate) const MAX_BYTES: usize = 0x7fff_f000;

/// Buffers in user memory, of which some bytes are done.
pub(crate) struct UserBuffers<'a, P: Platform> {
    kernel: &'static Kernel<P>,
    thread: &'a Arc<Thread<P>>,
    /// Address and bytes of each, the next one last.
    buffers: Vec<(u64, usize)>,
    left: usize,
}

impl<'a, P: Platform> UserBuffers<'a, P> {
    /// Builds one buffer; what is beyond [`MAX_BYTES`] is left out.
    pub fn one(
        kernel: &'static Kernel<P>,
        thread: &'a Arc<Thread<P>>,
        addr: u64,
        len: usize,
    ) -> Self {
        let left = len.min(MAX_BYTES);
        Self { kernel, thread, buffers: alloc::vec![(addr, left)], left }
    }

    /// Reads an array of `struct iovec` (include/uapi/linux/uio.h: address and length).
    ///
    /// # Errors
    ///
    /// EINVAL for too many buffers or bytes, EFAULT.
    pub fn many(
        kernel: &'static Kernel<P>,
        thread: &'a Arc<Thread<P>>,
        array: u64,
        nr_buffers: usize,
    ) -> Result<Self, Errno> {
        if nr_buffers > MAX_BUFFERS {
            return Err(Errno::EINVAL);
        }
        let mut bytes = alloc::vec![0; 16 * nr_buffers];
        kernel.copy_in(thread, array, &mut bytes)?;
        let mut left = 0usize;
        let mut buffers = Vec::with_capacity(nr_buffers);
        for pair in bytes.chunks_exact(16) {
            let [addr, len] = <[u64; 2] as abi::Layout>::get(pair);
            let len = isize::try_from(len).map_err(|_| Errno::EINVAL)? as usize;
            let len = len.min(MAX_BYTES - left);
            left += len;
            buffers.push((addr, len));
        }
        buffers.reverse();
        Ok(Self { kernel, thread, buffers, left })
    }

    /// Calls `step` with address and length of each piece of the next `len` bytes.
    fn advance(
        &mut self,
        len: usize,
        mut step: impl FnMut(&Self, u64, usize, usize) -> (usize, Result<(), Errno>),
    ) -> Result<(), Errno> {
        let mut done = 0;
        while done < len {
            let Some(&(addr, room)) = self.buffers.last() else { return Err(Errno::EFAULT) };
            let piece = room.min(len - done);
            let (moved, result) = step(self, addr, piece, done);
            done += moved;
            self.left -= moved;
            if moved == room {
                self.buffers.pop();
            } else if let Some(last) = self.buffers.last_mut() {
                *last = (addr.wrapping_add(moved as u64), room - moved);
            }
            result?;
        }
        Ok(())
    }
}

impl<P: Platform> Sink for UserBuffers<'_, P> {
    fn room(&self) -> usize {
        self.left
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.advance(bytes.len(), |own, to, len, done| {
            match own.kernel.copy_out(own.thread, to, &bytes[done..done + len]) {
                Ok(()) => (len, Ok(())),
                Err(stopped) => (stopped.done, Err(Errno::EFAULT)),
            }
        })
    }
}

impl<P: Platform> Source for UserBuffers<'_, P> {
    fn left(&self) -> usize {
        self.left
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        self.advance(buf.len(), |own, from, len, done| {
            match own.kernel.copy_in(own.thread, from, &mut buf[done..done + len]) {
                Ok(()) => (len, Ok(())),
                Err(stopped) => (stopped.done, Err(Errno::EFAULT)),
            }
        })
    }
}
