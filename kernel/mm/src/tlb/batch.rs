// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file batches the waiting of reclaim: an invalidation per run of pages, one completion for all.

use alloc::sync::Arc;

use base::sync::stop_point;
use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{Change, Pte, change_of};

use super::generation::Stamp;
use super::invalidate::Due;
use crate::events::MmEvent;
use crate::lab::{Fault, TlbFault};
use crate::mm::{Mm, PageTableLock};
use crate::system::System;

/// Invalidations of pages in any number of address spaces, completed together.
#[must_use = "what was unmapped may still be in use before complete()"]
pub(crate) struct TlbBatch<'s, M: Machine> {
    system: &'s System<M>,
    /// Neighbouring pages whose entries were replaced while one table was locked; not issued yet.
    pending: Option<(Arc<Mm<M>>, PageRange)>,
    /// The last invalidation that was started: its completion is that of all before it.
    started: Option<Stamp>,
}

impl<'s, M: Machine> TlbBatch<'s, M> {
    /// Begins a batch.
    pub(crate) fn new(system: &'s System<M>) -> Self {
        Self { system, pending: None, started: None }
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
        let trusts_inaccessible = self.system.is_weak(TlbFault::InaccessibleTrusted);
        match change_of(old, new) {
            // PROT_NONE, maybe only just: rule 6.
            Change::Store
                if Pte::is_present(old) && !Pte::is_present(new) && !trusts_inaccessible =>
            {
                self.add(mm, pages);
            }
            Change::Store => {
                if Pte::from_raw(old).is_device_exclusive() {
                    // Frozen now: no TLB has it, but a device.
                    mm.mirrors().invalidate(pages);
                }
                self.system.count(MmEvent::TlbElided, pages.nr_pages());
            }
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
        let Some((mm, pages)) = self.pending.take() else { return };
        if self.system.commits(Fault::UnmapWithoutTlbi) {
            return;
        }
        let Some(stamp) = mm.start_invalidation(Due::Pages, pages) else {
            return;
        };
        if !self.system.is_weak(TlbFault::BatchUnannounced) {
            mm.batches().announce(stamp);
        }
        self.started = Some(stamp);
    }

    /// Waits until no CPU uses anything that this batch has taken away.
    pub(crate) fn complete(&mut self) {
        self.issue();
        if let Some(stamp) = self.started.take() {
            stop_point("batch not waited for");
            self.system.complete_tlbi(stamp);
        }
    }
}

impl<M: Machine> Drop for TlbBatch<'_, M> {
    fn drop(&mut self) {
        self.complete();
    }
}
