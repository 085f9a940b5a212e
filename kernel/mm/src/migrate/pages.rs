// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file settles what moves: holes get their pages, unless somebody has been faster. Linux's
//! `migrate_vma_pages()`.

use base::Vpn;
use base::sync::stop_point;
use hal::Machine;
use pgtable::{Entry, MemType, Prot, Pte};

use super::source::Kind;
use super::{MigrateWord, Migration};
use crate::folio::{FolioFlags, FolioLock};
use crate::mm::{Mm, Resident};

impl<'m, M: Machine> Migration<'m, M> {
    /// Settles which pages move: those whose `src` has `MIGRATE` after this.
    pub fn pages(&mut self) {
        stop_point("copied");
        let flags = self.area().flags;
        let (prot, mem) = (flags.prot(), flags.mem_type());
        for at in 0..self.sources.len() {
            let source = &self.sources[at];
            let index = source.index;
            let moves = match (&source.kind, source.dst.as_slice()) {
                (_, []) => false,
                (Kind::Hole, [dst]) => self.mm.fill_hole(self.page(index), dst, prot, mem),
                _ => true,
            };
            if !moves {
                self.src[index] = self.src[index].without(MigrateWord::MIGRATE);
                self.sources[at].dst.clear();
            }
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Puts a page of zeroes on a device where nothing is, or the zero page. `false`: something else is
    /// there by now, or there is no room for a table.
    fn fill_hole(&self, page: Vpn, dst: &FolioLock<'_, M>, prot: Prot, mem: MemType) -> bool {
        if dst.has(FolioFlags::DEVICE) && mem == MemType::Tagged {
            self.system().set_tagged(dst, dst.head());
        }
        let Ok(table) = self.ensure_leaf_table(page) else { return false };
        let mut lock = self.lock_leaf_table(table);
        let entry = lock.entry(page);
        let may_fill = match entry {
            Entry::Empty => true,
            Entry::Present(pte) => pte.is_special(),
            _ => false,
        };
        if !may_fill {
            return false;
        }
        // The reference of the mappings.
        dst.get();
        self.system().map_new_folio(dst, self.id(), lock.place(page, 0), 1);
        self.gauges().add_resident(Resident::Anon, 1);
        let new = Pte::new(dst.head(), prot, mem).dirty().on_device(dst.head()).raw();
        match entry {
            Entry::Empty => lock.fill(page, new),
            _ => _ = self.replace_mapping(&mut lock, page, |_| new),
        }
        true
    }
}
