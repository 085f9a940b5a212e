// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes areas away: munmap.

use base::PageRange;
use hal::Machine;

use super::areas::Areas;
use super::mmap::{HEAP_BYTES, MAX_AREAS};
use crate::frame::OutOfMemory;
use crate::mm::Mm;
use crate::tlb::TlbGather;

impl<M: Machine> Mm<M> {
    /// Takes away everything in `pages`: areas, entries, table pages that become empty. When this
    /// returns, no CPU reaches any of it.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when splitting an area would make one too many, or the kernel heap is short.
    pub fn unmap(&self, pages: PageRange) -> Result<(), OutOfMemory> {
        self.system().reserve_kernel_heap(HEAP_BYTES)?;
        let mut areas = self.write_areas();
        if areas.nr_areas() >= MAX_AREAS {
            return Err(OutOfMemory);
        }
        let mut gather = TlbGather::complete_at_finish(self);
        self.unmap_locked(&mut areas, pages, &mut gather);
        gather.finish();
        Ok(())
    }

    /// Takes away everything in `pages`; the mmap lock is held alone until `gather` is finished.
    pub(super) fn unmap_locked(
        &self,
        areas: &mut Areas<M>,
        pages: PageRange,
        gather: &mut TlbGather<'_, M>,
    ) {
        for area in areas.take(pages) {
            self.zap(&area, area.pages(), gather);
        }
        self.take_out_empty_tables(pages, gather);
    }
}
