// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file walks paths.
//!
//! As on Linux (fs/namei.c): empty components count for nothing, a last one that ends in a slash
//! must be a directory, at most 40 symbolic links are followed, and a mounted file system covers
//! the directory that it is mounted on.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::open::NAME_MAX;
use hal::Machine;

use super::inode::{InodeRef, Link, Name, is_dir, is_symlink};
use super::vfs::Vfs;

/// Symbolic links on the way of one walk.
const MAX_LINKS: u32 = 40;

/// What a path ends in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Last {
    /// A name, which may or may not exist.
    Name(Name),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Nothing: the path is `/`.
    Root,
}

/// The directory that a path's last component is to be looked for in.
pub struct Parent<M: Machine> {
    /// It.
    pub dir: InodeRef<M>,
    /// The last component.
    pub last: Last,
    /// The path ends in a slash.
    pub slash: bool,
}

/// Counts the links of one walk.
#[derive(Default)]
pub(super) struct LinkCount(u32);

impl LinkCount {
    pub fn add(&mut self) -> Result<(), Errno> {
        self.0 += 1;
        if self.0 > MAX_LINKS { Err(Errno::ELOOP) } else { Ok(()) }
    }
}

impl<M: Machine> Vfs<M> {
    /// Finds the file that `path` names, from `start` if it is relative. A last symbolic link is
    /// followed if `follow`.
    ///
    /// # Errors
    ///
    /// ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG.
    pub fn find(
        &self,
        start: &InodeRef<M>,
        path: &[u8],
        follow: bool,
    ) -> Result<InodeRef<M>, Errno> {
        let mut links = LinkCount::default();
        let (mut start, mut path) = (Arc::clone(start), Vec::from(path));
        loop {
            let parent = self.walk(&start, &path, &mut links)?;
            let found = self.last(&parent)?;
            if is_symlink(found.kind()) && (follow || parent.slash) {
                links.add()?;
                match found.link()? {
                    Link::Inode(inode) => return must_be_dir(inode, parent.slash),
                    Link::Path(mut target) => {
                        target.extend(parent.slash.then_some(b'/'));
                        (start, path) = (parent.dir, target);
                        continue;
                    }
                }
            }
            return must_be_dir(found, parent.slash);
        }
    }

    /// Finds the directory that the last component of `path` is in; that one is not looked up.
    ///
    /// # Errors
    ///
    /// Those of [`Vfs::find`].
    pub fn find_parent(&self, start: &InodeRef<M>, path: &[u8]) -> Result<Parent<M>, Errno> {
        self.walk(start, path, &mut LinkCount::default())
    }

    /// Walks all components of `path` but the last.
    pub(super) fn walk(
        &self,
        start: &InodeRef<M>,
        path: &[u8],
        links: &mut LinkCount,
    ) -> Result<Parent<M>, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut dir = Arc::clone(if path[0] == b'/' { self.root() } else { start });
        let mut rest = Vec::from(path);
        loop {
            let Some((name, behind)) = split(&rest) else {
                return Ok(Parent { dir, last: Last::Root, slash: true });
            };
            if dir.directory().is_none() {
                return Err(Errno::ENOTDIR);
            }
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            if behind.iter().all(|byte| *byte == b'/') {
                let last = match name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    name => Last::Name(Name::from(name)),
                };
                return Ok(Parent { dir, last, slash: !behind.is_empty() });
            }
            let next = self.step(&dir, name)?;
            if !is_symlink(next.kind()) {
                (dir, rest) = (next, Vec::from(behind));
                continue;
            }
            links.add()?;
            match next.link()? {
                Link::Inode(inode) => (dir, rest) = (inode, Vec::from(behind)),
                Link::Path(mut target) => {
                    if target.first() == Some(&b'/') {
                        dir = Arc::clone(self.root());
                    }
                    target.extend_from_slice(behind);
                    rest = target;
                }
            }
        }
    }

    /// Looks the last component up, without following it.
    pub(super) fn last(&self, parent: &Parent<M>) -> Result<InodeRef<M>, Errno> {
        match &parent.last {
            Last::Name(name) => self.step(&parent.dir, name),
            Last::Dot | Last::Root => self.step(&parent.dir, b"."),
            Last::DotDot => self.step(&parent.dir, b".."),
        }
    }

    /// Looks one name up.
    fn step(&self, dir: &InodeRef<M>, name: &[u8]) -> Result<InodeRef<M>, Errno> {
        let directory = dir.directory().ok_or(Errno::ENOTDIR)?;
        match name {
            b"." => Ok(Arc::clone(dir)),
            b".." => Ok(self.up(dir)),
            name => Ok(self.mounted_on(directory.lookup(name)?)),
        }
    }

    fn up(&self, dir: &InodeRef<M>) -> InodeRef<M> {
        let below = self.covered_by(dir);
        match below.directory() {
            Some(directory) => self.mounted_on(directory.parent()),
            None => below,
        }
    }
}

/// Splits the first name off; the rest keeps its leading slashes. `None` without a name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|byte| *byte != b'/')?;
    let path = &path[start..];
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    Some(path.split_at(end))
}

fn must_be_dir<M: Machine>(inode: InodeRef<M>, slash: bool) -> Result<InodeRef<M>, Errno> {
    if slash && !is_dir(inode.kind()) { Err(Errno::ENOTDIR) } else { Ok(inode) }
}
