// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the process tree: who is whose child, in which group and session, and how it ended.
//!
//! One spin lock guards it all, as Linux's `tasklist_lock` does.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use base::lock_level;
use base::sync::SpinLock;
use hal::Platform;

use super::{ExitStatus, Process, Thread};

/// Numbers are below this, as on Linux by default.
pub const MAX_PID: u32 = 32_768;
/// Memory that one thread may cost: a 16th of all memory holds the stacks of the most threads.
const FRAMES_PER_THREAD: u64 = 128;
/// The number of the first process.
pub const INIT: u32 = 1;

/// All processes.
pub struct ProcessTable<P: Platform> {
    /// Held by who enters a process into the tree, and by who signals all of a group: a fork either
    /// sees the signal pending or its child is in the group.
    forks: SpinLock<(), lock_level::Fork>,
    tree: SpinLock<Tree<P>, lock_level::Task>,
    max_threads: usize,
}

/// What the lock guards.
pub struct Tree<P: Platform> {
    pub nodes: BTreeMap<u32, Node<P>>,
    pub threads: BTreeMap<u32, Arc<Thread<P>>>,
    last_id: u32,
    /// Processes ever made.
    nr_made: u64,
    max_threads: usize,
}

/// A process in the tree.
pub struct Node<P: Platform> {
    pub process: Arc<Process<P>>,
    /// Its place in the order in which processes are made: numbers come again.
    pub birth: u64,
    pub parent: u32,
    pub children: Vec<u32>,
    pub group: u32,
    pub session: u32,
    /// The signal that tells the parent of the end; 0 for none.
    pub exit_signal: u8,
    /// Threads that have not left.
    pub threads: Vec<Arc<Thread<P>>>,
    /// How it ended: a zombie.
    pub ended: Option<ExitStatus>,
    /// What the parent has not been told of yet: a stop or a continuation.
    pub news: Option<News>,
}

/// What a parent may wait for beside an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// Stopped by this signal.
    Stopped(u8),
    /// Goes on.
    Continued,
}

impl<P: Platform> ProcessTable<P> {
    /// Builds an empty tree. The most threads at a time depend on memory, because each has a kernel
    /// stack that is kept (Linux kernel/fork.c, set_max_threads(), takes an eighth).
    pub fn new(nr_frames: u64) -> Self {
        let max_threads =
            (nr_frames / FRAMES_PER_THREAD).clamp(64, u64::from(MAX_PID) / 2) as usize;
        let (nodes, threads) = (BTreeMap::new(), BTreeMap::new());
        let tree = Tree { nodes, threads, last_id: 0, nr_made: 0, max_threads };
        Self { forks: SpinLock::new(()), tree: SpinLock::new(tree), max_threads }
    }

    /// Returns the most threads that can be at a time.
    pub fn max_threads(&self) -> usize {
        self.max_threads
    }

    /// Calls `f` while no process is made and no group is signalled. `f` locks the tree itself.
    pub fn without_forks<R>(&self, f: impl FnOnce() -> R) -> R {
        let _forks = self.forks.lock();
        f()
    }

    /// Calls `f` with the tree locked. `f` takes no lock of level `Task` and drops no process.
    pub fn with<R>(&self, f: impl FnOnce(&mut Tree<P>) -> R) -> R {
        f(&mut self.tree.lock())
    }

    /// Calls `f` with the tree if nobody has it locked.
    pub fn try_with<R>(&self, f: impl FnOnce(&mut Tree<P>) -> R) -> Option<R> {
        self.tree.try_lock().map(|mut tree| f(&mut tree))
    }

    /// Returns a process that is no zombie.
    pub fn process(&self, pid: u32) -> Option<Arc<Process<P>>> {
        self.with(|tree| {
            let node = tree.nodes.get(&pid).filter(|node| node.ended.is_none())?;
            Some(Arc::clone(&node.process))
        })
    }

    /// Returns a thread that has not left.
    pub fn thread(&self, tid: u32) -> Option<Arc<Thread<P>>> {
        self.with(|tree| tree.threads.get(&tid).cloned())
    }

    /// Returns the threads of a process that have not left.
    pub fn threads_of(&self, pid: u32) -> Vec<Arc<Thread<P>>> {
        self.with(|tree| tree.nodes.get(&pid).map_or(Vec::new(), |node| node.threads.clone()))
    }
}

impl<P: Platform> Tree<P> {
    /// Tells whether there may be another thread. Zombies count, as on Linux: they have memory too.
    ///
    /// # Errors
    ///
    /// EAGAIN when not.
    pub fn check_room(&self) -> Result<(), Errno> {
        match self.threads.len().max(self.nodes.len()) < self.max_threads {
            true => Ok(()),
            false => Err(Errno::EAGAIN),
        }
    }

    /// Takes a number that no process, thread, group or session has.
    ///
    /// # Errors
    ///
    /// EAGAIN when there are too many threads.
    pub fn take_id(&mut self) -> Result<u32, Errno> {
        self.check_room()?;
        for _ in 0..MAX_PID {
            // After the first round, numbers below 300 stay with long-lived processes (Linux
            // kernel/pid.c, RESERVED_PIDS).
            self.last_id = if self.last_id + 1 >= MAX_PID { 300 } else { self.last_id + 1 };
            let id = self.last_id;
            let is_named =
                || self.nodes.values().any(|node| node.group == id || node.session == id);
            if !self.nodes.contains_key(&id) && !self.threads.contains_key(&id) && !is_named() {
                return Ok(id);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Returns the number that was taken last.
    pub fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Adds a process with its first thread.
    pub fn add_process(&mut self, thread: &Arc<Thread<P>>, parent: u32, exit_signal: u8) {
        let pid = thread.process.pid;
        let (group, session) =
            self.nodes.get(&parent).map_or((pid, pid), |node| (node.group, node.session));
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children.push(pid);
        }
        self.nr_made += 1;
        let node = Node {
            process: Arc::clone(&thread.process),
            birth: self.nr_made,
            parent,
            children: Vec::new(),
            group,
            session,
            exit_signal,
            threads: alloc::vec![Arc::clone(thread)],
            ended: None,
            news: None,
        };
        self.nodes.insert(pid, node);
        self.threads.insert(pid, Arc::clone(thread));
    }

    /// Adds a thread to its process.
    pub fn add_thread(&mut self, thread: &Arc<Thread<P>>) {
        if let Some(node) = self.nodes.get_mut(&thread.process.pid) {
            node.threads.push(Arc::clone(thread));
            self.threads.insert(thread.tid(), Arc::clone(thread));
        }
    }

    /// Takes a zombie out.
    pub fn reap(&mut self, pid: u32) -> Option<Node<P>> {
        let node = self.nodes.remove(&pid)?;
        if let Some(parent) = self.nodes.get_mut(&node.parent) {
            parent.children.retain(|child| *child != pid);
        }
        Some(node)
    }

    /// Gives the children of `pid` to init. Returns whether one of them is a zombie, which init has
    /// to be told of.
    pub fn orphan_children(&mut self, pid: u32) -> bool {
        let Some(node) = self.nodes.get_mut(&pid) else { return false };
        let children = core::mem::take(&mut node.children);
        let mut any_ended = false;
        for child in &children {
            if let Some(child) = self.nodes.get_mut(child) {
                child.parent = INIT;
                any_ended |= child.ended.is_some();
            }
        }
        if let Some(init) = self.nodes.get_mut(&INIT) {
            init.children.extend(children);
        }
        any_ended
    }
}
