// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds a shared-memory object by its number.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::{Arc, Weak};

use base::lock_level::MmTable;
use base::sync::RwSpinLock;
use hal::Machine;

use super::object::{Shmem, ShmemError};

/// Live objects by number.
pub(crate) struct ShmemRegistry<M: Machine> {
    objects: RwSpinLock<Objects<M>, MmTable>,
}

struct Objects<M: Machine> {
    by_id: BTreeMap<u32, Weak<Shmem<M>>>,
    last: u32,
}

/// Numbers have 24 bits (`ShmemPlace`).
const MAX_ID: u32 = (1 << 24) - 1;

impl<M: Machine> ShmemRegistry<M> {
    pub(crate) fn new() -> Self {
        Self { objects: RwSpinLock::new(Objects { by_id: BTreeMap::new(), last: 0 }) }
    }

    pub(super) fn take_id(&self) -> Result<u32, ShmemError> {
        let mut objects = self.objects.write();
        if objects.by_id.len() >= MAX_ID as usize - 1 {
            return Err(ShmemError::OutOfMemory);
        }
        loop {
            let id = objects.last % MAX_ID + 1;
            objects.last = id;
            if let Entry::Vacant(free) = objects.by_id.entry(id) {
                free.insert(Weak::new());
                return Ok(id);
            }
        }
    }

    pub(super) fn publish(&self, object: &Arc<Shmem<M>>) {
        self.objects.write().by_id.insert(object.id(), Arc::downgrade(object));
    }

    pub(super) fn free_id(&self, id: u32) {
        self.objects.write().by_id.remove(&id);
    }

    /// Returns the object with a number.
    pub(crate) fn get(&self, id: u32) -> Option<Arc<Shmem<M>>> {
        self.objects.read().by_id.get(&id)?.upgrade()
    }

    /// Returns the first object with a number above `after`.
    pub(crate) fn next(&self, after: u32) -> Option<Arc<Shmem<M>>> {
        let objects = self.objects.read();
        objects.by_id.range(after + 1..).find_map(|(_, object)| object.upgrade())
    }
}
