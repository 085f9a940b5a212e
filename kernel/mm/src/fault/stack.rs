// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file grows the main stack when it is touched just below its present end.
//!
//! As on Linux, any distance counts as "just below" while the stack stays within its limit and a
//! guard gap stays free below it (mm/mmap.c, `expand_downwards` and `stack_guard_gap`).

use base::Vpn;
use hal::Machine;

use super::FaultError;
use crate::mm::Mm;
use crate::vma::AreaFlags;

impl<M: Machine> Mm<M> {
    /// Extends the stack down to `page`, which no area holds.
    pub(super) fn grow_stack(&self, page: Vpn) -> Result<(), FaultError> {
        let mut areas = self.write_areas();
        let Some(above) = areas.find_at_or_above(page) else { return Err(FaultError::NotMapped) };
        let pages = above.pages();
        if pages.contains(page) {
            // Another thread was faster.
            return Ok(());
        }
        let limit = areas.stack_limit;
        let fits = above.flags.contains(AreaFlags::GROWS_DOWN)
            && pages.end.get() - page.get() <= limit
            && areas.can_grow_down(page, pages.start);
        if !fits {
            return Err(FaultError::NotMapped);
        }
        areas.grow_down(pages.start, page);
        Ok(())
    }
}
