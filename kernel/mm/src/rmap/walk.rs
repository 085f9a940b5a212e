// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file visits every entry that maps a folio.

use alloc::sync::Arc;
use core::ops::ControlFlow;

use base::Vpn;
use hal::Machine;
use pgtable::{Entry, Found, Pte, index_of};

use super::Mapping;
use crate::folio::FolioRef;
use crate::mm::{Mm, PageTableLock};
use crate::system::System;

/// One entry that maps a page of a folio. Its table is locked.
pub(crate) struct MappedAt<'a, 'm, M: Machine> {
    /// Address space.
    pub mm: &'a Arc<Mm<M>>,
    /// The lock of the entry's table.
    pub table: &'a mut PageTableLock<'m, M>,
    /// The page it maps.
    pub page: Vpn,
    /// Which of the folio's pages that is.
    pub index: u32,
    /// The entry.
    pub pte: Pte,
}

impl<M: Machine> System<M> {
    /// Visits the entries that map `folio`, one table lock at a time, until `visit` breaks.
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
        let Some(root) = *tables else { return ControlFlow::Continue(()) };
        let mut index = 0;
        while index < folio.order().nr_pages() {
            let page = mapping.page(index);
            let Found::Leaf(table) = pgtable::find(self.machine(), root, page) else {
                index += 1;
                continue;
            };
            let mut lock = self.lock_leaf_table(table);
            // All pages of the folio within this table, under one lock.
            loop {
                let page = mapping.page(index);
                if let Entry::Present(pte) = lock.entry(page)
                    && !pte.is_special()
                    && pte.pfn() == folio.head().add(index)
                {
                    visit(MappedAt { mm: self, table: &mut lock, page, index, pte })?;
                }
                index += 1;
                if index == folio.order().nr_pages() || index_of(mapping.page(index)) == 0 {
                    break;
                }
            }
        }
        ControlFlow::Continue(())
    }
}
