// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps what some slots of a cluster have beside their words: a word each, in a frame for
//! the cluster that is there from the first such slot until the cluster is empty.

use base::Pfn;
use hal::Machine;

use super::area::ClusterLock;
use crate::frame::OutOfMemory;
use crate::run_map::BLOCK_UNITS;

/// What a slot may have beside its word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SlotTable {
    /// A tag record of 8 bytes, or the name of a larger one.
    Tags = 0,
    /// The checksum of its page.
    Checksums = 1,
}

/// How many there are.
pub(super) const NR_SLOT_TABLES: usize = 2;

impl<M: Machine> ClusterLock<'_, M> {
    fn frame(&self, table: SlotTable) -> Pfn {
        let frame = self.tables.beside[table as usize];
        frame.unwrap_or_else(|| panic!("swap cluster: no {table:?}"))
    }

    /// Makes room for the words of a table.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when the first finds no frame.
    pub fn prepare_beside(&mut self, table: SlotTable) -> Result<(), OutOfMemory> {
        if self.tables.beside[table as usize].is_none() {
            self.tables.beside[table as usize] = Some(self.alloc_table()?);
        }
        Ok(())
    }

    /// Returns the word of a slot that has one.
    pub fn load_beside(&self, table: SlotTable, slot: u32) -> u64 {
        debug_assert!(self.has(slot));
        self.system().machine().load_word(self.frame(table), (slot % BLOCK_UNITS) as usize)
    }

    /// Stores the word of a slot; there is room for it.
    pub fn store_beside(&mut self, table: SlotTable, slot: u32, word: u64) {
        debug_assert!(self.has(slot));
        self.system().machine().store_word(self.frame(table), (slot % BLOCK_UNITS) as usize, word);
    }
}
