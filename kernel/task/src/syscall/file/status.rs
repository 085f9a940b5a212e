// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls about metadata: stat and its kin, access, chmod, chown, times, sizes.

use abi::open::{
    AT_EACCESS, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, R_OK, W_OK, X_OK,
};
use abi::stat::{
    AT_STATX_DONT_SYNC, AT_STATX_FORCE_SYNC, FileTime, S_IFDIR, S_IFLNK, STATX_RESERVED,
};
use abi::time::{Timespec, UTIME_NOW, UTIME_OMIT};
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::{AttrChange, InodeRef, is_regular};

impl<P: Platform> Call<'_, P> {
    pub(in crate::syscall) const FILE_STATUS: &'static [Row<P>] = &[
        (number::FSTAT, fstat),
        (number::NEWFSTATAT, newfstatat),
        (number::STATX, statx),
        (number::STATFS, statfs),
        (number::FSTATFS, fstatfs),
        (number::FACCESSAT, faccessat),
        (number::FACCESSAT2, faccessat2),
        (number::FCHMOD, fchmod),
        (number::FCHMODAT, fchmodat),
        (number::FCHOWN, fchown),
        (number::FCHOWNAT, fchownat),
        (number::UTIMENSAT, utimensat),
        (number::TRUNCATE, truncate),
        (number::FTRUNCATE, ftruncate),
        (number::FALLOCATE, fallocate),
    ];
}

fn fstat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let stat = call.file_at(0)?.inode().stat();
    call.write(call.arg(1), &stat.to_bytes()).map(|()| 0)
}

fn newfstatat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg_u32(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT) != 0 {
        return Err(Errno::EINVAL);
    }
    let stat = call.inode_at(0, flags, flags & AT_SYMLINK_NOFOLLOW == 0)?.stat();
    call.write(call.arg(2), &stat.to_bytes()).map(|()| 0)
}

fn statx<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (flags, mask) = (call.arg_u32(2), call.arg_u32(3));
    let both = AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC;
    let known = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | both;
    if mask & STATX_RESERVED != 0 || flags & !known != 0 || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let stat = call.inode_at(0, flags, flags & AT_SYMLINK_NOFOLLOW == 0)?.stat();
    call.write(call.arg(4), &stat.to_statx_bytes()).map(|()| 0)
}

fn statfs<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(0)?;
    let stat = call.vfs().find(&call.cwd(), &path, true)?.stat_fs();
    call.write(call.arg(1), &stat.to_bytes()).map(|()| 0)
}

fn fstatfs<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let stat = call.file_at(0)?.inode().stat_fs();
    call.write(call.arg(1), &stat.to_bytes()).map(|()| 0)
}

fn faccessat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    access(call, 0)
}

fn faccessat2<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    access(call, call.arg_u32(3))
}

fn access<P: Platform>(call: &Call<'_, P>, flags: u32) -> Outcome {
    let mode = call.arg_u32(2);
    let known = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
    if mode & !(R_OK | W_OK | X_OK) != 0 || flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let inode = call.inode_at(0, flags, flags & AT_SYMLINK_NOFOLLOW == 0)?;
    let stat = inode.stat();
    // Root may do everything but execute what nobody may.
    let is_dir = inode.kind() == S_IFDIR;
    if mode & X_OK != 0 && !is_dir && stat.mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    Ok(0)
}

fn change_mode<P: Platform>(inode: &InodeRef<P>, mode: u32) -> Outcome {
    if inode.kind() == S_IFLNK {
        return Err(Errno::EOPNOTSUPP);
    }
    inode.change(&AttrChange { mode: Some(mode & 0o7777), ..AttrChange::default() }).map(|()| 0)
}

fn fchmod<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let file = call.file_at(0)?;
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    change_mode(file.inode(), call.arg_u32(1))
}

fn fchmodat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    change_mode(&call.inode_at(0, 0, true)?, call.arg_u32(2))
}

fn change_owner<P: Platform>(inode: &InodeRef<P>, uid: u32, gid: u32) -> Outcome {
    // An ID of -1 stays as it is.
    let wish = |id: u32| (id != u32::MAX).then_some(id);
    let change = AttrChange { uid: wish(uid), gid: wish(gid), ..AttrChange::default() };
    inode.change(&change).map(|()| 0)
}

fn fchown<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let file = call.file_at(0)?;
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    change_owner(file.inode(), call.arg_u32(1), call.arg_u32(2))
}

fn fchownat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg_u32(4);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let inode = call.inode_at(0, flags, flags & AT_SYMLINK_NOFOLLOW == 0)?;
    change_owner(&inode, call.arg_u32(2), call.arg_u32(3))
}

/// Returns what a `struct timespec` of utimensat asks for, `None` for nothing.
fn wished_time(wish: Timespec, now: FileTime) -> Result<Option<FileTime>, Errno> {
    match wish.nsec {
        UTIME_OMIT => Ok(None),
        UTIME_NOW => Ok(Some(now)),
        nanoseconds @ 0..1_000_000_000 => {
            Ok(Some(FileTime { seconds: wish.sec, nanoseconds: nanoseconds as u32 }))
        }
        _ => Err(Errno::EINVAL),
    }
}

fn utimensat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (times, flags) = (call.arg(2), call.arg_u32(3));
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let now = call.vfs().env().now();
    let (atime, mtime) = match times {
        0 => (Some(now), Some(now)),
        times => {
            let atime = call.read::<Timespec, 16>(times)?;
            let mtime = call.read::<Timespec, 16>(times.wrapping_add(16))?;
            (wished_time(atime, now)?, wished_time(mtime, now)?)
        }
    };
    // Without a path, the descriptor is the file: futimens.
    let inode = match call.arg(1) {
        0 => call.file_at(0)?.inode().clone(),
        _ => call.inode_at(0, flags, flags & AT_SYMLINK_NOFOLLOW == 0)?,
    };
    if atime.is_none() && mtime.is_none() {
        return Ok(0);
    }
    inode.change(&AttrChange { atime, mtime, ..AttrChange::default() }).map(|()| 0)
}

fn truncate<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(0)?;
    let inode = call.vfs().find(&call.cwd(), &path, true)?;
    let len = u64::try_from(call.arg(1) as i64).map_err(|_| Errno::EINVAL)?;
    if inode.kind() == S_IFDIR {
        return Err(Errno::EISDIR);
    }
    if !is_regular(inode.kind()) {
        return Err(Errno::EINVAL);
    }
    inode.truncate(len).map(|()| 0)
}

fn ftruncate<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let len = u64::try_from(call.arg(1) as i64).map_err(|_| Errno::EINVAL)?;
    call.file_at(0)?.truncate(len).map(|()| 0)
}

fn fallocate<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (at, len) = (call.arg(2) as i64, call.arg(3) as i64);
    call.file_at(0)?.allocate(call.arg_u32(1), at, len).map(|()| 0)
}
