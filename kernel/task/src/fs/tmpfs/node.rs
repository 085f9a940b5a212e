// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines a file of tmpfs: its metadata and what it has.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::any::Any;

use abi::Errno;
use abi::stat::{FileTime, S_IFDIR, S_IFMT, Stat, StatFs};
use base::lock_level::InodeAttr;
use base::sync::SpinLock;
use base::{PAGE_SIZE, sync::SpinGuard};
use hal::Machine;

use super::{Content, Tmpfs};
use crate::fs::dev::Device;
use crate::fs::inode::{AttrChange, Directory, FileId, Inode, InodeRef, Link, Name, OpenMode};
use crate::fs::ops::FileOps;

/// Metadata.
pub struct Attr<M: Machine> {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names.
    pub nr_links: u32,
    /// Last read.
    pub atime: FileTime,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of anything.
    pub ctime: FileTime,
    /// The directory and the name that it was last given.
    pub(super) place: Option<(Weak<Node<M>>, Name)>,
    /// What /proc shows of a file that never had a name.
    label: Option<Name>,
}

impl<M: Machine> Attr<M> {
    /// Builds the metadata of a file that is made now and has no name yet.
    pub fn new(mode: u32, now: FileTime) -> Self {
        let nr_links = if mode & S_IFMT == S_IFDIR { 2 } else { 0 };
        Self {
            mode,
            uid: 0,
            gid: 0,
            nr_links,
            atime: now,
            mtime: now,
            ctime: now,
            place: None,
            label: None,
        }
    }

    /// Records a change of the content.
    pub(super) fn set_changed(&mut self, now: FileTime) {
        self.mtime = now;
        self.ctime = now;
    }
}

/// What a file has besides metadata.
pub enum Body<M: Machine> {
    /// Bytes.
    Regular(Arc<Content<M>>),
    /// Names, in the tree of the file system.
    Directory,
    /// Where it leads.
    Symlink(Box<[u8]>),
    /// A device and its number.
    Device(u64, Arc<dyn Device<M>>),
}

/// A file.
pub struct Node<M: Machine> {
    fs: Arc<Tmpfs<M>>,
    ino: u64,
    /// The type bits of the mode, which never change.
    kind: u32,
    attr: SpinLock<Attr<M>, InodeAttr>,
    body: Body<M>,
    me: Weak<Self>,
}

/// Bytes that a directory entry counts as (Linux, mm/shmem.c, BOGO_DIRENT_SIZE).
const ENTRY_BYTES: u64 = 20;

impl<M: Machine> Node<M> {
    /// Builds a file.
    pub(super) fn new(fs: &Arc<Tmpfs<M>>, ino: u64, attr: Attr<M>, body: Body<M>) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| {
            if let Body::Regular(content) = &body {
                fs.env().objects().add(content.object().id(), me.clone());
            }
            Self {
                fs: Arc::clone(fs),
                ino,
                kind: attr.mode & S_IFMT,
                attr: SpinLock::new(attr),
                body,
                me: me.clone(),
            }
        })
    }

    pub(super) fn fs(&self) -> &Arc<Tmpfs<M>> {
        &self.fs
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) fn kind_bits(&self) -> u32 {
        self.kind
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == S_IFDIR
    }

    /// Locks the metadata. The tree may be locked.
    pub(super) fn attr(&self) -> SpinGuard<'_, Attr<M>, InodeAttr> {
        self.attr.lock()
    }

    pub(super) fn me(&self) -> &Weak<Self> {
        &self.me
    }

    /// Sets what /proc shows as the path while it has no name.
    pub fn set_label(&self, label: Name) {
        self.attr().label = Some(label);
    }

    /// Returns the bytes of a regular file.
    pub fn content(&self) -> Option<&Arc<Content<M>>> {
        match &self.body {
            Body::Regular(content) => Some(content),
            _ => None,
        }
    }

    /// Returns size, and units of 512 bytes in use.
    fn sizes(&self) -> (u64, u64) {
        match &self.body {
            Body::Regular(content) => {
                let (in_memory, in_swap) = content.object().nr_pages();
                let blocks = (in_memory + in_swap) * (PAGE_SIZE as u64 / 512);
                (content.object().len_bytes(), blocks)
            }
            Body::Directory => {
                let nr_entries = self.fs.tree.read().nr_entries(self.ino) as u64;
                ((nr_entries + 2) * ENTRY_BYTES, 0)
            }
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Device(..) => (0, 0),
        }
    }
}

impl<M: Machine> Drop for Node<M> {
    fn drop(&mut self) {
        if let Body::Regular(content) = &self.body {
            self.fs.env().objects().remove(content.object().id());
        }
    }
}

impl<M: Machine> Inode<M> for Node<M> {
    fn stat(&self) -> Stat {
        let (size, blocks) = self.sizes();
        let rdev = if let Body::Device(rdev, _) = &self.body { *rdev } else { 0 };
        let attr = self.attr();
        Stat {
            dev: self.fs.dev,
            ino: self.ino,
            mode: attr.mode,
            nr_links: attr.nr_links,
            uid: attr.uid,
            gid: attr.gid,
            rdev,
            size,
            block_size: PAGE_SIZE as u32,
            blocks,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
        }
    }

    fn id(&self) -> FileId {
        FileId { dev: self.fs.dev, ino: self.ino }
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn change(&self, change: &AttrChange) -> Result<(), Errno> {
        let now = self.fs.env().now();
        let mut attr = self.attr();
        if let Some(mode) = change.mode {
            attr.mode = self.kind | mode & 0o7777;
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.atime = change.atime.unwrap_or(attr.atime);
        attr.mtime = change.mtime.unwrap_or(attr.mtime);
        attr.ctime = now;
        Ok(())
    }

    fn open(self: Arc<Self>, mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        match &self.body {
            Body::Regular(_) => Ok(self),
            Body::Device(_, device) => Arc::clone(device).open(mode),
            Body::Directory => Err(Errno::EISDIR),
            Body::Symlink(_) => Err(Errno::ELOOP),
        }
    }

    fn truncate(&self, len: u64) -> Result<(), Errno> {
        match &self.body {
            Body::Regular(content) => {
                content.truncate(self.fs.env(), len)?;
                self.attr().set_changed(self.fs.env().now());
                Ok(())
            }
            // As on Linux: O_TRUNC and truncate do nothing to a device.
            Body::Device(..) => Ok(()),
            Body::Directory => Err(Errno::EISDIR),
            Body::Symlink(_) => Err(Errno::EINVAL),
        }
    }

    fn link(&self) -> Result<Link<M>, Errno> {
        match &self.body {
            Body::Symlink(target) => Ok(Link::Path(target.to_vec())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn directory(&self) -> Option<&dyn Directory<M>> {
        self.is_dir().then_some(self as &dyn Directory<M>)
    }

    fn stat_fs(&self) -> StatFs {
        self.fs.stat_fs()
    }

    fn place(&self) -> Option<(InodeRef<M>, Name)> {
        let (dir, name) = self.attr().place.clone()?;
        Some((dir.upgrade()? as InodeRef<M>, name))
    }

    fn label(&self) -> Option<Name> {
        self.attr().label.clone()
    }

    fn is_deleted(&self) -> bool {
        self.attr().nr_links == 0
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
