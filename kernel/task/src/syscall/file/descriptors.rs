// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls about descriptors: close, dup, fcntl, ioctl.

use alloc::sync::Arc;

use abi::ioctl::{FIOCLEX, FIONCLEX, input_len};
use abi::open::*;
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::{Caller, MAX_FILES};
use crate::kernel::Kernel;
use crate::process::Thread;

impl<P: Platform> Call<'_, P> {
    pub(in crate::syscall) const DESCRIPTORS: &'static [Row<P>] = &[
        (number::CLOSE, close),
        (number::CLOSE_RANGE, close_range),
        (number::DUP, dup),
        (number::DUP3, dup3),
        (number::FCNTL, fcntl),
        (number::FLOCK, flock),
        (number::IOCTL, ioctl),
    ];
}

fn close<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    drop(call.thread.process().file_table().close(call.arg_i32(0))?);
    Ok(0)
}

fn close_range<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (first, last, flags) = (call.arg_u32(0), call.arg_u32(1), call.arg_u32(2));
    if first > last || flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = call.thread.process();
    if flags & CLOSE_RANGE_UNSHARE != 0 {
        process.unshare_files();
    }
    drop(process.file_table().close_range(first, last, flags & CLOSE_RANGE_CLOEXEC != 0));
    Ok(0)
}

fn dup<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let file = call.file_at(0)?;
    let fd = call.thread.process().file_table().insert(file, false, 0, MAX_FILES)?;
    Ok(fd as u64)
}

fn dup3<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (old, new, flags) = (call.arg_i32(0), call.arg_i32(1), call.arg_u32(2));
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    let files = call.thread.process().file_table();
    let file = files.get(old)?;
    drop(files.replace(new, file, flags & O_CLOEXEC != 0, MAX_FILES)?);
    Ok(new as u64)
}

fn fcntl<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (fd, command, arg) = (call.arg_i32(0), call.arg_u32(1), call.arg(2));
    let files = call.thread.process().file_table();
    let file = files.get(fd)?;
    // What O_PATH leaves: duplicates and flags.
    let is_about_fd = matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL);
    if file.is_path() && !is_about_fd {
        return Err(Errno::EBADF);
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let from = usize::try_from(arg as u32).ok().filter(|from| *from < MAX_FILES);
            let from = from.ok_or(Errno::EINVAL)?;
            let fd = files.insert(file, command == F_DUPFD_CLOEXEC, from, MAX_FILES)?;
            Ok(fd as u64)
        }
        F_GETFD => Ok(if files.close_on_exec(fd)? { u64::from(FD_CLOEXEC) } else { 0 }),
        F_SETFD => {
            files.set_close_on_exec(fd, arg as u32 & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(u64::from(file.flags())),
        F_SETFL => {
            file.set_flags(arg as u32);
            Ok(0)
        }
        // Nobody else has a lock that could be in the way: locks are not kept.
        F_SETLK | F_SETLKW => Ok(0),
        F_GETLK => {
            const F_UNLCK: i16 = 2;
            call.write(arg, &F_UNLCK.to_le_bytes())?;
            Ok(0)
        }
        F_GETPIPE_SZ | F_SETPIPE_SZ => Ok(file.pipe_capacity()? as u64),
        _ => Err(Errno::EINVAL),
    }
}

/// Advisory locks are granted and not kept.
fn flock<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.file_at(0).map(|_| 0)
}

/// The memory of who makes a request.
struct CallerMemory<'a, P: Platform> {
    kernel: &'static Kernel<P>,
    thread: &'a Arc<Thread<P>>,
}

impl<P: Platform> Caller for CallerMemory<'_, P> {
    fn read(&self, from: u64, buf: &mut [u8]) -> Result<(), Errno> {
        Ok(self.kernel.copy_in(self.thread, from, buf)?)
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        Ok(self.kernel.copy_out(self.thread, to, bytes)?)
    }
}

fn ioctl<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (fd, request, arg) = (call.arg_i32(0), call.arg_u32(1), call.arg(2));
    let files = call.thread.process().file_table();
    let file = files.get(fd)?;
    if matches!(request, FIOCLEX | FIONCLEX) {
        return files.set_close_on_exec(fd, request == FIOCLEX).map(|()| 0);
    }
    let mut input = [0; 64];
    let input = &mut input[..input_len(request)];
    call.kernel.copy_in(call.thread, arg, input)?;
    let caller = CallerMemory { kernel: call.kernel, thread: call.thread };
    let output = file.ioctl_for(&caller, request, input)?;
    call.write(arg, &output)?;
    Ok(0)
}
