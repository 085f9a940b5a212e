// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes entries that are not valid name the frames where their pages are now, whoever has
//! them.

use core::ops::ControlFlow;

use base::{PageRange, Pfn};
use hal::Machine;
use pgtable::{MemType, Pte};

use super::source::dst_folio;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::lab::Fault;
use crate::rmap::{MappedAt, MappedBy};
use crate::system::System;

impl<M: Machine> System<M> {
    /// Moves every entry that is counted in `from` to `to`: one folio as large, or a folio for each
    /// page. `from` is the ghost of a folio, or a folio on a device.
    pub(super) fn remap(&self, from: &FolioRef<'_, M>, to: &[FolioLock<'_, M>]) {
        // A fork may add entries behind the walk.
        while from.is_mapped() {
            let _ = self.visit_mappings(from, |at| {
                self.remap_run(from, to, at);
                ControlFlow::Continue(())
            });
        }
    }

    fn remap_run(&self, from: &FolioRef<'_, M>, to: &[FolioLock<'_, M>], at: MappedAt<'_, '_, M>) {
        let MappedBy::Table(table) = at.by else { panic!("a frozen folio has no block") };
        if !table.present(at.page).is_some_and(Pte::is_frozen) {
            return;
        }
        let step = if to.len() == 1 { at.nr } else { 1 };
        for n in (0..at.nr).step_by(step as usize) {
            let (page, index) = (at.page.add(n.into()), at.index + n);
            let (folio, to_index) = dst_folio(to, index);
            let from_counts = (from.id(), &**from, table.place(page, index));
            let to_counts = (&***folio, table.place(page, to_index));
            let left = self.recount_mapping(from_counts, to_counts, at.mm.id(), step, true);
            // The caller's own reference is left.
            drop(left.expect("the reserve is for this"));
            let first = folio.head().add(to_index);
            at.mm.mirrors().invalidate(PageRange::of_len(page, step.into()));
            if folio.has(FolioFlags::DEVICE) {
                self.name_device(table, page, step, first);
            } else {
                at.mm.replace_run_mapping(table, page, step, |old| {
                    self.home_entry(folio, old, first)
                });
            }
        }
    }

    /// Makes frozen entries name frames of a device.
    fn name_device(
        &self,
        table: &mut crate::mm::PageTableLock<'_, M>,
        page: base::Vpn,
        nr: u32,
        first: Pfn,
    ) {
        let was = table.present(page).expect("a frozen entry").pfn().get();
        // Frames keep their distance.
        table.update_run(page, nr, |pte| {
            pte.on_device(Pfn::new(first.get().wrapping_add(pte.pfn().get().wrapping_sub(was))))
        });
    }

    /// Returns the entry of a page that has come home. What the device wrote is in no swap slot, so the
    /// folio is dirty whatever the entry says; and so is a writable entry, for the store that asks for
    /// it not to fault once more.
    fn home_entry(&self, folio: &FolioLock<'_, M>, old: Pte, first: Pfn) -> Pte {
        let new = old.thawed_at(first);
        if self.commits(Fault::DeviceEntryDirty) {
            if !old.is_dirty() {
                folio.clear(FolioFlags::DIRTY);
            }
            return new;
        }
        if new.mem_type() == MemType::Tagged {
            for n in 0..folio.order().nr_pages() {
                self.make_page_tagged(folio.head().add(n));
            }
        }
        let new = new.young();
        let new = if new.is_writable() { new.dirty() } else { new };
        self.sync_code(folio, new);
        new
    }
}
