// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file visits every entry that maps a folio, in runs.

use alloc::sync::Arc;
use core::ops::{ControlFlow, Range};

use base::Vpn;
use hal::Machine;
use pgtable::{ENTRIES_PER_TABLE, Entry, Found, index_of};

use super::Mapping;
use crate::folio::FolioRef;
use crate::mm::{BlockLock, Mm, PageTableLock, page_at};
use crate::system::System;

/// A run of entries that maps pages of a folio, or a block. Its table is locked.
pub(crate) struct MappedAt<'a, 'm, M: Machine> {
    /// Address space.
    pub mm: &'a Arc<Mm<M>>,
    /// The lock of what maps them.
    pub by: MappedBy<'a, 'm, M>,
    /// The first page they map.
    pub page: Vpn,
    /// Which of the folio's pages that is.
    pub index: u32,
    /// How many.
    pub nr: u32,
}

/// What maps a run of pages.
pub(crate) enum MappedBy<'a, 'm, M: Machine> {
    /// Entries of a level-3 table.
    Table(&'a mut PageTableLock<'m, M>),
    /// A level-2 entry.
    Block(BlockLock<'m, M>),
}

impl<M: Machine> System<M> {
    /// Visits the runs of entries that map `folio`, one table lock at a time, until `visit` breaks.
    ///
    /// New mappings may appear behind the walk and old ones go away in front of it; a caller that
    /// must have seen all (reclaim) checks the mapcount afterwards. Entries of an address space
    /// that is just being torn down are left to the teardown.
    pub(crate) fn visit_mappings(
        &self,
        folio: &FolioRef<'_, M>,
        mut visit: impl FnMut(MappedAt<'_, '_, M>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut cursor = None;
        loop {
            // Copied out: the page-table lock that the visit takes ranks above this one.
            let next = self.lock_rmap(folio).next_after(cursor);
            let Some(mapping) = next else { return ControlFlow::Continue(()) };
            cursor = Some(mapping);
            if let Some(mm) = self.mms().get(mapping.mm) {
                mm.visit_mapping(folio, mapping, &mut visit)?;
            }
            // Mostly the visit has undone the only mapping.
            if !folio.is_mapped() {
                return ControlFlow::Continue(());
            }
        }
    }
}

impl<M: Machine> Mm<M> {
    fn visit_mapping(
        self: &Arc<Self>,
        folio: &FolioRef<'_, M>,
        mapping: Mapping,
        visit: &mut impl FnMut(MappedAt<'_, '_, M>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // Tables cannot go away while this is held; entries are judged under their table's lock.
        let tables = self.tables().read();
        let Some(tree) = &*tables else { return ControlFlow::Continue(()) };
        let nr_pages = folio.order().nr_pages();
        let mut index = 0;
        while index < nr_pages {
            let page = mapping.page(index);
            // The folio's pages that share a level-2 entry, under one lock.
            let within = nr_pages.min(index + ENTRIES_PER_TABLE as u32 - index_of(page) as u32);
            match pgtable::find(self.machine(), tree.root, page) {
                Found::Leaf(table) => {
                    let mut table = self.lock_leaf_table(table);
                    // What a table that came here from elsewhere maps has another place.
                    if table.moved() == 0 {
                        self.visit_table(folio, mapping, index..within, &mut table, visit)?;
                    }
                }
                Found::Block(slot) => {
                    let Some(block) = self.lock_block(slot) else {
                        // It has just been split: look again.
                        continue;
                    };
                    if index == 0 && block.pte().pfn() == folio.head() {
                        let by = MappedBy::Block(block);
                        visit(MappedAt { mm: self, by, page, index, nr: nr_pages })?;
                    }
                }
                Found::Hole { .. } => {}
            }
            for (table, moved) in tree.moved.from(page) {
                let mut table = self.lock_leaf_table(table);
                debug_assert_eq!(table.moved(), moved, "{page:?}: a table that moved");
                let mapping = Mapping { base: page_at(mapping.base, moved), ..mapping };
                self.visit_table(folio, mapping, index..within, &mut table, visit)?;
            }
            index = within;
        }
        ControlFlow::Continue(())
    }

    /// Visits the runs among the pages `indices` of a folio, which one table maps if anything does.
    fn visit_table(
        self: &Arc<Self>,
        folio: &FolioRef<'_, M>,
        mapping: Mapping,
        indices: Range<u32>,
        table: &mut PageTableLock<'_, M>,
        visit: &mut impl FnMut(MappedAt<'_, '_, M>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut index = indices.start;
        while index < indices.end {
            let page = mapping.page(index);
            let mut nr = 1;
            if let Entry::Present(pte) = table.entry(page)
                && !pte.is_special()
                && pte.pfn() == folio.head().add(index)
            {
                nr = table.run_len(page, pte, indices.end - index);
                let by = MappedBy::Table(table);
                visit(MappedAt { mm: self, by, page, index, nr })?;
            }
            index += nr;
        }
        ControlFlow::Continue(())
    }
}
