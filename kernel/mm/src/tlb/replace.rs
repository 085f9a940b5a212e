// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file changes translations that are in use: break-before-make.

use base::{Order, PageRange, Vpn};
use hal::Machine;
use pgtable::{Change, Entry, Pte, change_of};

use super::generation::Stamp;
use super::invalidate::Due;
use super::policy::TlbPolicy;
use crate::events::MmEvent;
use crate::lab::TlbFault;
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
        let is_broken = !self.system().is_weak(TlbFault::ReplacedUnbroken);
        if change_of(old, new) != Change::Store && is_broken {
            self.invalidate_now(PageRange::of_len(page, 1));
        }
        // Make.
        table.exchange(page, new);
        old
    }

    /// Like [`Mm::replace_mapping`], for a run of `nr` entries: `make` makes the first new entry of
    /// the first old one with the access and dirty state of all.
    pub(crate) fn replace_run_mapping(
        &self,
        table: &mut PageTableLock<'_, M>,
        page: Vpn,
        nr: u32,
        make: impl FnOnce(Pte) -> Pte,
    ) {
        let old = table.replace_run(page, nr, |_| 0);
        let new = make(old);
        let is_broken = !self.system().is_weak(TlbFault::TaggedUnbroken);
        if change_of(old.raw(), new.raw()) != Change::Store && is_broken {
            self.invalidate_now(PageRange::of_len(page, nr.into()));
        }
        table.fill_run(page, nr, new);
    }

    /// Makes the entry of `page` stand for itself if it is one of a run that TLBs may hold as one; its
    /// access and dirty state become those of the run. Break-before-make, for all 16 entries (Arm
    /// ARM D8.17.1; Linux `__contpte_try_unfold()`).
    pub(crate) fn unfold(&self, table: &mut PageTableLock<'_, M>, page: Vpn) {
        let is_run = matches!(table.entry(page), Entry::Present(pte) if pte.is_contiguous());
        if !is_run {
            return;
        }
        let nr = Order::CONT.nr_pages();
        let start = page.align_down(nr.into());
        // Break. Hardware may have marked any of the entries for all of them.
        let old = table.replace_run(start, nr, |_| 0);
        let is_broken = !self.system().is_weak(TlbFault::UnfoldedUnbroken);
        if change_of(old.raw(), 0) != Change::Store && is_broken {
            self.invalidate_now(PageRange::of_len(start, nr.into()));
        }
        // Make.
        for n in 0..nr {
            table.exchange(start.add(n.into()), old.alone().advanced(n).raw());
        }
        self.system().count(MmEvent::ContUnfold, 1);
    }

    /// Unfolds the runs that `pages`, which share a table, cut: every run within is whole then.
    #[inline]
    pub(crate) fn unfold_edges(&self, table: &mut PageTableLock<'_, M>, pages: PageRange) {
        let run = Order::CONT.nr_pages() as u64;
        for edge in [pages.start, pages.end] {
            if !edge.get().is_multiple_of(run) {
                self.unfold(table, edge);
            }
        }
    }

    /// Makes every CPU forget pages whose entries were just cleared, and waits for it.
    pub(crate) fn invalidate_now(&self, pages: PageRange) {
        self.invalidate_and_wait(Due::Pages, pages);
    }

    /// The same, of a block.
    pub(crate) fn invalidate_block_now(&self, pages: PageRange) {
        self.invalidate_and_wait(Due::Blocks, pages);
    }

    /// The same, of tables that were taken out of the tree, and of walks to them.
    pub(crate) fn forget_tables(&self, pages: PageRange) {
        if !self.system().is_weak(TlbFault::TableMovedUnbroken) {
            self.invalidate_and_wait(Due::Walks, pages);
        }
    }

    /// Makes every CPU forget everything: nobody will use the address space again. Returns what is to
    /// pass before its frames come back; `None`: they may.
    pub(crate) fn invalidate_dead(&self, may_wait: bool) -> Option<Stamp> {
        let stamp = self.start_whole_invalidation()?;
        if may_wait && self.system().tlb_policy() == TlbPolicy::Generation {
            return Some(stamp);
        }
        self.system().complete_tlbi(stamp);
        None
    }
}
