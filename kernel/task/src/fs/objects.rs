// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the file whose bytes an object holds: an address space knows its objects only,
//! and /proc/PID/maps shows files.

use alloc::collections::BTreeMap;
use alloc::sync::Weak;

use base::lock_level::Inode as InodeLevel;
use base::sync::SpinLock;
use hal::Machine;

use super::inode::{Inode, InodeRef};

/// Files by the number of their object.
pub struct ObjectFiles<M: Machine> {
    files: SpinLock<BTreeMap<u32, Weak<dyn Inode<M>>>, InodeLevel>,
}

impl<M: Machine> ObjectFiles<M> {
    pub(super) fn new() -> Self {
        Self { files: SpinLock::new(BTreeMap::new()) }
    }

    /// Enters a file.
    pub(super) fn add(&self, object: u32, file: Weak<dyn Inode<M>>) {
        self.files.lock().insert(object, file);
    }

    /// Takes a file out that is going away. Its object may outlive it, in mappings.
    pub(super) fn remove(&self, object: u32) {
        self.files.lock().remove(&object);
    }

    /// Returns the file of an object.
    pub(super) fn find(&self, object: u32) -> Option<InodeRef<M>> {
        self.files.lock().get(&object)?.upgrade()
    }
}
