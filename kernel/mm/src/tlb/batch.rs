// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file batches the waiting of reclaim: an invalidation per run of pages, one completion for all.

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
    /// Neighbouring pages whose entries were replaced while one table was locked; not issued yet.
    pending: Option<(Arc<Mm<M>>, PageRange)>,
    is_issued: bool,
}

impl<'s, M: Machine> TlbBatch<'s, M> {
    /// Begins a batch.
    pub(crate) fn new(system: &'s System<M>) -> Self {
        Self { system, open: ArrayVec::new(), pending: None, is_issued: false }
    }

    /// Replaces a run of `nr` entries from `page` on by what `new` says of each, notes the
    /// invalidation that is due, and returns the first old entry with the access and dirty state of
    /// all. The table is locked, and stays so until [`TlbBatch::issue`].
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

    /// Notes the invalidation that is due because the entries of a run changed as the first of them
    /// did: from `old` to `new`. Their table is locked, and stays so until [`TlbBatch::issue`].
    pub(crate) fn note_run(&mut self, mm: &Arc<Mm<M>>, pages: PageRange, old: u64, new: u64) {
        match change_of(old, new) {
            // PROT_NONE, maybe only just: rule 6.
            Change::Store if Pte::is_present(old) && !Pte::is_present(new) => self.add(mm, pages),
            Change::Store => self.system.count(MmEvent::TlbElided, pages.nr_pages()),
            Change::StoreAndForgetLazily => {}
            Change::StoreThenInvalidate => self.add(mm, pages),
            Change::BreakBeforeMake => panic!("{pages:?}: {old:#x} to {new:#x} needs a break"),
        }
    }

    fn add(&mut self, mm: &Arc<Mm<M>>, pages: PageRange) {
        if let Some((last, range)) = &mut self.pending
            && range.end == pages.start
            && Arc::ptr_eq(last, mm)
        {
            range.end = pages.end;
            return;
        }
        self.issue();
        self.pending = Some((Arc::clone(mm), pages));
    }

    /// Starts the invalidations that are due. Called before a table is unlocked.
    pub(crate) fn issue(&mut self) {
        if let Some((mm, pages)) = self.pending.take() {
            self.invalidate(&mm, pages);
        }
    }

    fn invalidate(&mut self, mm: &Arc<Mm<M>>, pages: PageRange) {
        if self.system.commits(Fault::UnmapWithoutTlbi) {
            return;
        }
        mm.mirrors().invalidate(pages);
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
            self.finish_issued();
            return;
        }
        mm.tickets().open();
        self.open.push(Arc::clone(mm));
    }

    /// Waits until no CPU uses anything that this batch has taken away.
    pub(crate) fn complete(&mut self) {
        self.issue();
        self.finish_issued();
    }

    fn finish_issued(&mut self) {
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
