// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings back what an address space has on one swap area, for swapoff.

use base::{PageRange, Pfn, Vpn};
use hal::Machine;
use pgtable::{Entry, NonPresent, SwapEntry};

use super::Area;
use crate::fault::FaultError;
use crate::mm::{Mapped, Mm};
use crate::swap::{ReadAhead, SwapOffError};

impl<M: Machine> Mm<M> {
    /// Maps every page whose entry names a slot of the area, and returns how many it found. A page that
    /// cannot be read becomes poisoned: touching it is a bus error, and swapoff goes on.
    ///
    /// # Errors
    ///
    /// [`SwapOffError`]; what has come back stays back.
    pub(crate) fn bring_back_from(
        &self,
        ahead: &mut ReadAhead<'_, M>,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<usize, SwapOffError> {
        let areas = self.read_areas();
        let mut nr = 0;
        for vma in areas.iter() {
            let mut left = vma.pages();
            while let Some((part, mapped)) = self.next_mapped(left) {
                left.start = part.end;
                if let Mapped::Table(table) = mapped {
                    nr += self.bring_back_table(ahead, vma, table, part, should_stop)?;
                }
                if self.is_left_to_visitor() {
                    // Nobody will look at the rest, and all slots are given up at once.
                    return Ok(nr);
                }
            }
        }
        Ok(nr)
    }

    /// Maps what `pages`, which share a table, have on the area. An entry that changes meanwhile is for
    /// the next round.
    fn bring_back_table(
        &self,
        ahead: &mut ReadAhead<'_, M>,
        vma: &Area<M>,
        table: Pfn,
        mut pages: PageRange,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<usize, SwapOffError> {
        let mut nr = 0;
        loop {
            self.choose_on_area(ahead, table, pages);
            let Some((last, _)) = ahead.pages.last() else { return Ok(nr) };
            pages.start = last.add(1);
            let nr_read = self.read_ahead(vma, table, ahead);
            for (page, entry) in &ahead.pages[..nr_read] {
                self.bring_back_page(vma, *page, *entry)?;
                if should_stop() {
                    return Err(SwapOffError::Interrupted);
                }
            }
            if nr_read < ahead.pages.len() {
                return Err(SwapOffError::OutOfMemory);
            }
            nr += nr_read;
            self.machine().cond_resched();
        }
    }

    /// Chooses the first of `pages`, which share a table, whose entries name slots of the area.
    fn choose_on_area(&self, ahead: &mut ReadAhead<'_, M>, table: Pfn, pages: PageRange) {
        let area = ahead.area();
        let lock = self.lock_leaf_table(table);
        ahead.choose(pages.pages().filter_map(|page| match lock.entry(page) {
            Entry::NonPresent(NonPresent::Swap { entry, .. }) if entry.area == area => {
                Some((page, entry))
            }
            _ => None,
        }));
    }

    fn bring_back_page(
        &self,
        vma: &Area<M>,
        page: Vpn,
        entry: SwapEntry,
    ) -> Result<(), SwapOffError> {
        match self.fault_in_swapped(vma, page) {
            // Its slots too: what has come back stays back if swapoff is interrupted.
            Ok(()) => self.system().free_unused_slots(entry),
            Err(FaultError::OutOfMemory) => return Err(SwapOffError::OutOfMemory),
            Err(_) => self.poison(page, entry),
        }
        Ok(())
    }

    /// Gives up a page whose content cannot be read.
    fn poison(&self, page: Vpn, entry: SwapEntry) {
        let Some(Mapped::Table(table)) = self.mapped_at(page) else { return };
        let mut lock = self.lock_leaf_table(table);
        let is_still = matches!(
            lock.entry(page),
            Entry::NonPresent(NonPresent::Swap { entry: now, .. }) if now == entry
        );
        if is_still {
            // A swap entry is in no TLB.
            lock.exchange(page, NonPresent::Poison.encode());
            self.gauges().add_swap(-1);
            self.system().drop_slots(entry, 1);
        }
    }
}
