// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file opens files.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::open::{
    MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_NOEXEC_SEAL, O_ACCMODE, O_CLOEXEC, O_CREAT,
    O_DIRECTORY, O_EXCL, O_LARGEFILE, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE,
    O_TRUNC, O_WRONLY,
};
use hal::Machine;

use super::file::File;
use super::inode::{Inode, InodeRef, Link, New, OpenMode, is_dir, is_regular, is_symlink};
use super::path::{Last, LinkCount};
use super::vfs::Vfs;

/// Heap that an open file takes at most.
const HEAP_PER_FILE: usize = 4 << 10;

/// What an open asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenHow {
    /// Flags of open.
    pub flags: u32,
    /// Permissions of a file that is made, the umask taken off.
    pub mode: u32,
}

impl OpenHow {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag == flag
    }

    fn check(&self) -> Result<(), Errno> {
        let is_tmpfile = self.has(O_TMPFILE);
        if is_tmpfile && (self.has(O_CREAT) || self.flags & O_ACCMODE == O_RDONLY) {
            return Err(Errno::EINVAL);
        }
        // O_TMPFILE without O_DIRECTORY; and, since Linux 6.4, a directory cannot be created.
        let is_half = self.flags & O_TMPFILE == O_TMPFILE & !O_DIRECTORY;
        if is_half || (self.has(O_CREAT | O_DIRECTORY) && !self.has(O_PATH)) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

impl<M: Machine> Vfs<M> {
    /// Opens the file that `path` names, from `start` if it is relative.
    ///
    /// # Errors
    ///
    /// Those of the walk; EEXIST, EISDIR, ELOOP, EINVAL, ENXIO, ENOMEM.
    pub fn open(
        &self,
        start: &InodeRef<M>,
        path: &[u8],
        how: OpenHow,
    ) -> Result<Arc<File<M>>, Errno> {
        how.check()?;
        if how.has(O_PATH) {
            // Of the other flags these count only.
            let flags = how.flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
            let inode = self.find(start, path, !how.has(O_NOFOLLOW))?;
            if how.has(O_DIRECTORY) && !is_dir(inode.kind()) {
                return Err(Errno::ENOTDIR);
            }
            return Ok(File::new(self.env(), inode, None, flags));
        }
        if how.has(O_TMPFILE) {
            return self.open_tmpfile(start, path, how);
        }
        let (inode, is_new) = match how.has(O_CREAT) {
            true => self.find_or_create(start, path, how)?,
            false => (self.find(start, path, !how.has(O_NOFOLLOW))?, false),
        };
        self.open_inode(inode, how.flags, is_new)
    }

    /// Opens a file that has been found.
    ///
    /// # Errors
    ///
    /// EISDIR, ENOTDIR, ELOOP, ENXIO, and those of [`Inode::open`].
    pub fn open_inode(
        &self,
        inode: InodeRef<M>,
        flags: u32,
        is_new: bool,
    ) -> Result<Arc<File<M>>, Errno> {
        let kind = inode.kind();
        let mode = OpenMode::of_flags(flags);
        if flags & O_DIRECTORY != 0 && !is_dir(kind) {
            return Err(Errno::ENOTDIR);
        }
        if is_symlink(kind) {
            return Err(Errno::ELOOP);
        }
        if is_dir(kind) {
            let wants_more = mode.write || flags & (O_CREAT | O_TRUNC) != 0;
            return match wants_more {
                true => Err(Errno::EISDIR),
                false => self
                    .env()
                    .reserve(HEAP_PER_FILE)
                    .map(|()| File::new(self.env(), inode, None, flags)),
            };
        }
        self.env().reserve(HEAP_PER_FILE)?;
        let ops = Arc::clone(&inode).open(mode)?;
        if flags & O_TRUNC != 0 && !is_new && is_regular(kind) {
            inode.truncate(0)?;
        }
        Ok(File::new(self.env(), inode, Some(ops), flags | O_LARGEFILE))
    }

    fn find_or_create(
        &self,
        start: &InodeRef<M>,
        path: &[u8],
        how: OpenHow,
    ) -> Result<(InodeRef<M>, bool), Errno> {
        let mut links = LinkCount::default();
        let (mut start, mut path) = (Arc::clone(start), Vec::from(path));
        loop {
            let parent = self.walk(&start, &path, &mut links)?;
            let Last::Name(name) = &parent.last else {
                return Err(if how.has(O_EXCL) { Errno::EEXIST } else { Errno::EISDIR });
            };
            if parent.slash {
                return Err(Errno::EISDIR);
            }
            match self.last(&parent) {
                Err(Errno::ENOENT) => {
                    match self.create_at(&parent.dir, name, New::Regular(how.mode & 0o7777)) {
                        // Made by somebody else meanwhile: look again.
                        Err(Errno::EEXIST) => {}
                        other => return Ok((other?, true)),
                    }
                }
                Err(error) => return Err(error),
                Ok(_) if how.has(O_EXCL) => return Err(Errno::EEXIST),
                Ok(found) if is_symlink(found.kind()) && !how.has(O_NOFOLLOW) => {
                    links.add()?;
                    match found.link()? {
                        Link::Inode(inode) => return Ok((inode, false)),
                        Link::Path(target) => (start, path) = (parent.dir, target),
                    }
                }
                Ok(found) => return Ok((found, false)),
            }
        }
    }

    fn open_tmpfile(
        &self,
        start: &InodeRef<M>,
        path: &[u8],
        how: OpenHow,
    ) -> Result<Arc<File<M>>, Errno> {
        let dir = self.find(start, path, true)?;
        if dir.directory().is_none() {
            return Err(Errno::ENOTDIR);
        }
        // The file counts in the pool of its directory's file system.
        let node = dir.as_any().downcast::<super::tmpfs::Node<M>>();
        let node = node.map_err(|_| Errno::EOPNOTSUPP)?.create_beside(how.mode & 0o7777)?;
        let ops = Arc::clone(&node).open(OpenMode::of_flags(how.flags))?;
        Ok(File::new(self.env(), node, Some(ops), how.flags | O_LARGEFILE))
    }

    /// Makes a pipe; returns the end to read from and the end to write to. Of the flags, O_NONBLOCK
    /// counts.
    ///
    /// # Errors
    ///
    /// EINVAL for flags that it does not know, ENOMEM.
    pub fn open_pipe(&self, flags: u32) -> Result<[Arc<File<M>>; 2], Errno> {
        if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        let pipe = self.create_pipe()?;
        let end = |access| {
            let flags = access | flags & O_NONBLOCK;
            let ops = Arc::clone(&pipe).open(OpenMode::of_flags(flags))?;
            let inode = Arc::clone(&pipe) as InodeRef<M>;
            Ok::<_, Errno>(File::new(self.env(), inode, Some(ops), flags))
        };
        Ok([end(O_RDONLY)?, end(O_WRONLY)?])
    }

    /// Makes a file in memory that has no name, for memfd_create.
    ///
    /// # Errors
    ///
    /// EINVAL for flags or a name that it does not know, ENOMEM.
    pub fn open_memfd(&self, name: &[u8], flags: u32) -> Result<Arc<File<M>>, Errno> {
        const PREFIX: &[u8] = b"/memfd:";
        let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
        let both = MFD_NOEXEC_SEAL | MFD_EXEC;
        let is_too_long = name.len() + PREFIX.len() - 1 > abi::open::NAME_MAX;
        if flags & !known != 0 || flags & both == both || is_too_long {
            return Err(Errno::EINVAL);
        }
        let mode = if flags & MFD_NOEXEC_SEAL != 0 { 0o666 } else { 0o777 };
        let node = self.create_unnamed(mode)?;
        node.set_label([PREFIX, name].concat());
        let ops = Arc::clone(&node).open(OpenMode::of_flags(O_RDWR))?;
        Ok(File::new(self.env(), node, Some(ops), O_RDWR | O_LARGEFILE))
    }
}
