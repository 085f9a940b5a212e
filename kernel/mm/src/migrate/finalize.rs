// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file ends a migration: entries are thawed where their pages are now, or where they were. Linux's
//! `migrate_vma_finalize()`.

use base::sync::stop_point;
use hal::{Machine, TraceKind};

use super::Migration;
use super::source::{Kind, Source};
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::system::System;

impl<M: Machine> Migration<'_, M> {
    /// Ends the migration. Returns how many folios were split because there was no room for them as a
    /// whole: their pages can be tried again.
    pub fn finalize(mut self) -> usize {
        self.end()
    }

    fn end(&mut self) -> usize {
        if self.sources.is_empty() {
            return 0;
        }
        let folios = || [self.first_address(), self.sources.len() as u64];
        let _span = self.mm.machine().span(TraceKind::MigrateFinalize, folios);
        let system = self.mm.system();
        let mut nr_split = 0;
        for source in self.sources.drain(..) {
            if source.dst.is_empty() {
                nr_split += usize::from(restore(source));
            } else {
                system.settle(source);
            }
        }
        nr_split
    }
}

impl<M: Machine> Drop for Migration<'_, M> {
    fn drop(&mut self) {
        for source in &mut self.sources {
            // What was never settled goes nowhere.
            let _ = self.mm.system().finish_copies(source);
        }
        self.end();
    }
}

/// Leaves a source where it was, as it was. Returns whether it was split.
pub(super) fn restore<M: Machine>(source: Source<'_, M>) -> bool {
    let is_to_be_split = source.is_to_be_split;
    let Kind::Ram(folio, frozen) = source.kind else { return false };
    frozen.end_as_before(&folio);
    let system = folio.system();
    system.lru().add_new(system, folio.id(), &folio);
    let folio = folio.unlock();
    is_to_be_split && system.try_split(folio)
}

impl<M: Machine> System<M> {
    /// Gives the entries of a source that was copied to its destination.
    pub(super) fn settle(&self, source: Source<'_, M>) {
        stop_point("about to thaw");
        match source.kind {
            Kind::Hole => {}
            Kind::Ram(folio, frozen) => {
                self.remap(frozen.ghost(), &source.dst);
                folio.clear(FolioFlags::FREEZING);
            }
            Kind::Device(folio) => self.remap(&folio, &source.dst),
        }
        source.dst.into_iter().for_each(|dst| self.finish_dst(dst));
    }

    fn finish_dst(&self, dst: FolioLock<'_, M>) {
        let is_in_ram = !dst.has(FolioFlags::DEVICE);
        let dst: FolioRef<'_, M> = dst.unlock();
        // Every entry may have been taken away while it was frozen.
        if is_in_ram && dst.is_mapped() {
            self.lru().add_new(self, dst.id(), &dst);
            self.queue_if_partly_mapped(dst.id(), &dst);
        }
    }
}
