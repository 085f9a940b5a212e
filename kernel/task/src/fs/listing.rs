// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lists a directory as getdents64 does.
//!
//! The offset of a listing is the number of the last entry returned: 1 for `.`, 2 for `..`, and
//! what the file system counts from 3 on.

use abi::Errno;
use abi::dirent;
use abi::stat::S_IFDIR;
use hal::Machine;

use super::inode::InodeRef;

/// Entries asked for at a time.
const BATCH: usize = 32;

/// Writes entries behind `offset` to `buf`; returns the bytes, and the offset behind them.
///
/// # Errors
///
/// ENOTDIR; ENOENT when the directory has been removed; EINVAL when not even one entry fits.
pub fn list<M: Machine>(
    inode: &InodeRef<M>,
    mut offset: u64,
    buf: &mut [u8],
) -> Result<(usize, u64), Errno> {
    let dir = inode.directory().ok_or(Errno::ENOTDIR)?;
    if inode.is_deleted() {
        return Err(Errno::ENOENT);
    }
    let mut len = 0;
    let mut put = |ino: u64, next: u64, kind: u32, name: &[u8]| {
        let kind = dirent::type_of_mode(kind);
        let written = dirent::write(&mut buf[len..], ino, next, kind, name);
        len += written.unwrap_or(0);
        written.is_some()
    };
    let dots = [(b".".as_slice(), inode.id().ino), (b"..".as_slice(), dir.parent().id().ino)];
    let mut is_full = false;
    for (number, (name, ino)) in (1..).zip(dots) {
        if offset < number && !is_full {
            is_full = !put(ino, number, S_IFDIR, name);
            offset = if is_full { offset } else { number };
        }
    }
    while !is_full {
        let entries = dir.entries(offset, BATCH);
        for entry in &entries {
            if !put(entry.ino, entry.next, entry.kind, &entry.name) {
                is_full = true;
                break;
            }
            offset = entry.next;
        }
        if entries.len() < BATCH {
            break;
        }
    }
    if len == 0 && is_full { Err(Errno::EINVAL) } else { Ok((len, offset)) }
}
