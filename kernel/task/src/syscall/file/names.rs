// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls about names, the working directory, and mounts.

use abi::open::{AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, PATH_MAX};
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};

impl<P: Platform> Call<'_, P> {
    pub(in crate::syscall) const FILE_NAMES: &'static [Row<P>] = &[
        (number::MKDIRAT, mkdirat),
        (number::UNLINKAT, unlinkat),
        (number::SYMLINKAT, symlinkat),
        (number::LINKAT, linkat),
        (number::RENAMEAT, renameat),
        (number::RENAMEAT2, renameat2),
        (number::READLINKAT, readlinkat),
        (number::CHDIR, chdir),
        (number::FCHDIR, fchdir),
        (number::GETCWD, getcwd),
        (number::UMASK, umask),
        (number::MOUNT, mount),
        (number::UMOUNT2, umount2),
    ];
}

fn mkdirat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(1)?;
    let mode = call.arg_u32(2) & !call.thread.process().fs_context().umask();
    call.vfs().make_dir(&call.start(0, &path)?, &path, mode).map(|()| 0)
}

fn unlinkat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg_u32(2);
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = call.path(1)?;
    let start = call.start(0, &path)?;
    let vfs = call.vfs();
    let removed = match flags & AT_REMOVEDIR {
        0 => vfs.unlink(&start, &path),
        _ => vfs.rmdir(&start, &path),
    };
    removed.map(|()| 0)
}

fn symlinkat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (target, path) = (call.path(0)?, call.path(2)?);
    call.vfs().make_symlink(&call.start(1, &path)?, &path, target).map(|()| 0)
}

fn linkat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg_u32(4);
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = call.inode_at(0, flags, flags & AT_SYMLINK_FOLLOW != 0)?;
    let path = call.path(3)?;
    call.vfs().make_link(file, &call.start(2, &path)?, &path).map(|()| 0)
}

fn renameat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    rename(call, 0)
}

fn renameat2<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    rename(call, call.arg_u32(4))
}

fn rename<P: Platform>(call: &Call<'_, P>, flags: u32) -> Outcome {
    let (old, new) = (call.path(1)?, call.path(3)?);
    let (from, to) = (call.start(0, &old)?, call.start(2, &new)?);
    call.vfs().rename((&from, &old), (&to, &new), flags).map(|()| 0)
}

fn readlinkat<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let room = call.arg_i32(3);
    if room <= 0 {
        return Err(Errno::EINVAL);
    }
    let path = call.path(1)?;
    // An empty path is the link that the descriptor names (O_PATH).
    let inode = call.inode_at(0, AT_EMPTY_PATH, false)?;
    let target = call.vfs().read_link(&inode).map_err(|why| match path.is_empty() {
        true => Errno::ENOENT,
        false => why,
    })?;
    let len = target.len().min(room as usize);
    call.write(call.arg(2), &target[..len])?;
    Ok(len as u64)
}

fn chdir<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(0)?;
    let dir = call.vfs().find(&call.cwd(), &path, true)?;
    if dir.directory().is_none() {
        return Err(Errno::ENOTDIR);
    }
    call.thread.process().fs_context().set_cwd(dir);
    Ok(0)
}

fn fchdir<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let file = call.file_at(0)?;
    if file.inode().directory().is_none() {
        return Err(Errno::ENOTDIR);
    }
    call.thread.process().fs_context().set_cwd(file.inode().clone());
    Ok(0)
}

/// Returns the length with the NUL, as the system call does (the C function returns the buffer).
fn getcwd<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (mut path, is_deleted) = call.vfs().path_of(&call.cwd());
    if is_deleted {
        return Err(Errno::ENOENT);
    }
    path.push(0);
    if path.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.len() as u64 > call.arg(1) {
        return Err(Errno::ERANGE);
    }
    call.write(call.arg(0), &path)?;
    Ok(path.len() as u64)
}

fn umask<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    Ok(u64::from(call.thread.process().fs_context().set_umask(call.arg_u32(0))))
}

/// What is mounted where is decided at boot: a mount that is there is EBUSY, any other EPERM.
fn mount<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(1)?;
    let dir = call.vfs().find(&call.cwd(), &path, true)?;
    if dir.directory().is_none() {
        return Err(Errno::ENOTDIR);
    }
    let fs_type = match call.arg(2) {
        0 => return Err(Errno::EPERM),
        _ => call.path(2)?,
    };
    let mounts = call.vfs().mounts();
    if !mounts.iter().any(|mount| mount.fs_type.as_bytes() == fs_type) {
        return Err(Errno::ENODEV);
    }
    let is_there = mounts.iter().any(|mount| mount.root.id() == dir.id());
    Err(if is_there { Errno::EBUSY } else { Errno::EPERM })
}

fn umount2<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let path = call.path(0)?;
    let dir = call.vfs().find(&call.cwd(), &path, true)?;
    let is_mount = call.vfs().mounts().iter().any(|mount| mount.root.id() == dir.id());
    Err(if is_mount { Errno::EBUSY } else { Errno::EINVAL })
}
