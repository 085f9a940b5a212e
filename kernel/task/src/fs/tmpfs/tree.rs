// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the names of a tmpfs: which name in which directory leads to which file.
//!
//! Directories are found by inode number. One that has been removed is not found any more, so
//! nothing can be made in it, however many programs still have it open.
//!
//! Entries of a directory are numbered as they are made, and listed in that order: a listing goes
//! on behind the number of the last entry it returned, whatever was removed meanwhile.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use hal::Machine;

use super::ROOT_INO;
use super::node::Node;
use crate::fs::inode::{DirEntry, Name};

/// An entry.
struct Entry<M: Machine> {
    node: Arc<Node<M>>,
    /// Its number in the order of the directory.
    number: u64,
}

/// A directory's entries.
struct Entries<M: Machine> {
    node: Arc<Node<M>>,
    /// Inode number of the directory above; of itself for the root.
    parent: u64,
    by_name: BTreeMap<Name, Entry<M>>,
    order: BTreeMap<u64, Name>,
    last_number: u64,
}

/// Numbers below this stand for `.` and `..`.
const FIRST_NUMBER: u64 = 3;

/// All names of one file system.
pub(super) struct Tree<M: Machine> {
    dirs: BTreeMap<u64, Entries<M>>,
}

impl<M: Machine> Tree<M> {
    pub fn new() -> Self {
        Self { dirs: BTreeMap::new() }
    }

    pub fn set_root(&mut self, root: Arc<Node<M>>) {
        self.dirs.insert(ROOT_INO, Entries::new(root, ROOT_INO));
    }

    pub fn root(&self) -> Arc<Node<M>> {
        Arc::clone(&self.dirs[&ROOT_INO].node)
    }

    /// Returns the directory above; itself for the root, `None` for one that has been removed.
    pub fn parent(&self, dir: u64) -> Option<Arc<Node<M>>> {
        let parent = self.dirs.get(&dir)?.parent;
        Some(Arc::clone(&self.dirs.get(&parent)?.node))
    }

    /// Finds an entry.
    ///
    /// # Errors
    ///
    /// ENOENT, also when the directory has been removed.
    pub fn lookup(&self, dir: u64, name: &[u8]) -> Result<&Arc<Node<M>>, Errno> {
        let entries = self.dirs.get(&dir).ok_or(Errno::ENOENT)?;
        entries.by_name.get(name).map(|entry| &entry.node).ok_or(Errno::ENOENT)
    }

    /// Tells whether a directory is there and has no entry with the name.
    ///
    /// # Errors
    ///
    /// EEXIST; ENOENT when the directory has been removed.
    pub fn check_free(&self, dir: u64, name: &[u8]) -> Result<(), Errno> {
        let entries = self.dirs.get(&dir).ok_or(Errno::ENOENT)?;
        if entries.by_name.contains_key(name) { Err(Errno::EEXIST) } else { Ok(()) }
    }

    /// Adds an entry to a directory that has none with the name, and a directory's own entries.
    pub fn insert(&mut self, dir: u64, name: &[u8], node: &Arc<Node<M>>) {
        if node.is_dir() {
            let moved = self.dirs.get_mut(&node.ino());
            match moved {
                Some(entries) => entries.parent = dir,
                None => {
                    self.dirs.insert(node.ino(), Entries::new(Arc::clone(node), dir));
                }
            }
        }
        let entries = self.dirs.get_mut(&dir).expect("tmpfs: insertion into a removed directory");
        entries.last_number += 1;
        let number = entries.last_number;
        let entry = Entry { node: Arc::clone(node), number };
        let before = entries.by_name.insert(Name::from(name), entry);
        assert!(before.is_none(), "tmpfs: two entries with one name");
        entries.order.insert(number, Name::from(name));
    }

    /// Takes an entry out. A directory keeps its own entries: it is moved, or forgotten next.
    pub fn remove(&mut self, dir: u64, name: &[u8]) -> Arc<Node<M>> {
        let entries = self.dirs.get_mut(&dir).expect("tmpfs: removal from a removed directory");
        let entry = entries.by_name.remove(name).expect("tmpfs: removal of no entry");
        entries.order.remove(&entry.number);
        entry.node
    }

    /// Forgets a directory that is empty and has been taken out. The result is to be dropped with
    /// the tree unlocked.
    #[must_use = "dropping the last reference to a file may sleep"]
    pub fn forget(&mut self, dir: u64) -> Option<Arc<Node<M>>> {
        self.dirs.remove(&dir).map(|entries| entries.node)
    }

    pub fn nr_entries(&self, dir: u64) -> usize {
        self.dirs.get(&dir).map_or(0, |entries| entries.by_name.len())
    }

    /// Tells whether `below` is `dir`, or a directory somewhere below it.
    pub fn is_below(&self, mut below: u64, dir: u64) -> bool {
        loop {
            if below == dir {
                return true;
            }
            match self.dirs.get(&below) {
                Some(entries) if below != ROOT_INO => below = entries.parent,
                _ => return false,
            }
        }
    }

    /// Returns up to `max` entries behind number `after`.
    pub fn list(&self, dir: u64, after: u64, max: usize) -> Vec<DirEntry> {
        let Some(entries) = self.dirs.get(&dir) else { return Vec::new() };
        let behind = entries.order.range(after.saturating_add(1).max(FIRST_NUMBER)..);
        let entry = |(number, name): (&u64, &Name)| {
            let node = &entries.by_name[name].node;
            DirEntry { ino: node.ino(), kind: node.kind_bits(), next: *number, name: name.clone() }
        };
        behind.take(max).map(entry).collect()
    }
}

impl<M: Machine> Entries<M> {
    fn new(node: Arc<Node<M>>, parent: u64) -> Self {
        Self {
            node,
            parent,
            by_name: BTreeMap::new(),
            order: BTreeMap::new(),
            last_number: FIRST_NUMBER - 1,
        }
    }
}
