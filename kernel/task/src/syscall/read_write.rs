// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads and writes open files.

use alloc::sync::Arc;

use abi::siginfo::{SI_USER, SigInfo};
use abi::{Errno, Signal, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::File;
use crate::signal;
use crate::user_io::UserBuffers;

impl<P: Platform> Call<'_, P> {
    pub(super) const READ_WRITE: &'static [Row<P>] = &[
        (number::READ, read),
        (number::WRITE, write),
        (number::READV, readv),
        (number::WRITEV, writev),
        (number::PREAD64, pread64),
        (number::PWRITE64, pwrite64),
        (number::PREADV, preadv),
        (number::PWRITEV, pwritev),
    ];

    /// Returns the open file that argument 0 names.
    pub(super) fn file(&self) -> Result<Arc<File<P>>, Errno> {
        self.thread.process().file_table().get(self.arg_i32(0))
    }

    /// Returns the buffer of arguments 1 and 2.
    fn buffer(&self) -> UserBuffers<'_, P> {
        UserBuffers::one(self.kernel, self.thread, self.arg(1), self.arg(2) as usize)
    }

    /// Returns the buffers of arguments 1 and 2.
    fn buffers(&self) -> Result<UserBuffers<'_, P>, Errno> {
        UserBuffers::many(self.kernel, self.thread, self.arg(1), self.arg(2) as usize)
    }

    /// Ends a write: nobody reads the pipe any more is a signal, too.
    pub(super) fn after_write(&self, written: Result<usize, Errno>) -> Outcome {
        if written == Err(Errno::EPIPE) {
            let pid = self.thread.process().pid();
            let info = SigInfo::sent(Signal::SIGPIPE, SI_USER, pid, 0);
            // The queue of a standard signal is never full.
            let _ = signal::send_to_thread(self.kernel, self.thread, info);
        }
        written.map(|len| len as u64)
    }

    /// Returns the offset of argument 3.
    fn offset(&self) -> Result<u64, Errno> {
        let offset = self.arg(3);
        if (offset as i64) < 0 { Err(Errno::EINVAL) } else { Ok(offset) }
    }
}

fn read<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.file()?.read(&mut call.buffer()).map(|len| len as u64)
}

fn write<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let written = call.file()?.write(&mut call.buffer());
    call.after_write(written)
}

fn readv<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.file()?.read(&mut call.buffers()?).map(|len| len as u64)
}

fn writev<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let written = call.file()?.write(&mut call.buffers()?);
    call.after_write(written)
}

fn pread64<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let offset = call.offset()?;
    call.file()?.read_at(offset, &mut call.buffer()).map(|len| len as u64)
}

fn pwrite64<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let offset = call.offset()?;
    call.file()?.write_at(offset, &mut call.buffer()).map(|len| len as u64)
}

fn preadv<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let offset = call.offset()?;
    call.file()?.read_at(offset, &mut call.buffers()?).map(|len| len as u64)
}

fn pwritev<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let offset = call.offset()?;
    call.file()?.write_at(offset, &mut call.buffers()?).map(|len| len as u64)
}
