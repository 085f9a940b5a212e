// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls that move bytes between files, and offsets.

use alloc::sync::Arc;

use abi::{Errno, number};
use base::PAGE_SIZE;
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::{Env, File, SliceSink, SliceSource};

impl<P: Platform> Call<'_, P> {
    pub(in crate::syscall) const TRANSFER: &'static [Row<P>] = &[
        (number::SENDFILE, sendfile),
        (number::LSEEK, lseek),
        (number::GETDENTS64, getdents64),
        (number::SYNC, |_| Ok(0)),
        (number::FSYNC, fsync),
        (number::FDATASYNC, fsync),
        (number::FADVISE64, fadvise64),
    ];
}

/// Most bytes that one call moves (Linux's MAX_RW_COUNT).
const MAX_BYTES: u64 = i32::MAX as u64 & !0xfff;

fn count(len: usize) -> u64 {
    len as u64
}

fn lseek<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.file_at(0)?.seek(call.arg(1) as i64, call.arg_u32(2))
}

/// Copies from file to file through a page of the kernel's.
fn sendfile<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (to, from) = (call.file_at(0)?, call.file_at(1)?);
    let at_user = call.arg(2);
    let mut at = match at_user {
        0 => None,
        user => Some(call.kernel.read_u64(call.thread, user)?),
    };
    if at.is_some_and(|at| at > i64::MAX as u64) {
        return Err(Errno::EINVAL);
    }
    let len = call.arg(3).min(MAX_BYTES) as usize;
    let result = copy_file(call.vfs().env(), &from, &to, &mut at, len);
    if let Some(at) = at {
        call.write(at_user, &at.to_le_bytes())?;
    }
    call.after_write(result)
}

fn copy_file<P: Platform>(
    env: &Env<P>,
    from: &Arc<File<P>>,
    to: &Arc<File<P>>,
    at: &mut Option<u64>,
    len: usize,
) -> Result<usize, Errno> {
    let mut buf = env.buffer(PAGE_SIZE)?;
    let mut done = 0;
    while done < len {
        let wanted = PAGE_SIZE.min(len - done);
        let mut sink = SliceSink::new(&mut buf[..wanted]);
        let read = match at {
            Some(at) => from.read_at(*at, &mut sink),
            None => from.read(&mut sink),
        };
        let read = match read {
            Ok(read) => read,
            Err(why) => return if done > 0 { Ok(done) } else { Err(why) },
        };
        let written = match to.write(&mut SliceSource::new(&buf[..read])) {
            Ok(written) => written,
            Err(why) => return if done > 0 { Ok(done) } else { Err(why) },
        };
        done += written;
        if let Some(at) = at {
            *at += written as u64;
        } else if written < read {
            // What was read and not written is still to be read.
            let _ = from.seek(written as i64 - read as i64, abi::open::SEEK_CUR);
        }
        if read == 0 || written < read {
            break;
        }
    }
    Ok(done)
}

fn getdents64<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    // A buffer of any size may be filled in part; a longest entry fits the smallest one used here.
    const AT_MOST: usize = 32 << 10;
    let file = call.file_at(0)?;
    let mut buf = call.vfs().env().buffer((call.arg_u32(2) as usize).min(AT_MOST))?;
    let before = file.seek(0, abi::open::SEEK_CUR);
    let len = file.list(&mut buf)?;
    let written = call.write(call.arg(1), &buf[..len]);
    if let (Err(_), Ok(before)) = (&written, before) {
        // What the caller did not get comes again.
        file.seek(before as i64, abi::open::SEEK_SET)?;
    }
    written.map(|()| count(len))
}

fn fsync<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.file_at(0)?.sync().map(|()| 0)
}

/// Advice is taken and not needed.
fn fadvise64<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    const POSIX_FADV_NOREUSE: u32 = 5;
    let file = call.file_at(0)?;
    if file.seek(0, abi::open::SEEK_CUR) == Err(Errno::ESPIPE) {
        return Err(Errno::ESPIPE);
    }
    if call.arg_u32(3) > POSIX_FADV_NOREUSE { Err(Errno::EINVAL) } else { Ok(0) }
}
