// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds where a process looks for relative paths, and its umask.

use alloc::sync::Arc;

use base::lock_level::Task;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU32, Ordering};
use hal::Machine;

use super::inode::InodeRef;

/// Working directory and umask; threads share it (CLONE_FS).
pub struct FsContext<M: Machine> {
    cwd: SpinLock<InodeRef<M>, Task>,
    umask: AtomicU32,
}

impl<M: Machine> FsContext<M> {
    /// Builds the context of the first process, in `cwd`.
    pub fn new(cwd: InodeRef<M>) -> Self {
        Self { cwd: SpinLock::new(cwd), umask: AtomicU32::new(0o022) }
    }

    /// Copies the context for a child.
    pub fn fork(&self) -> Self {
        Self { cwd: SpinLock::new(self.cwd()), umask: AtomicU32::new(self.umask()) }
    }

    /// Returns the working directory.
    pub fn cwd(&self) -> InodeRef<M> {
        Arc::clone(&self.cwd.lock())
    }

    /// Sets the working directory, which is one.
    pub fn set_cwd(&self, dir: InodeRef<M>) {
        let old = core::mem::replace(&mut *self.cwd.lock(), dir);
        // Maybe the last reference to a removed directory: dropped with the lock released.
        drop(old);
    }

    /// Returns the permissions that new files do not get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets them, and returns what they were.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
