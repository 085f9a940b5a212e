// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the entry of a page, from the root down.
//!
//! Tables above level 3 are added and removed under the address space's own rules (`mm`); a walk
//! only reads. Each step's load is ordered before the next by its address dependency.

use base::{Pfn, Vpn};
use hal::{PteMem, PteSlot};

use crate::level::Level;
use crate::pte::{Pte, TablePte};

/// Where a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The level-3 table that holds the page's entry.
    Leaf(Pfn),
    /// The level-2 entry that maps the page and 511 others as one block.
    Block(PteSlot),
    /// An empty entry above level 3.
    Hole {
        /// Level of the entry.
        level: Level,
        /// The entry.
        slot: PteSlot,
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
            None if Pte::of_block(raw).is_some() => return Found::Block(slot),
            None => return Found::Hole { level, slot },
        }
    }
    Found::Leaf(table)
}
