// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings back what an address space has on one swap area, for swapoff.

use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{AreaId, Entry, NonPresent, SwapEntry};

use crate::fault::FaultError;
use crate::mm::{Mapped, Mm};
use crate::swap::SwapOffError;

impl<M: Machine> Mm<M> {
    /// Maps every page whose entry names a slot of `area`. A page that cannot be read becomes
    /// poisoned: touching it is a bus error, and swapoff goes on.
    pub(crate) fn bring_back_from(
        &self,
        area: AreaId,
        should_stop: &mut impl FnMut() -> bool,
    ) -> Result<(), SwapOffError> {
        let areas = self.read_areas();
        for vma in areas.iter() {
            let mut page = vma.pages().start;
            while let Some((at, entry)) = self.next_on_area(area, page, vma.pages().end) {
                match self.fault_in_swapped(vma, at) {
                    // Its slots too: what has come back stays back if swapoff is interrupted.
                    Ok(()) => self.system().free_unused_slots(entry),
                    Err(FaultError::OutOfMemory) => return Err(SwapOffError::OutOfMemory),
                    Err(_) => self.poison(at, entry),
                }
                page = at;
                if should_stop() {
                    return Err(SwapOffError::Interrupted);
                }
            }
        }
        Ok(())
    }

    /// Returns the first page from `page` on whose entry names a slot of `area`.
    fn next_on_area(&self, area: AreaId, page: Vpn, end: Vpn) -> Option<(Vpn, SwapEntry)> {
        let mut left = PageRange::new(page, end);
        while let Some((part, mapped)) = self.next_mapped(left) {
            left.start = part.end;
            let Mapped::Table(table) = mapped else { continue };
            let lock = self.lock_leaf_table(table);
            let found = part.pages().find_map(|page| match lock.entry(page) {
                Entry::NonPresent(NonPresent::Swap { entry, .. }) if entry.area == area => {
                    Some((page, entry))
                }
                _ => None,
            });
            if found.is_some() {
                return found;
            }
        }
        None
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
