// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls that open files.

use abi::open::{MFD_CLOEXEC, O_CLOEXEC};
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::OpenHow;

impl<P: Platform> Call<'_, P> {
    pub(in crate::syscall) const OPEN: &'static [Row<P>] = &[
        (number::OPENAT, openat),
        (number::MEMFD_CREATE, memfd_create),
        (number::PIPE2, pipe2),
        (number::MKNODAT, |_| Err(Errno::EPERM)),
    ];
}

fn openat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(1)?;
    let flags = call.arg_u32(2);
    let umask = call.thread.process().fs_context().umask();
    let how = OpenHow { flags, mode: call.arg_u32(3) & 0o7777 & !umask };
    let file = call.vfs().open(&call.start(0, &path)?, &path, how)?;
    file.opened_by(&call.thread.process().mm())?;
    call.install(file, flags & O_CLOEXEC != 0)
}

fn pipe2<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg_u32(1);
    let [reader, writer] = call.vfs().open_pipe(flags)?;
    let close_on_exec = flags & O_CLOEXEC != 0;
    let read_fd = call.install(reader, close_on_exec)? as u32;
    let files = call.thread.process().file_table();
    let undo = |fd: u32| drop(files.close(fd as i32));
    let write_fd = call.install(writer, close_on_exec).inspect_err(|_| undo(read_fd))? as u32;
    let both = (u64::from(write_fd) << 32 | u64::from(read_fd)).to_le_bytes();
    call.write(call.arg(0), &both).inspect_err(|_| {
        undo(read_fd);
        undo(write_fd);
    })?;
    Ok(0)
}

fn memfd_create<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    // 249 bytes and the NUL: with its prefix, a name of 255.
    let name = call.kernel.read_string(call.thread, call.arg(0), 250, Errno::EINVAL)?;
    let flags = call.arg_u32(1);
    let file = call.vfs().open_memfd(&name, flags)?;
    call.install(file, flags & MFD_CLOEXEC != 0)
}
