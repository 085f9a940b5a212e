// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds an address space by its number.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use base::lock_level::MmTable;
use base::sync::RwSpinLock;
use hal::Machine;

use super::Mm;
use crate::frame::OutOfMemory;
use crate::rmap::MmId;

/// Live address spaces by number.
pub(crate) struct MmRegistry<M: Machine> {
    slots: RwSpinLock<Slots<M>, MmTable>,
}

struct Slots<M: Machine> {
    /// Index 0 is never used. A number is free again when its ASID has been invalidated.
    mms: Vec<Option<Weak<Mm<M>>>>,
    /// Free numbers, used longest ago first, so that a stale number is noticed for longer.
    free: alloc::collections::VecDeque<u16>,
}

/// Largest number: ASIDs have 16 bits.
const MAX_ID: usize = u16::MAX as usize;

impl<M: Machine> MmRegistry<M> {
    pub(crate) fn new() -> Self {
        let slots = Slots { mms: alloc::vec![None], free: Default::default() };
        Self { slots: RwSpinLock::new(slots) }
    }

    /// Takes a free number. It names nothing until [`MmRegistry::publish`].
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when all are taken.
    pub(crate) fn take_id(&self) -> Result<MmId, OutOfMemory> {
        let mut slots = self.slots.write();
        if let Some(id) = slots.free.pop_front() {
            return Ok(MmId::new(id));
        }
        let id = slots.mms.len();
        if id > MAX_ID {
            return Err(OutOfMemory);
        }
        slots.mms.try_reserve(1).map_err(|_| OutOfMemory)?;
        // Room to give every number back without allocating.
        slots.free.try_reserve(id).map_err(|_| OutOfMemory)?;
        slots.mms.push(None);
        Ok(MmId::new(id as u16))
    }

    /// Makes the number name `mm`.
    pub(crate) fn publish(&self, mm: &Arc<Mm<M>>) {
        self.slots.write().mms[mm.id().get() as usize] = Some(Arc::downgrade(mm));
    }

    /// Makes the number name nothing. It is not free yet.
    pub(crate) fn withdraw(&self, id: MmId) {
        self.slots.write().mms[id.get() as usize] = None;
    }

    /// Frees the number: no TLB holds a translation tagged with it.
    pub(crate) fn free_id(&self, id: MmId) {
        self.slots.write().free.push_back(id.get());
    }

    /// Returns the address space that the number names.
    pub(crate) fn get(&self, id: MmId) -> Option<Arc<Mm<M>>> {
        let slots = self.slots.read();
        slots.mms.get(id.get() as usize)?.as_ref()?.upgrade()
    }

    /// Returns the first address space with a number above `after`.
    pub(crate) fn next(&self, after: u16) -> Option<Arc<Mm<M>>> {
        let slots = self.slots.read();
        slots.mms.iter().skip(after as usize + 1).flatten().find_map(Weak::upgrade)
    }
}
