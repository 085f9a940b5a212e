// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what a file system shows of a file: [`Inode`], and of a directory: [`Directory`].
//!
//! Permissions are kept and shown but forbid nothing, as if everybody were root; the one exception, as for
//! root on Linux, is that a file without any x bit cannot be executed.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use abi::Errno;
use abi::open::{O_ACCMODE, O_RDONLY, O_RDWR, O_WRONLY};
use abi::stat::{FileTime, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, Stat, StatFs};
use hal::Machine;

use super::ops::FileOps;

/// A file, whatever file system it is on.
pub type InodeRef<M> = Arc<dyn Inode<M>>;

/// The name of a directory entry.
pub type Name = Vec<u8>;

/// Names a file of a machine: two inodes are the same if these are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileId {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// What an open asks for, out of its flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenMode {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Does not wait.
    pub nonblock: bool,
}

impl OpenMode {
    /// Reads the flags of open.
    pub fn of_flags(flags: u32) -> Self {
        let access = flags & O_ACCMODE;
        Self {
            read: matches!(access, O_RDONLY | O_RDWR),
            write: matches!(access, O_WRONLY | O_RDWR),
            nonblock: flags & abi::open::O_NONBLOCK != 0,
        }
    }
}

/// Where a symbolic link leads.
pub enum Link<M: Machine> {
    /// To a path.
    Path(Vec<u8>),
    /// To an open file or a program, whatever its path is by now (/proc/PID/fd, /proc/PID/exe).
    Inode(InodeRef<M>),
}

/// What chmod, chown and utimensat change; the rest stays.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AttrChange {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Time of the last read.
    pub atime: Option<FileTime>,
    /// Time of the last change of the content.
    pub mtime: Option<FileTime>,
}

/// A file: what it is, what it is called, and how it is opened.
pub trait Inode<M: Machine>: Send + Sync {
    /// Returns what stat tells.
    fn stat(&self) -> Stat;

    /// Returns which file it is.
    fn id(&self) -> FileId {
        let stat = self.stat();
        FileId { dev: stat.dev, ino: stat.ino }
    }

    /// Returns the type bits of the mode.
    fn kind(&self) -> u32 {
        self.stat().mode & S_IFMT
    }

    /// Changes metadata.
    ///
    /// # Errors
    ///
    /// EPERM where the file system makes its metadata up.
    fn change(&self, _change: &AttrChange) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Opens the file. Directories and links are not asked.
    ///
    /// # Errors
    ///
    /// ENXIO when there is nothing behind it.
    fn open(self: Arc<Self>, mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno>;

    /// Makes the file `len` bytes long.
    ///
    /// # Errors
    ///
    /// EINVAL when it is not a regular file; EFBIG, EIO, ENOMEM.
    fn truncate(&self, _len: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns where the link leads.
    ///
    /// # Errors
    ///
    /// EINVAL when it is not a symbolic link.
    fn link(&self) -> Result<Link<M>, Errno> {
        Err(Errno::EINVAL)
    }

    /// Returns the directory, if it is one.
    fn directory(&self) -> Option<&dyn Directory<M>> {
        None
    }

    /// Returns what statfs tells of the file system.
    fn stat_fs(&self) -> StatFs;

    /// Returns the directory that holds it and its name there; `None` for a root, and for a file
    /// that has no name any more.
    fn place(&self) -> Option<(InodeRef<M>, Name)> {
        None
    }

    /// Returns what /proc shows as the path of a file that never had a name.
    fn label(&self) -> Option<Name> {
        None
    }

    /// Tells whether it has lost its last name.
    fn is_deleted(&self) -> bool {
        false
    }

    /// Returns itself for a file system that looks for its own kind.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What a new entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum New {
    /// An empty regular file with these permissions.
    Regular(u32),
    /// An empty directory with these permissions.
    Directory(u32),
    /// A symbolic link.
    Symlink(Vec<u8>),
}

/// What a rename does with an entry that has the new name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// Fails.
    NoReplace,
    /// Gives it the old name.
    Exchange,
}

/// An entry of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Type bits of the mode.
    pub kind: u32,
    /// Where a listing goes on after it.
    pub next: u64,
    /// The name.
    pub name: Name,
}

/// A directory. Names have 1 to 255 bytes and are neither `.` nor `..`.
pub trait Directory<M: Machine> {
    /// Finds an entry.
    ///
    /// # Errors
    ///
    /// ENOENT.
    fn lookup(&self, name: &[u8]) -> Result<InodeRef<M>, Errno>;

    /// Returns the directory above, itself for a root.
    fn parent(&self) -> InodeRef<M>;

    /// Returns up to `max` entries that come after `after`, which is 0 or the `next` of an entry.
    fn entries(&self, after: u64, max: usize) -> Vec<DirEntry>;

    /// Makes an entry.
    ///
    /// # Errors
    ///
    /// EEXIST, ENOENT when the directory has been removed, ENOSPC, ENOMEM; EPERM when the file
    /// system decides itself what is in it.
    fn create(&self, _name: &[u8], _new: New) -> Result<InodeRef<M>, Errno> {
        Err(Errno::EPERM)
    }

    /// Gives a file another name.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::create`].
    fn link(&self, _name: &[u8], _file: InodeRef<M>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes an entry that is not a directory.
    ///
    /// # Errors
    ///
    /// ENOENT, EISDIR, EPERM.
    fn unlink(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// ENOENT, ENOTDIR, ENOTEMPTY, EPERM.
    fn rmdir(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Moves an entry to a directory of the same file system.
    ///
    /// # Errors
    ///
    /// ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EPERM; EINVAL for a move below itself.
    fn rename(
        &self,
        _name: &[u8],
        _to: InodeRef<M>,
        _new_name: &[u8],
        _mode: RenameMode,
    ) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
}

/// Tells whether a mode is a directory's.
pub fn is_dir(kind: u32) -> bool {
    kind & S_IFMT == S_IFDIR
}

/// Tells whether a mode is a regular file's.
pub fn is_regular(kind: u32) -> bool {
    kind & S_IFMT == S_IFREG
}

/// Tells whether a mode is a symbolic link's.
pub fn is_symlink(kind: u32) -> bool {
    kind & S_IFMT == S_IFLNK
}
