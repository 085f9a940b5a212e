// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder holds the system calls about files.
//!
//! | calls | where |
//! |---|---|
//! | openat, memfd_create, pipe2, mknodat | `open.rs` |
//! | sendfile, lseek, getdents64, fsync | `transfer.rs`; read and write `../read_write.rs` |
//! | ppoll, pselect6 | `poll.rs` |
//! | close, dup, fcntl, ioctl | `descriptors.rs` |
//! | names made, moved and removed; working directory; mount | `names.rs` |
//! | stat, statx, statfs, access, chmod, chown, utimensat, truncate | `status.rs` |

mod descriptors;
mod names;
mod open;
mod poll;
mod status;
mod transfer;

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::open::{AT_EMPTY_PATH, AT_FDCWD, PATH_MAX};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::fs::{File, InodeRef, Vfs};

impl<P: Platform> Call<'_, P> {
    /// Returns all files.
    fn vfs(&self) -> &'static Vfs<P> {
        self.kernel.vfs()
    }

    /// Returns the open file that an argument names.
    fn file_at(&self, index: usize) -> Result<Arc<File<P>>, Errno> {
        self.thread.process().file_table().get(self.arg_i32(index))
    }

    /// Reads the path that an argument points to.
    fn path(&self, index: usize) -> Result<Vec<u8>, Errno> {
        let at = self.arg(index);
        self.kernel.read_string(self.thread, at, PATH_MAX, Errno::ENAMETOOLONG)
    }

    /// Returns where the walk of `path` starts, relative to the descriptor that an argument names.
    fn start(&self, dir: usize, path: &[u8]) -> Result<InodeRef<P>, Errno> {
        let fd = self.arg_i32(dir);
        if path.first() == Some(&b'/') {
            return Ok(Arc::clone(self.vfs().root()));
        }
        if fd == AT_FDCWD {
            return Ok(self.cwd());
        }
        let file = self.thread.process().file_table().get(fd)?;
        match file.inode().directory() {
            Some(_) => Ok(Arc::clone(file.inode())),
            None => Err(Errno::ENOTDIR),
        }
    }

    fn cwd(&self) -> InodeRef<P> {
        self.thread.process().cwd()
    }

    /// Finds the file that the arguments `dir` and `dir + 1` name. With AT_EMPTY_PATH, an empty path
    /// (or, as since Linux 6.11, none) is the descriptor itself.
    fn inode_at(&self, dir: usize, flags: u32, follow: bool) -> Result<InodeRef<P>, Errno> {
        let may_be_empty = flags & AT_EMPTY_PATH != 0;
        let path = match self.arg(dir + 1) {
            0 if may_be_empty => Vec::new(),
            _ => self.path(dir + 1)?,
        };
        if path.is_empty() && may_be_empty {
            return match self.arg_i32(dir) {
                AT_FDCWD => Ok(self.cwd()),
                fd => Ok(Arc::clone(self.thread.process().file_table().get(fd)?.inode())),
            };
        }
        self.vfs().find(&self.start(dir, &path)?, &path, follow)
    }

    /// Gives a file the lowest free descriptor.
    fn install(&self, file: Arc<File<P>>, close_on_exec: bool) -> Outcome {
        let files = self.thread.process().file_table();
        let fd = files.insert(file, close_on_exec, 0, crate::fs::MAX_FILES)?;
        Ok(fd as u64)
    }
}
