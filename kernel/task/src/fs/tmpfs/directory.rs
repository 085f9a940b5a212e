// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes, moves and removes names.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::stat::{FileTime, S_IFDIR, S_IFLNK, S_IFREG};
use hal::Machine;

use super::node::{Attr, Body, Node};
use super::tree::Tree;
use super::{Content, Tmpfs};
use crate::fs::dev::Device;
use crate::fs::inode::{DirEntry, Directory, InodeRef, Name, New, RenameMode};

/// Heap that a new file takes at most: the node, the entry, its object, a symbolic link.
const HEAP_PER_FILE: usize = 8 << 10;

/// Most names of one file.
const MAX_LINKS: u32 = 65_000;

impl<M: Machine> Node<M> {
    /// Makes a device's entry in this directory.
    ///
    /// # Errors
    ///
    /// EEXIST, ENOENT, ENOMEM.
    pub fn create_device(
        &self,
        name: &[u8],
        mode: u32,
        rdev: u64,
        device: Arc<dyn Device<M>>,
    ) -> Result<(), Errno> {
        self.add(name, mode, Body::Device(rdev, device)).map(|_| ())
    }

    /// Makes a file that has no name, on the same file system (O_TMPFILE).
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub fn create_beside(&self, mode: u32) -> Result<Arc<Self>, Errno> {
        Self::create_unnamed(self.fs(), mode)
    }

    /// Makes a file that has no name (memfd).
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub fn create_unnamed(fs: &Arc<Tmpfs<M>>, mode: u32) -> Result<Arc<Self>, Errno> {
        fs.env.reserve(HEAP_PER_FILE)?;
        let body = Body::Regular(Content::new(&fs.env, &fs.pool)?);
        Ok(Node::new(fs, fs.new_ino(), Attr::new(S_IFREG | mode, fs.env.now()), body))
    }

    fn add(&self, name: &[u8], mode: u32, body: Body<M>) -> Result<Arc<Self>, Errno> {
        let fs = self.fs();
        fs.env.reserve(HEAP_PER_FILE)?;
        let now = fs.env.now();
        let node = Node::new(fs, fs.new_ino(), Attr::new(mode, now), body);
        let mut tree = fs.tree.write();
        tree.check_free(self.ino(), name)?;
        self.attach(&mut tree, name, &node, now);
        Ok(node)
    }

    /// Gives a file a name in this directory, where no entry has it.
    fn attach(&self, tree: &mut Tree<M>, name: &[u8], node: &Arc<Self>, now: FileTime) {
        tree.insert(self.ino(), name, node);
        let mut attr = node.attr();
        // A directory's own two links are counted from the start.
        attr.nr_links += !node.is_dir() as u32;
        attr.place = Some((self.me().clone(), Name::from(name)));
        attr.ctime = now;
        drop(attr);
        let mut dir = self.attr();
        dir.nr_links += node.is_dir() as u32;
        dir.set_changed(now);
    }

    /// Takes a name away, for a move or for good.
    fn detach(&self, tree: &mut Tree<M>, name: &[u8], now: FileTime) -> Arc<Self> {
        let node = tree.remove(self.ino(), name);
        let mut attr = node.attr();
        attr.nr_links -= !node.is_dir() as u32;
        let is_last = attr.nr_links == 0;
        let is_here =
            |place: &(alloc::sync::Weak<Self>, Name)| place.0.ptr_eq(self.me()) && place.1 == name;
        // A file without names keeps its last one, which /proc shows with "(deleted)".
        if !is_last && attr.place.as_ref().is_some_and(is_here) && !node.is_dir() {
            attr.place = None;
        }
        attr.ctime = now;
        drop(attr);
        let mut dir = self.attr();
        dir.nr_links -= node.is_dir() as u32;
        dir.set_changed(now);
        drop(dir);
        node
    }

    /// Takes a name away that is not needed any more. What comes back is to be dropped with the
    /// tree unlocked.
    #[must_use = "dropping the last reference to a file may sleep"]
    fn remove(&self, tree: &mut Tree<M>, name: &[u8], now: FileTime) -> [Option<Arc<Self>>; 2] {
        let node = self.detach(tree, name, now);
        let entries = match node.is_dir() {
            true => {
                node.attr().nr_links = 0;
                tree.forget(node.ino())
            }
            false => None,
        };
        [Some(node), entries]
    }
}

