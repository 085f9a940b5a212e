// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes file systems out of functions: the fixed part of procfs, and sysfs.
//!
//! The tree is built once and never changes. A text file is a function that makes the text; who
//! opens it gets the text of the moment of its first read, and again of each read from offset 0.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;

use abi::Errno;
use abi::stat::{FileTime, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, SYSFS_MAGIC, Stat, StatFs};
use base::PAGE_SIZE;
use base::lock_level::Inode as InodeLevel;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Machine;

use super::env::Env;
use super::inode::{DirEntry, Directory, FileId, Inode, InodeRef, Link, Name, OpenMode};
use super::io::{Sink, Source, put_counted};
use super::ops::{FileOps, WriteAt, Written};

/// Makes a text.
pub type Show = Box<dyn Fn() -> Result<Vec<u8>, Errno> + Send + Sync>;
/// Takes what was written in one go.
pub type Store = Box<dyn Fn(&[u8]) -> Result<(), Errno> + Send + Sync>;

/// What a tree is built from.
pub enum Spec {
    /// A directory.
    Dir(Vec<(&'static str, Spec)>),
    /// A file that can be read.
    Text(Show),
    /// A file that can be read and written.
    Setting(Show, Store),
    /// A file that can be written.
    Trigger(Store),
    /// A symbolic link.
    Link(&'static str),
}

/// Where a node is: its directory and its name there.
pub struct Place<M: Machine> {
    /// Its inode number.
    pub ino: u64,
    /// Its directory; `None` for the root.
    pub parent: Option<Weak<SynthDir<M>>>,
    /// Its name.
    pub name: Name,
}

impl<M: Machine> Clone for Place<M> {
    fn clone(&self) -> Self {
        Self { ino: self.ino, parent: self.parent.clone(), name: self.name.clone() }
    }
}

/// A file system made of functions.
pub struct Synthetic<M: Machine> {
    env: Arc<Env<M>>,
    dev: u64,
    magic: u64,
    made: FileTime,
    last_ino: AtomicU64,
}

impl<M: Machine> Synthetic<M> {
    /// Starts a file system of the kind with number `magic`.
    pub fn new(env: &Arc<Env<M>>, magic: u64) -> Arc<Self> {
        Arc::new(Self {
            env: Arc::clone(env),
            dev: env.new_dev(),
            magic,
            made: env.now(),
            last_ino: AtomicU64::new(0),
        })
    }

    /// Returns an inode number that no other node has.
    pub fn new_ino(&self) -> u64 {
        self.last_ino.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Builds a tree, and returns its root.
    pub fn build(self: &Arc<Self>, entries: Vec<(&'static str, Spec)>) -> Arc<SynthDir<M>> {
        let place = Place { ino: self.new_ino(), parent: None, name: Name::new() };
        SynthDir::new(self, place, entries)
    }

    /// Returns what stat tells of a node.
    pub fn stat(&self, ino: u64, mode: u32) -> Stat {
        Stat {
            dev: self.dev,
            ino,
            mode,
            nr_links: if mode & S_IFMT == S_IFDIR { 2 } else { 1 },
            block_size: 1024,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            ..Stat::default()
        }
    }

    /// Returns what statfs tells.
    pub fn stat_fs(&self) -> StatFs {
        StatFs {
            magic: self.magic,
            block_size: PAGE_SIZE as u64,
            dev: self.dev,
            name_max: abi::open::NAME_MAX as u64,
            ..StatFs::default()
        }
    }

    /// Returns what the files need from outside.
    pub fn env(&self) -> &Arc<Env<M>> {
        &self.env
    }
}

/// A directory.
pub struct SynthDir<M: Machine> {
    fs: Arc<Synthetic<M>>,
    place: Place<M>,
    entries: BTreeMap<&'static [u8], InodeRef<M>>,
    me: Weak<Self>,
}

impl<M: Machine> SynthDir<M> {
    fn new(fs: &Arc<Synthetic<M>>, place: Place<M>, specs: Vec<(&'static str, Spec)>) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| {
            let node = |(name, spec): (&'static str, Spec)| {
                let parent = Some(me.clone());
                let place = Place { ino: fs.new_ino(), parent, name: Name::from(name) };
                let inode: InodeRef<M> = match spec {
                    Spec::Dir(specs) => Self::new(fs, place, specs),
                    Spec::Text(show) => SynthFile::new(fs, place, Body::Text(show, None)),
                    Spec::Setting(show, store) => {
                        SynthFile::new(fs, place, Body::Text(show, Some(store)))
                    }
                    Spec::Trigger(store) => SynthFile::new(fs, place, Body::Trigger(store)),
                    Spec::Link(target) => SynthFile::new(fs, place, Body::Link(target)),
                };
                (name.as_bytes(), inode)
            };
            let entries = specs.into_iter().map(node).collect();
            Self { fs: Arc::clone(fs), place, entries, me: me.clone() }
        })
    }
}

impl<M: Machine> Inode<M> for SynthDir<M> {
    fn stat(&self) -> Stat {
        self.fs.stat(self.place.ino, S_IFDIR | 0o555)
    }

    fn id(&self) -> FileId {
        FileId { dev: self.fs.dev, ino: self.place.ino }
    }

    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        Err(Errno::EISDIR)
    }

    fn directory(&self) -> Option<&dyn Directory<M>> {
        Some(self)
    }

    fn stat_fs(&self) -> StatFs {
        self.fs.stat_fs()
    }

    fn place(&self) -> Option<(InodeRef<M>, Name)> {
        place_of(&self.place)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Returns the directory and the name of a node, `None` for a root.
pub fn place_of<M: Machine>(place: &Place<M>) -> Option<(InodeRef<M>, Name)> {
    let parent = place.parent.as_ref()?.upgrade()?;
    Some((parent as InodeRef<M>, place.name.clone()))
}

impl<M: Machine> Directory<M> for SynthDir<M> {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef<M>, Errno> {
        self.entries.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn parent(&self) -> InodeRef<M> {
        let parent = self.place.parent.as_ref().and_then(Weak::upgrade);
        let me = || self.me.upgrade().expect("a directory in use is alive");
        parent.unwrap_or_else(me)
    }

    fn entries(&self, after: u64, max: usize) -> Vec<DirEntry> {
        let numbered = (3u64..).zip(self.entries.iter());
        let entry = |(next, (name, inode)): (u64, (&&[u8], &InodeRef<M>))| DirEntry {
            ino: inode.id().ino,
            kind: inode.kind(),
            next,
            name: Name::from(*name),
        };
        numbered.filter(|(next, _)| *next > after).take(max).map(entry).collect()
    }
}

enum Body {
    Text(Show, Option<Store>),
    Trigger(Store),
    Link(&'static str),
}

/// A file or a link.
struct SynthFile<M: Machine> {
    fs: Arc<Synthetic<M>>,
    place: Place<M>,
    body: Body,
}

impl<M: Machine> SynthFile<M> {
    fn new(fs: &Arc<Synthetic<M>>, place: Place<M>, body: Body) -> Arc<Self> {
        Arc::new(Self { fs: Arc::clone(fs), place, body })
    }

    fn mode(&self) -> u32 {
        match &self.body {
            Body::Text(_, None) => S_IFREG | 0o444,
            Body::Text(_, Some(_)) => S_IFREG | 0o644,
            Body::Trigger(_) => S_IFREG | 0o200,
            Body::Link(_) => S_IFLNK | 0o777,
        }
    }
}

impl<M: Machine> Inode<M> for SynthFile<M> {
    fn stat(&self) -> Stat {
        self.fs.stat(self.place.ino, self.mode())
    }

    fn open(self: Arc<Self>, mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        match &self.body {
            // sysfs asks its files even when root opens them (fs/kernfs/file.c).
            Body::Text(_, None) if mode.write && self.fs.magic == SYSFS_MAGIC => Err(Errno::EACCES),
            // Elsewhere root may open any file for writing; the write then fails.
            Body::Text(..) | Body::Trigger(_) => {
                Ok(Arc::new(OpenText { file: self, text: SnapShot::default() }))
            }
            Body::Link(_) if mode.write => Err(Errno::EACCES),
            Body::Link(_) => Err(Errno::ELOOP),
        }
    }

    /// O_TRUNC does nothing: shells write settings with it.
    fn truncate(&self, _len: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn link(&self) -> Result<Link<M>, Errno> {
        match &self.body {
            Body::Link(target) => Ok(Link::Path(Vec::from(target.as_bytes()))),
            Body::Text(..) | Body::Trigger(_) => Err(Errno::EINVAL),
        }
    }

    fn stat_fs(&self) -> StatFs {
        self.fs.stat_fs()
    }

    fn place(&self) -> Option<(InodeRef<M>, Name)> {
        place_of(&self.place)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The text that the reads of one open file are parts of.
pub struct SnapShot(SpinLock<Option<Arc<[u8]>>, InodeLevel>);

impl Default for SnapShot {
    fn default() -> Self {
        Self(SpinLock::new(None))
    }
}

impl SnapShot {
    /// Reads from `at` on; `show` makes the text when there is none yet, or `at` is 0.
    ///
    /// # Errors
    ///
    /// What `show` says; EFAULT.
    pub fn read(
        &self,
        at: u64,
        to: &mut dyn Sink,
        show: impl FnOnce() -> Result<Vec<u8>, Errno>,
    ) -> Result<usize, Errno> {
        let kept = if at == 0 { None } else { self.0.lock().clone() };
        let text = match kept {
            Some(text) => text,
            None => {
                let text: Arc<[u8]> = show()?.into();
                *self.0.lock() = Some(Arc::clone(&text));
                text
            }
        };
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
        let len = (text.len() - start).min(to.room());
        put_counted(to, &text[start..start + len])
    }
}

struct OpenText<M: Machine> {
    file: Arc<SynthFile<M>>,
    text: SnapShot,
}

impl<M: Machine> FileOps<M> for OpenText<M> {
    fn read(&self, at: u64, to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        match &self.file.body {
            Body::Text(show, _) => self.text.read(at, to, show),
            // As Linux's files of /proc without a read function (fs/proc/inode.c).
            Body::Trigger(_) => Err(Errno::EIO),
            Body::Link(_) => Err(Errno::EINVAL),
        }
    }

    fn write(&self, at: WriteAt, from: &mut dyn Source, _nonblock: bool) -> Result<Written, Errno> {
        let (Body::Text(_, Some(store)) | Body::Trigger(store)) = &self.file.body else {
            return Err(Errno::EIO);
        };
        let mut bytes = self.file.fs.env.buffer(from.left().min(PAGE_SIZE))?;
        from.take(&mut bytes)?;
        store(&bytes)?;
        let start = if let WriteAt::Offset(offset) = at { offset } else { 0 };
        Ok(Written { len: bytes.len(), end: start + bytes.len() as u64 })
    }
}
