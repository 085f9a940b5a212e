// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file changes a single translation that is in use: break-before-make, and forgetting it on
//! one CPU only.

use base::{PageRange, Vpn};
use hal::{Invalidate, Machine, Reach};
use pgtable::{Change, change_of};

use crate::mm::{Mm, PageTableLock};

impl<M: Machine> Mm<M> {
    /// Replaces the entry of `page` by what `make` makes of it, which must not be in a TLB together
    /// with the old entry (another frame, another memory type), and returns the old entry. When
    /// this returns, no CPU uses the old entry (Arm ARM D8.17.1).
    pub(crate) fn replace_mapping(
        &self,
        table: &mut PageTableLock<'_, M>,
        page: Vpn,
        make: impl FnOnce(u64) -> u64,
    ) -> u64 {
        // Break. What hardware has set until now comes back with the old entry, so only now is it
        // known whether a TLB may hold it.
        let old = table.exchange(page, 0);
        let new = make(old);
        if change_of(old, new) != Change::Store {
            self.invalidate_page(page, Reach::Broadcast);
        }
        // Make.
        table.exchange(page, new);
        old
    }

    /// Makes the running CPU forget `page`: its TLB still has an entry that permits less than the
    /// one in memory, and faulted on it.
    pub(crate) fn forget_locally(&self, page: Vpn) {
        self.invalidate_page(page, Reach::Local);
    }

    fn invalidate_page(&self, page: Vpn, reach: Reach) {
        let machine = self.machine();
        // The entry stored before must be visible to walks before the TLBs are told to forget.
        machine.before();
        let what = Invalidate::Leaves { asid: self.asid(), pages: PageRange::of_len(page, 1) };
        self.system().count_tlbi(machine.invalidate(what, reach));
        machine.complete(reach);
        self.system().count(crate::events::MmEvent::TlbDsb, 1);
    }
}
