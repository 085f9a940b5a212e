// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the entry of a page, from the root down.
//!
//! Tables above level 3 are added and removed under the address space's own rules (`mm`); a walk
//! only reads. Each step's load is ordered before the next by its address dependency.

use base::{Pfn, Vpn};
use hal::{PteMem, PteSlot};

use crate::level::Level;
use crate::pte::TablePte;

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The level-3 table that holds the page's entry.
    Leaf(Pfn),
    /// An entry above level 3 that points to no table.
    Hole {
        /// Level of the entry.
        level: Level,
        /// The entry.
        slot: PteSlot,
        /// Its raw bits: 0, or a block mapping at level 2.
        raw: u64,
    },
}

/// Returns the index of `page`'s entry in its level-3 table.
pub const fn index_of(page: Vpn) -> usize {
    Level::L3.index(page)
}

/// Walks from `root` (a level-0 table) to the level-3 table of `page`.
pub fn find<M: PteMem>(machine: &M, root: Pfn, page: Vpn) -> Found {
    let mut table = root;
    for level in [Level::L0, Level::L1, Level::L2] {
        let slot = PteSlot::new(table, level.index(page));
        let raw = machine.load(slot);
        match TablePte::decode(raw) {
            Some(entry) => table = entry.table(),
            None => return Found::Hole { level, slot, raw },
        }
    }
    Found::Leaf(table)
}
