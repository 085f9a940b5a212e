// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file batches the waiting of reclaim: an invalidation per run, one completion for all.

use alloc::sync::Arc;

use arrayvec::ArrayVec;

use base::{PageRange, Vpn};
use hal::{Invalidate, Machine, Reach};
use pgtable::{Change, Pte, change_of};

use crate::events::MmEvent;
use crate::lab::Fault;
use crate::mm::{Mm, PageTableLock};
use crate::system::System;

/// Address spaces a batch touches before it completes early.
const MMS: usize = 16;

/// Invalidations of pages in any number of address spaces, completed together.
#[must_use = "what was unmapped may still be in use before complete()"]
pub(crate) struct TlbBatch<'s, M: Machine> {
    system: &'s System<M>,
    /// Address spaces with an open ticket of this batch.
    open: ArrayVec<Arc<Mm<M>>, MMS>,
    is_issued: bool,
}

impl<'s, M: Machine> TlbBatch<'s, M> {
    /// Begins a batch.
    pub(crate) fn new(system: &'s System<M>) -> Self {
        Self { system, open: ArrayVec::new(), is_issued: false }
    }

    /// Replaces a run of `nr` entries from `page` on by what `new` says of each, issues the
    /// invalidation that is due, and returns the first old entry with the access and dirty state of
    /// all. The table is locked.
    pub(crate) fn replace_run(
        &mut self,
        mm: &Arc<Mm<M>>,
        table: &mut PageTableLock<'_, M>,
        page: Vpn,
        nr: u32,
        new: impl Fn(u32) -> u64,
    ) -> Pte {
        let old = table.replace_run(page, nr, &new);
        self.note_run(mm, PageRange::of_len(page, nr.into()), old.raw(), new(0));
        old
    }

    /// Issues the invalidation that is due because the entries of a run changed as the first of them
    /// did: from `old` to `new`. Their table is locked.
    pub(crate) fn note_run(&mut self, mm: &Arc<Mm<M>>, pages: PageRange, old: u64, new: u64) {
        match change_of(old, new) {
            Change::Store => self.system.count(MmEvent::TlbElided, pages.nr_pages()),
            Change::StoreAndForgetLazily => {}
            Change::StoreThenInvalidate => self.issue(mm, pages),
            Change::BreakBeforeMake => panic!("{pages:?}: {old:#x} to {new:#x} needs a break"),
        }
    }

    fn issue(&mut self, mm: &Arc<Mm<M>>, pages: PageRange) {
        if self.system.commits(Fault::UnmapWithoutTlbi) {
            return;
        }
        let machine = self.system.machine();
        // The entries just cleared must be visible to walks before the TLBs are told to forget them.
        machine.before();
        let leaf = Invalidate::Leaves { asid: mm.asid(), pages };
        self.system.count_tlbi(machine.invalidate(leaf, Reach::Broadcast));
        self.is_issued = true;
        if self.open.iter().any(|open| Arc::ptr_eq(open, mm)) {
            return;
        }
        if self.open.is_full() {
            self.complete();
            return;
        }
        mm.tickets().open();
        self.open.push(Arc::clone(mm));
    }

    /// Waits until no CPU uses anything that this batch has taken away.
    pub(crate) fn complete(&mut self) {
        if core::mem::take(&mut self.is_issued) {
            self.system.complete_tlbi();
        }
        for mm in self.open.drain(..) {
            mm.tickets().close();
        }
    }
}

impl<M: Machine> Drop for TlbBatch<'_, M> {
    fn drop(&mut self) {
        self.complete();
    }
}
