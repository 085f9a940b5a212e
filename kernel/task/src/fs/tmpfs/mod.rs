// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is tmpfs: files that live in memory and, like all memory here, in swap.
//!
//! | what | where |
//! |---|---|
//! | which name leads where | `tree.rs` |
//! | a file: metadata, and what it has | `node.rs` |
//! | names made, moved and removed | `directory.rs` |
//! | bytes of regular files | `content.rs` |
//!
//! # Locks
//!
//! One readers-writer spin lock per file system guards all its names (`Tree`, level `Inode`). Linux
//! has a lock per directory, an order among them by ancestry, and a lock of its own for renames
//! between directories; here a rename is one critical section, so no reader sees a file under
//! both names or under none, and "not below itself" is a walk up that cannot change under it. The
//! price is that two CPUs cannot make files at the same time.
//!
//! Metadata of a file has a spin lock per file (level `InodeAttr`), inside the tree's.
//!
//! Dropping the last reference to a file frees its pages, which may sleep. So what leaves the tree
//! is handed out of the critical section and dropped there.

mod content;
mod directory;
mod node;
mod tree;

pub use content::Content;
pub use node::{Attr, Body, Node};

use alloc::sync::Arc;

use abi::stat::{S_IFDIR, StatFs, TMPFS_MAGIC};
use base::PAGE_SIZE;
use base::lock_level::Inode as InodeLevel;
use base::sync::RwSpinLock;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Machine;
use mm::PagePool;

use super::env::Env;
use tree::Tree;

/// A file system in memory.
pub struct Tmpfs<M: Machine> {
    env: Arc<Env<M>>,
    dev: u64,
    pool: Arc<PagePool>,
    tree: RwSpinLock<Tree<M>, InodeLevel>,
    last_ino: AtomicU64,
}

/// Inode number of a root.
const ROOT_INO: u64 = 1;

impl<M: Machine> Tmpfs<M> {
    /// Makes an empty file system whose files have at most `limit` pages together. It lives for ever:
    /// its nodes refer to it.
    pub fn new(env: &Arc<Env<M>>, limit: u64) -> Arc<Self> {
        let fs = Arc::new(Self {
            env: Arc::clone(env),
            dev: env.new_dev(),
            pool: PagePool::new(limit),
            tree: RwSpinLock::new(Tree::new()),
            last_ino: AtomicU64::new(ROOT_INO),
        });
        let attr = Attr::new(S_IFDIR | 0o755, env.now());
        let root = Node::new(&fs, ROOT_INO, attr, Body::Directory);
        fs.tree.write().set_root(root);
        fs
    }

    /// Returns the root directory.
    pub fn root(&self) -> Arc<Node<M>> {
        self.tree.read().root()
    }

    /// Returns what the files need from outside.
    pub(super) fn env(&self) -> &Arc<Env<M>> {
        &self.env
    }

    fn new_ino(&self) -> u64 {
        self.last_ino.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn stat_fs(&self) -> StatFs {
        let (limit, used) = self.pool.usage();
        StatFs {
            magic: TMPFS_MAGIC,
            block_size: PAGE_SIZE as u64,
            blocks: limit,
            blocks_free: limit.saturating_sub(used),
            files: 0,
            files_free: 0,
            dev: self.dev,
            name_max: abi::open::NAME_MAX as u64,
        }
    }
}
