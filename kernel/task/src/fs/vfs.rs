// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the one tree of files: a root and what is mounted in it.
//!
//! What is mounted where is decided at boot and never changes, so it needs no lock.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Machine;

use super::env::Env;
use super::inode::{FileId, InodeRef, New};
use super::pipe::Pipe;
use super::tmpfs::{Node, Tmpfs};

/// A file system mounted on a directory.
pub struct Mount<M: Machine> {
    /// Where, as /proc/mounts shows it.
    pub path: &'static str,
    /// The name of its kind, as /proc/mounts shows it.
    pub fs_type: &'static str,
    /// Its root.
    pub root: InodeRef<M>,
    /// The directory under it; `None` for the root of all.
    covered: Option<InodeRef<M>>,
}

/// All files.
pub struct Vfs<M: Machine> {
    env: Arc<Env<M>>,
    mounts: Vec<Mount<M>>,
    /// Files without names, of memfd_create.
    unnamed: Arc<Tmpfs<M>>,
    /// Device number of pipes, and inode number of the last one.
    pipe_dev: u64,
    last_pipe: AtomicU64,
}

impl<M: Machine> Vfs<M> {
    /// Starts a tree with its root file system.
    pub fn new(env: &Arc<Env<M>>, root: InodeRef<M>) -> Self {
        let mounts = alloc::vec![Mount { path: "/", fs_type: "rootfs", root, covered: None }];
        Self {
            env: Arc::clone(env),
            mounts,
            unnamed: Tmpfs::new(env, u64::MAX),
            pipe_dev: env.new_dev(),
            last_pipe: AtomicU64::new(0),
        }
    }

    /// Mounts a file system on the directory `path`, which is made if need be.
    ///
    /// # Errors
    ///
    /// ENOTDIR when something else is there, and what making it says.
    pub fn mount(
        &mut self,
        path: &'static str,
        fs_type: &'static str,
        root: InodeRef<M>,
    ) -> Result<(), Errno> {
        let top = Arc::clone(self.root());
        match self.make_dir(&top, path.as_bytes(), 0o755) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let covered = self.find(&top, path.as_bytes(), true)?;
        if covered.directory().is_none() {
            return Err(Errno::ENOTDIR);
        }
        self.mounts.push(Mount { path, fs_type, root, covered: Some(covered) });
        Ok(())
    }

    /// Returns what the files need from outside.
    pub fn env(&self) -> &Arc<Env<M>> {
        &self.env
    }

    /// Returns the root directory.
    pub fn root(&self) -> &InodeRef<M> {
        &self.mounts[0].root
    }

    /// Returns what is mounted, in the order of mounting.
    pub fn mounts(&self) -> &[Mount<M>] {
        &self.mounts
    }

    /// Makes a file without a name.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(super) fn create_unnamed(&self, mode: u32) -> Result<Arc<Node<M>>, Errno> {
        Node::create_unnamed(&self.unnamed, mode)
    }

    /// Makes a pipe without ends.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(super) fn create_pipe(&self) -> Result<Arc<Pipe<M>>, Errno> {
        let ino = self.last_pipe.fetch_add(1, Ordering::Relaxed) + 1;
        Pipe::new(&self.env, self.pipe_dev, ino)
    }

    /// Returns the root of what is mounted on `inode`, or itself.
    pub(super) fn mounted_on(&self, inode: InodeRef<M>) -> InodeRef<M> {
        let id = inode.id();
        let is_here =
            |mount: &&Mount<M>| mount.covered.as_ref().is_some_and(|covered| covered.id() == id);
        self.mounts.iter().find(is_here).map_or(inode, |mount| Arc::clone(&mount.root))
    }

    /// Returns the directory that `inode` covers if it is a mounted root, or itself.
    pub(super) fn covered_by(&self, inode: &InodeRef<M>) -> InodeRef<M> {
        let mount = self.mount_of_root(inode.id());
        let covered = mount.and_then(|mount| mount.covered.as_ref());
        Arc::clone(covered.unwrap_or(inode))
    }

    fn mount_of_root(&self, id: FileId) -> Option<&Mount<M>> {
        self.mounts.iter().find(|mount| mount.root.id() == id)
    }

    /// Tells whether something is mounted on, or the root of what is mounted is, `inode`.
    pub(super) fn is_mount_point(&self, inode: &InodeRef<M>) -> bool {
        self.mount_of_root(inode.id()).is_some()
    }

    /// Returns the path by which a file is shown, and whether that path leads to it no more.
    ///
    /// A rename of a directory above, while this walks up, may mix old and new names.
    pub fn path_of(&self, inode: &InodeRef<M>) -> (Vec<u8>, bool) {
        let is_deleted = inode.is_deleted();
        let mut names = Vec::new();
        let mut at = Arc::clone(inode);
        loop {
            at = self.covered_by(&at);
            if at.id() == self.root().id() {
                break;
            }
            match at.place() {
                Some((dir, name)) => {
                    names.push(name);
                    at = dir;
                }
                None => {
                    let label = inode.label().unwrap_or_else(|| Vec::from(b"/".as_slice()));
                    return (label, is_deleted);
                }
            }
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path, is_deleted)
    }

    /// Returns the path of a file as links of /proc show it.
    pub fn shown_path(&self, inode: &InodeRef<M>) -> Vec<u8> {
        let (mut path, is_deleted) = self.path_of(inode);
        if is_deleted {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// Makes a file that is to be found at boot: a directory that exists already is good enough.
    ///
    /// # Errors
    ///
    /// Those of the directory.
    pub(super) fn create_at(
        &self,
        dir: &InodeRef<M>,
        name: &[u8],
        new: New,
    ) -> Result<InodeRef<M>, Errno> {
        dir.directory().ok_or(Errno::ENOTDIR)?.create(name, new)
    }
}