/// Judges whether a rename may put `old` in the place of `new`.
fn check_replace<M: Machine>(tree: &Tree<M>, old: &Node<M>, new: &Node<M>) -> Result<(), Errno> {
    match (old.is_dir(), new.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        (true, true) if tree.nr_entries(new.ino()) != 0 => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}

impl<M: Machine> Directory<M> for Node<M> {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef<M>, Errno> {
        let tree = self.fs().tree.read();
        Ok(Arc::clone(tree.lookup(self.ino(), name)?) as InodeRef<M>)
    }

    fn parent(&self) -> InodeRef<M> {
        let parent = self.fs().tree.read().parent(self.ino());
        match parent.or_else(|| self.me().upgrade()) {
            Some(node) => node,
            None => self.fs().root(),
        }
    }

    fn entries(&self, after: u64, max: usize) -> Vec<DirEntry> {
        self.fs().tree.read().list(self.ino(), after, max)
    }

    fn create(&self, name: &[u8], new: New) -> Result<InodeRef<M>, Errno> {
        let (mode, body) = match new {
            New::Regular(mode) => {
                (S_IFREG | mode, Body::Regular(Content::new(&self.fs().env, &self.fs().pool)?))
            }
            New::Directory(mode) => (S_IFDIR | mode, Body::Directory),
            New::Symlink(target) => (S_IFLNK | 0o777, Body::Symlink(target.into())),
        };
        Ok(self.add(name, mode, body)?)
    }

    fn link(&self, name: &[u8], file: InodeRef<M>) -> Result<(), Errno> {
        let node = file.as_any().downcast::<Self>().map_err(|_| Errno::EXDEV)?;
        if node.is_dir() {
            return Err(Errno::EPERM);
        }
        self.fs().env.reserve(HEAP_PER_FILE)?;
        let now = self.fs().env.now();
        let mut tree = self.fs().tree.write();
        tree.check_free(self.ino(), name)?;
        let nr_links = node.attr().nr_links;
        match nr_links {
            // Removed meanwhile: it does not come back.
            0 => Err(Errno::ENOENT),
            MAX_LINKS.. => Err(Errno::EMLINK),
            _ => {
                self.attach(&mut tree, name, &node, now);
                Ok(())
            }
        }
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        let now = self.fs().env.now();
        let mut tree = self.fs().tree.write();
        if tree.lookup(self.ino(), name)?.is_dir() {
            return Err(Errno::EISDIR);
        }
        let gone = self.remove(&mut tree, name, now);
        drop(tree);
        drop(gone);
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<(), Errno> {
        let now = self.fs().env.now();
        let mut tree = self.fs().tree.write();
        let node = tree.lookup(self.ino(), name)?;
        if !node.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if tree.nr_entries(node.ino()) != 0 {
            return Err(Errno::ENOTEMPTY);
        }
        let gone = self.remove(&mut tree, name, now);
        drop(tree);
        drop(gone);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: InodeRef<M>,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<(), Errno> {
        let to = to.as_any().downcast::<Self>().map_err(|_| Errno::EXDEV)?;
        self.fs().env.reserve(HEAP_PER_FILE)?;
        let now = self.fs().env.now();
        let mut tree = self.fs().tree.write();
        let old = Arc::clone(tree.lookup(self.ino(), name)?);
        let new = match tree.lookup(to.ino(), new_name) {
            Ok(node) => Some(Arc::clone(node)),
            // The directory itself may be gone, too.
            Err(_) => tree.check_free(to.ino(), new_name).map(|()| None)?,
        };
        if old.is_dir() && tree.is_below(to.ino(), old.ino()) {
            return Err(Errno::EINVAL);
        }
        if let Some(new) = &new {
            match mode {
                RenameMode::NoReplace => return Err(Errno::EEXIST),
                RenameMode::Exchange if new.is_dir() && tree.is_below(self.ino(), new.ino()) => {
                    return Err(Errno::EINVAL);
                }
                _ if Arc::ptr_eq(&old, new) => return Ok(()),
                RenameMode::Exchange => {}
                RenameMode::Replace => check_replace(&tree, &old, new)?,
            }
        } else if mode == RenameMode::Exchange {
            return Err(Errno::ENOENT);
        }
        let gone = match (mode, &new) {
            (RenameMode::Exchange, Some(new)) => {
                self.detach(&mut tree, name, now);
                to.detach(&mut tree, new_name, now);
                self.attach(&mut tree, name, new, now);
                None
            }
            (_, Some(_)) => {
                let gone = to.remove(&mut tree, new_name, now);
                self.detach(&mut tree, name, now);
                Some(gone)
            }
            (_, None) => {
                self.detach(&mut tree, name, now);
                None
            }
        };
        to.attach(&mut tree, new_name, &old, now);
        drop(tree);
        drop((gone, old, new));
        Ok(())
    }
}
