// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file does harm from outside, as a stray store or a fault elsewhere in the kernel would: to see
//! that it is noticed, and hurts nobody else.

use base::Vpn;
use hal::Machine;
use pgtable::SwapEntry;

use crate::folio::FolioLock;
use crate::mm::{Mapped, Mm};
use crate::system::System;

/// A folio of the swap cache, locked.
#[must_use = "the folio is locked until this is dropped"]
pub struct LockedFolio<'s, M: Machine> {
    _folio: FolioLock<'s, M>,
}

impl<M: Machine> Mm<M> {
    /// Writes over the entry of a page that is not mapped, whatever it was.
    ///
    /// # Panics
    ///
    /// When the page has no level-3 table.
    pub fn corrupt_entry(&self, page: Vpn, raw: u64) {
        let areas = self.read_areas();
        let Some(Mapped::Table(table)) = self.mapped_at(page) else { panic!("no table") };
        self.lock_leaf_table(table).exchange(page, raw);
        drop(areas);
    }
}

impl<M: Machine> System<M> {
    /// Gives up a reference to a slot that the caller has not got.
    pub fn drop_foreign_slot(&self, entry: SwapEntry) {
        self.drop_slots(entry, 1);
    }

    /// Locks the folio that caches a slot, if one does.
    pub fn lock_cached(&self, entry: SwapEntry) -> Option<LockedFolio<'_, M>> {
        let id = self.cached_folio(entry)?;
        Some(LockedFolio { _folio: self.get_folio(id).lock() })
    }

    /// Returns how many refer to a slot, and whether a folio caches it.
    pub fn slot_state(&self, entry: SwapEntry) -> (u32, bool) {
        (self.slot_users(entry), self.cached_folio(entry).is_some())
    }
}
