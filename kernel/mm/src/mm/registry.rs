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
    /// Index 0 is the end of the list by age. A number is free again when its address
    /// space is torn down.
    mms: Vec<Slot<M>>,
    /// Free numbers, used longest ago first, so that a stale number is noticed for longer.
    free: alloc::collections::VecDeque<u16>,
}

/// What a number names.
struct Slot<M: Machine> {
    mm: Option<Weak<Mm<M>>>,
    /// Neighbours in the list by age, if it names something.
    older: u16,
    younger: u16,
}

impl<M: Machine> Slot<M> {
    const EMPTY: Self = Self { mm: None, older: 0, younger: 0 };
}

/// A user of an address space, found in the registry.
pub(crate) struct LiveMm<M: Machine>(Arc<Mm<M>>);

impl<M: Machine> LiveMm<M> {
    fn of(mm: Arc<Mm<M>>) -> Option<Self> {
        if mm.get_user() { Some(Self(mm)) } else { None }
    }
}

impl<M: Machine> core::ops::Deref for LiveMm<M> {
    type Target = Mm<M>;
    fn deref(&self) -> &Mm<M> {
        &self.0
    }
}

impl<M: Machine> Drop for LiveMm<M> {
    fn drop(&mut self) {
        self.0.put_user();
    }
}

/// Largest number: ASIDs have 16 bits.
const MAX_ID: usize = u16::MAX as usize;

impl<M: Machine> MmRegistry<M> {
    pub(crate) fn new() -> Self {
        let slots = Slots { mms: alloc::vec![Slot::EMPTY], free: Default::default() };
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
        slots.mms.push(Slot::EMPTY);
        Ok(MmId::new(id as u16))
    }

    /// Makes the number name `mm`, the youngest of all.
    pub(crate) fn publish(&self, mm: &Arc<Mm<M>>) {
        let id = mm.id().get();
        let mms = &mut self.slots.write().mms;
        let older = core::mem::replace(&mut mms[0].older, id);
        mms[older as usize].younger = id;
        mms[id as usize] = Slot { mm: Some(Arc::downgrade(mm)), older, younger: 0 };
    }

    /// Makes the number name nothing. It is not free yet.
    pub(crate) fn withdraw(&self, id: MmId) {
        let mms = &mut self.slots.write().mms;
        let Slot { older, younger, .. } =
            core::mem::replace(&mut mms[id.get() as usize], Slot::EMPTY);
        mms[older as usize].younger = younger;
        mms[younger as usize].older = older;
    }

    /// Frees the number: no reverse-map entry has it.
    pub(crate) fn free_id(&self, id: MmId) {
        self.slots.write().free.push_back(id.get());
    }

    /// Returns the address space that the number names.
    pub(crate) fn get(&self, id: MmId) -> Option<Arc<Mm<M>>> {
        let slots = self.slots.read();
        slots.mms.get(id.get() as usize)?.mm.as_ref()?.upgrade()
    }

    /// Returns the first address space with a number above `after`.
    pub(crate) fn next(&self, after: u16) -> Option<Arc<Mm<M>>> {
        let slots = self.slots.read();
        let mms = slots.mms.iter().skip(after as usize + 1);
        mms.filter_map(|slot| slot.mm.as_ref()).find_map(Weak::upgrade)
    }

    /// Returns the oldest address space that is younger than `than`, or the oldest of all; none that is
    /// being torn down. A child comes after its parent, so who goes through them and takes something
    /// away from each leaves nothing that a fork could copy behind its back.
    pub(crate) fn next_younger(&self, than: Option<&LiveMm<M>>) -> Option<LiveMm<M>> {
        let mms = &self.slots.read().mms;
        // A user keeps it in the list.
        let mut id = mms[than.map_or(0, |mm| mm.id().get() as usize)].younger;
        while id != 0 {
            let slot = &mms[id as usize];
            let live = slot.mm.as_ref().and_then(Weak::upgrade).and_then(LiveMm::of);
            if live.is_some() {
                return live;
            }
            id = slot.younger;
        }
        None
    }

    /// Like [`MmRegistry::next_younger`], but by number, in which a child may come before its parent.
    #[cold]
    pub(crate) fn next_by_number(&self, after: Option<&LiveMm<M>>) -> Option<LiveMm<M>> {
        let mut last = after.map_or(0, |mm| mm.id().get());
        loop {
            let mm = self.next(last)?;
            last = mm.id().get();
            let live = LiveMm::of(mm);
            if live.is_some() {
                return live;
            }
        }
    }
}
