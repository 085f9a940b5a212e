// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes, moves and removes names by path.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::open::{RENAME_EXCHANGE, RENAME_NOREPLACE};
use hal::Machine;

use super::inode::{Directory, InodeRef, Link, Name, New, RenameMode, is_dir};
use super::path::{Last, Parent};
use super::vfs::Vfs;

impl<M: Machine> Vfs<M> {
    /// Makes a directory.
    ///
    /// # Errors
    ///
    /// EEXIST, and those of the walk and of the directory.
    pub fn make_dir(&self, start: &InodeRef<M>, path: &[u8], mode: u32) -> Result<(), Errno> {
        let parent = self.find_parent(start, path)?;
        let name = self.free_name(&parent, true)?;
        self.create_at(&parent.dir, name, New::Directory(mode & 0o1777)).map(|_| ())
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    ///
    /// ENOENT for an empty target, EEXIST, and those of the walk and of the directory.
    pub fn make_symlink(
        &self,
        start: &InodeRef<M>,
        path: &[u8],
        target: Vec<u8>,
    ) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        let parent = self.find_parent(start, path)?;
        let name = self.free_name(&parent, false)?;
        self.create_at(&parent.dir, name, New::Symlink(target)).map(|_| ())
    }

    /// Gives a file another name.
    ///
    /// # Errors
    ///
    /// EXDEV, EPERM for a directory, EEXIST, EMLINK, and those of the walk and of the directory.
    pub fn make_link(
        &self,
        file: InodeRef<M>,
        start: &InodeRef<M>,
        path: &[u8],
    ) -> Result<(), Errno> {
        let parent = self.find_parent(start, path)?;
        let name = self.free_name(&parent, false)?;
        if file.id().dev != parent.dir.id().dev {
            return Err(Errno::EXDEV);
        }
        directory(&parent)?.link(name, file)
    }

    /// Removes the name of a file that is not a directory.
    ///
    /// # Errors
    ///
    /// EISDIR, and those of the walk and of the directory.
    pub fn unlink(&self, start: &InodeRef<M>, path: &[u8]) -> Result<(), Errno> {
        let parent = self.find_parent(start, path)?;
        let Last::Name(name) = &parent.last else { return Err(Errno::EISDIR) };
        if parent.slash {
            let found = self.last(&parent)?;
            return Err(if is_dir(found.kind()) { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        directory(&parent)?.unlink(name)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// EINVAL for `.`, ENOTEMPTY, EBUSY for a mount point, and those of the walk and the directory.
    pub fn rmdir(&self, start: &InodeRef<M>, path: &[u8]) -> Result<(), Errno> {
        let parent = self.find_parent(start, path)?;
        let name = match &parent.last {
            Last::Name(name) => name,
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        };
        if self.is_mount_point(&self.last(&parent)?) {
            return Err(Errno::EBUSY);
        }
        directory(&parent)?.rmdir(name)
    }

    /// Moves a name.
    ///
    /// # Errors
    ///
    /// EXDEV, EBUSY for a mount point, EINVAL for a move below itself or flags it does not know,
    /// and those of the walk and of the directory.
    pub fn rename(
        &self,
        from: (&InodeRef<M>, &[u8]),
        to: (&InodeRef<M>, &[u8]),
        flags: u32,
    ) -> Result<(), Errno> {
        let mode = match flags {
            0 => RenameMode::Replace,
            RENAME_NOREPLACE => RenameMode::NoReplace,
            RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return Err(Errno::EINVAL),
        };
        let old_parent = self.find_parent(from.0, from.1)?;
        let new_parent = self.find_parent(to.0, to.1)?;
        if old_parent.dir.id().dev != new_parent.dir.id().dev {
            return Err(Errno::EXDEV);
        }
        let Last::Name(old_name) = &old_parent.last else { return Err(Errno::EBUSY) };
        let new_name = match &new_parent.last {
            Last::Name(name) => name,
            _ if mode == RenameMode::NoReplace => return Err(Errno::EEXIST),
            _ => return Err(Errno::EBUSY),
        };
        let old = self.last(&old_parent)?;
        let new = self.last(&new_parent).ok();
        let wants_dir = old_parent.slash || new_parent.slash && mode != RenameMode::Exchange;
        if wants_dir && !is_dir(old.kind()) {
            return Err(Errno::ENOTDIR);
        }
        if self.is_mount_point(&old) || new.is_some_and(|new| self.is_mount_point(&new)) {
            return Err(Errno::EBUSY);
        }
        let to = Arc::clone(&new_parent.dir);
        directory(&old_parent)?.rename(old_name, to, new_name, mode)
    }

    /// Returns the content of a symbolic link.
    ///
    /// # Errors
    ///
    /// EINVAL when it is not one.
    pub fn read_link(&self, inode: &InodeRef<M>) -> Result<Vec<u8>, Errno> {
        match inode.link()? {
            Link::Path(path) => Ok(path),
            Link::Inode(target) => Ok(self.shown_path(&target)),
        }
    }

    /// Returns the name at which something can be made.
    fn free_name<'p>(&self, parent: &'p Parent<M>, may_slash: bool) -> Result<&'p Name, Errno> {
        let Last::Name(name) = &parent.last else { return Err(Errno::EEXIST) };
        match self.last(parent) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) if parent.slash && !may_slash => Err(Errno::ENOENT),
            Err(Errno::ENOENT) => Ok(name),
            Err(error) => Err(error),
        }
    }
}

fn directory<M: Machine>(parent: &Parent<M>) -> Result<&dyn Directory<M>, Errno> {
    parent.dir.directory().ok_or(Errno::ENOTDIR)
}
