// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file collects what swapoff reads together: it knows what it will need next.

use alloc::vec::Vec;

use base::{Order, Vpn};
use hal::Machine;
use pgtable::{AreaId, SwapEntry};

use super::area::SwapArea;
use super::read_together::Request;
use super::swap_in::{InCache, SwapInError, Unread};
use crate::frame::{AllocMode, OutOfMemory};
use crate::system::System;

/// Most folios read together: half a table's.
const NR_AHEAD: usize = 256;

/// Folios of one area that are about to be read, and the pages that are to map them.
pub(crate) struct ReadAhead<'s, M: Machine> {
    /// Pages of one table and the slots that they name.
    pub pages: Vec<(Vpn, SwapEntry)>,
    pub reads: Reads<'s, M>,
}

impl<'s, M: Machine> ReadAhead<'s, M> {
    /// Makes room for all that is ever read together.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when the kernel's heap has no room.
    pub(super) fn new(system: &'s System<M>, area: &'s SwapArea) -> Result<Self, OutOfMemory> {
        let a_folio =
            size_of::<(Vpn, SwapEntry)>() + size_of::<Unread<'s, M>>() + size_of::<Request>();
        system.reserve_kernel_heap(NR_AHEAD * a_folio)?;
        let (unread, requests) = (Vec::with_capacity(NR_AHEAD), Vec::with_capacity(NR_AHEAD));
        let reads = Reads { system, area, unread, requests };
        Ok(Self { pages: Vec::with_capacity(NR_AHEAD), reads })
    }

    /// Returns the area's number.
    pub fn area(&self) -> AreaId {
        self.reads.area.id
    }

    /// Takes the first of `pages`, as many as are read together.
    pub fn choose(&mut self, pages: impl Iterator<Item = (Vpn, SwapEntry)>) {
        self.pages.clear();
        self.pages.extend(pages.take(NR_AHEAD));
    }
}

/// Folios in the swap cache that are to be read.
#[must_use = "they are read in finish()"]
pub(crate) struct Reads<'s, M: Machine> {
    system: &'s System<M>,
    area: &'s SwapArea,
    unread: Vec<Unread<'s, M>>,
    requests: Vec<Request>,
}

impl<M: Machine> Reads<'_, M> {
    /// Has the aligned run of 2^`order` slots around `entry` read, unless a folio caches the slot.
    ///
    /// # Errors
    ///
    /// [`SwapInError`], but [`SwapInError::Unreadable`].
    pub fn add(
        &mut self,
        entry: SwapEntry,
        order: Order,
        mode: AllocMode,
    ) -> Result<(), SwapInError> {
        if !self.area.has_slot(entry.slot) {
            return Err(SwapInError::Stale);
        }
        match self.system.cached_or_unread(self.area, entry.slot, order, mode)? {
            InCache::Cached(_) => {}
            InCache::Unread(unread) => self.unread.push(unread),
        }
        Ok(())
    }

    /// Reads everything, and waits for it.
    pub fn finish(&mut self) {
        let Self { system, area, unread, requests } = self;
        system.read_together(area, unread, requests, |_, _| {});
    }
}
