// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows tests what a folio knows about who maps it.

use alloc::collections::BTreeMap;

use base::{Order, Pfn};
use hal::Machine;

use crate::rmap::MmId;
use crate::system::System;

/// What the folio of a page knows about who maps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sharing {
    /// Order of the folio.
    pub order: Order,
    /// Entries that map its pages.
    pub mapcount: u32,
    /// How many of them each address space has.
    pub by_mm: BTreeMap<MmId, u32>,
    /// The address space that alone maps it, by the question that copy-on-write asks.
    pub only_mm: Option<MmId>,
}

impl<M: Machine> System<M> {
    /// Returns what the folio of page `pfn` knows about who maps it. For a moment when nobody maps or
    /// unmaps.
    pub fn sharing_of(&self, pfn: Pfn) -> Sharing {
        let folio = self.folio(self.words().folio(pfn));
        let mut by_mm = BTreeMap::new();
        self.lock_rmap(folio).all(|mapping| {
            *by_mm.entry(mapping.mm).or_default() += mapping.nr;
            true
        });
        let only_mm = by_mm.keys().copied().find(|mm| self.is_mapped_only_by(folio, *mm));
        Sharing { order: folio.order(), mapcount: folio.mapcount(), by_mm, only_mm }
    }
}
