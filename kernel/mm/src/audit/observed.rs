// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file collects what page tables and objects refer to.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use base::{Pfn, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Entry, Level, NonPresent, Pte, SwapEntry, TablePte};

use crate::folio::FolioId;
use crate::mm::{Mm, Tree, origin_of};
use crate::rmap::{MmId, base_of};
use crate::shmem::Shmem;

/// What refers to one folio.
#[derive(Default)]
pub(super) struct FolioUse {
    /// Pages mapped, by address space and place.
    pub mappings: BTreeMap<(MmId, Vpn), u32>,
    /// Objects whose map names it.
    pub objects: u32,
}

/// What one address space has.
#[derive(Default)]
pub(super) struct MmUse {
    pub anon: u64,
    pub block_mapped: u64,
    pub shmem: u64,
    pub swap: u64,
    pub tables: u64,
    /// Tables that have moved.
    pub moved_tables: usize,
    /// Blocks of the huge zero page.
    pub zero_blocks: u64,
}

/// Everything that page tables and objects refer to.
#[derive(Default)]
pub(crate) struct Observed {
    pub(super) folios: BTreeMap<FolioId, FolioUse>,
    pub(crate) slots: BTreeMap<SwapEntry, u32>,
    pub(super) tables: BTreeSet<Pfn>,
    pub(super) mms: BTreeMap<MmId, MmUse>,
}

impl Observed {
    pub(super) fn walk_mm<M: Machine>(&mut self, mm: &Arc<Mm<M>>) {
        self.mms.entry(mm.id()).or_default();
        let of_tree = |tree: &Tree| (tree.root, tree.moved.len());
        let tree = mm.tables().read().as_ref().map(of_tree);
        if let Some((root, nr_moved)) = tree {
            self.walk_table(mm, Level::L0, root, Vpn::new(0));
            let found = self.mms[&mm.id()].moved_tables;
            assert_eq!(nr_moved, found, "tables that have moved, of {:?}: kept, found", mm.id());
        }
    }

    fn walk_table<M: Machine>(&mut self, mm: &Arc<Mm<M>>, level: Level, table: Pfn, first: Vpn) {
        assert!(self.tables.insert(table), "table page {table:?} is in two places");
        self.mms.entry(mm.id()).or_default().tables += 1;
        let mut live = 0;
        let mut blocks = 0;
        let moved = match level.below() {
            Some(_) => 0,
            None => mm.system().words().lock_table(table).moved(),
        };
        if moved != 0 {
            self.audit_moved_table(mm, table, first, moved);
        }
        for index in 0..512 {
            let raw = mm.machine().load(PteSlot::new(table, index));
            if raw == 0 {
                continue;
            }
            live += 1;
            let page = first.add(index as u64 * level.span_pages());
            match level.below() {
                Some(below) => match TablePte::decode(raw) {
                    Some(entry) => self.walk_table(mm, below, entry.table(), page),
                    None => {
                        assert_eq!(level, Level::L2, "entry {raw:#x} at {page:?}");
                        self.walk_block(mm, page, raw);
                        blocks += 1;
                    }
                },
                None => self.walk_entry(mm, page, origin_of(page, moved), raw),
            }
        }
        let spares = level.below().map(|_| mm.system().words().spares(table));
        for spare in spares.into_iter().flatten() {
            assert!(self.tables.insert(spare), "table page {spare:?} is in two places");
            self.mms.entry(mm.id()).or_default().tables += 1;
            blocks -= 1;
        }
        assert_eq!(blocks, 0, "blocks without a table set aside, of table {table:?}");
        let kept = mm.system().words().lock_table(table).nr_live();
        assert_eq!(kept, live, "entries in use of table {table:?}: kept, found");
    }

    /// Checks that a reverse-map walker finds the table, which has moved to `first`.
    fn audit_moved_table<M: Machine>(
        &mut self,
        mm: &Arc<Mm<M>>,
        table: Pfn,
        first: Vpn,
        moved: u32,
    ) {
        let tree = mm.tables().read();
        let found = &tree.as_ref().expect("it has tables").moved;
        let mut found = found.from(origin_of(first, moved));
        assert!(found.any(|own| own == (table, moved)), "table {table:?} at {first:?} has moved");
        self.mms.entry(mm.id()).or_default().moved_tables += 1;
    }

    fn walk_block<M: Machine>(&mut self, mm: &Arc<Mm<M>>, page: Vpn, raw: u64) {
        let pte = Pte::of_block(raw).unwrap_or_else(|| panic!("block {raw:#x} at {page:?}"));
        let counted = self.mms.entry(mm.id()).or_default();
        if pte.is_special() {
            counted.zero_blocks += 1;
            assert_eq!(Some(pte.pfn()), mm.system().thp().huge_zero.first(), "the huge zero page");
            assert!(!pte.is_writable(), "the huge zero page is mapped writable");
            return;
        }
        counted.block_mapped += 512;
        for n in 0..512 {
            self.walk_present(mm, page.add(n), page.add(n), pte.advanced(n as u32));
        }
    }

    fn walk_entry<M: Machine>(&mut self, mm: &Arc<Mm<M>>, page: Vpn, origin: Vpn, raw: u64) {
        match Entry::decode(raw) {
            Entry::Present(pte) => self.walk_present(mm, page, origin, pte),
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                self.mms.entry(mm.id()).or_default().swap += 1;
                *self.slots.entry(entry).or_default() += 1;
            }
            Entry::NonPresent(NonPresent::Poison) => {}
            other => panic!("{:?}: {other:?} at {page:?}", mm.id()),
        }
    }

    /// Looks at a page that is mapped at `page`, and that the reverse map has at `origin`.
    fn walk_present<M: Machine>(&mut self, mm: &Arc<Mm<M>>, page: Vpn, origin: Vpn, pte: Pte) {
        let system = mm.system();
        if pte.is_special() {
            assert_eq!(pte.pfn(), system.zero_page(), "a special entry maps the zero page");
            assert!(!pte.is_writable(), "the zero page is mapped writable");
            return;
        }
        let id = system.folio_of(pte);
        let folio = system.folio(id);
        let counted = self.mms.entry(mm.id()).or_default();
        *if folio.is_anon() { &mut counted.anon } else { &mut counted.shmem } += 1;
        let base = base_of(origin, pte.pfn().get() - folio.head().get());
        let mappings = &mut self.folios.entry(id).or_default().mappings;
        *mappings.entry((mm.id(), base)).or_default() += 1;
        let is_own = folio.is_anon() && pte.is_writable();
        assert!(is_own || !pte.is_device_exclusive(), "{page:?} is a device's alone: {pte:?}");
        if is_own {
            assert!(
                system.is_mapped_only_by(system.folio(id), mm.id()),
                "{id:?} is shared and writable"
            );
        }
        if pte.mem_type() == pgtable::MemType::Tagged && !pte.is_on_device() {
            let state = system.words().mte_state(pte.pfn());
            assert_eq!(
                state,
                crate::frame::MteState::Tagged,
                "tags of {:?} at {page:?}",
                pte.pfn()
            );
        }
    }

    pub(super) fn walk_object<M: Machine>(&mut self, object: &Arc<Shmem<M>>) {
        object.for_each_slot(
            |id| self.folios.entry(id).or_default().objects += 1,
            |entry| *self.slots.entry(entry).or_default() += 1,
        );
    }
}
