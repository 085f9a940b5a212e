// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file stops munmap in the middle: entries are taken away, and nobody has waited yet.

use base::PageRange;
use hal::Machine;
use hal::sleep_lock::SleepWriteGuard;

use crate::mm::Mm;
use crate::tlb::TlbGather;
use crate::vma::Areas;

/// A munmap that has emptied its entries, and still holds the mmap lock.
#[must_use = "what was taken away is freed when this is finished"]
pub struct OpenUnmap<'m, M: Machine> {
    gather: TlbGather<'m, M>,
    _areas: SleepWriteGuard<'m, Areas<M>, M>,
}

impl<M: Machine> OpenUnmap<'_, M> {
    /// Waits, and frees what was taken.
    pub fn finish(mut self) {
        self.gather.finish();
    }
}

impl<M: Machine> Mm<M> {
    /// Empties the entries of `pages`, as munmap does.
    pub fn begin_unmap(&self, pages: PageRange) -> OpenUnmap<'_, M> {
        let mut areas = self.write_areas();
        let mut gather = TlbGather::complete_at_finish(self);
        for area in areas.take(pages) {
            self.zap(&area, area.pages(), &mut gather);
        }
        OpenUnmap { gather, _areas: areas }
    }
}
