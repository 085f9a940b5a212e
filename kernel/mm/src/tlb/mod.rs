// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder decides what the TLBs must forget, when, and who waits for it. One scheme.
//!
//! # Rules
//!
//! 1. Whoever takes away or tightens a translation notes it in a [`TlbGather`] (or, in reclaim, a
//!    [`TlbBatch`]) while it holds the table's lock. `pgtable::change_of` says whether an
//!    invalidation is due at all: an entry that is not valid is in no TLB.
//! 2. The invalidation is *issued* before the table's lock is released.
//! 3. It is *completed* (DSB, by the CPU that issued it) before anybody can rely on it:
//!    - with the mmap lock shared, before the table's lock is released, because a fault on another
//!      CPU may put a new translation there at once (break-before-make);
//!    - with the mmap lock held alone, before the mmap lock is released; but for a moved mapping and
//!      for a page of a shared object, before reclaim can see it unmapped there: a CPU could still
//!      write to it after its content was written out;
//!    - in reclaim, at the end of the batch. Until then the folio stays locked, and a fault on the
//!      entry left behind needs that lock, be it a swap entry or an empty one that leads to an
//!      object. An empty entry that leads nowhere (a page MADV_FREE gave up) is completed at once.
//! 4. Frames and table pages come back only after that ([`TlbGather::finish`]).
//! 5. A reclaim batch that has issued but not completed is visible to others as an open ticket of
//!    the address space (`generation.rs`). Whoever finishes a gather there while a ticket is open
//!    does not trust it: it invalidates the whole ASID itself. Another CPU's DSB would prove
//!    nothing (Linux's first arm64 batching had that bug).
//! 6. The other way round, who holds no mmap lock does not trust an entry that is not valid: mprotect
//!    may have made it so, and not completed. Reclaim invalidates PROT_NONE pages like any other
//!    (Linux: `pte_accessible()`), and whoever takes a block apart does.

mod batch;
mod gather;
mod generation;
mod replace;

pub(crate) use batch::TlbBatch;
pub(crate) use gather::TlbGather;
pub(crate) use generation::Tickets;

use hal::tlb::TlbiCount;
use hal::{Machine, Reach, TraceKind};

use crate::events::MmEvent;
use crate::system::System;

impl<M: Machine> System<M> {
    /// Counts the instructions of an invalidation.
    pub(crate) fn count_tlbi(&self, count: TlbiCount) {
        let issued = || [count.ranges as u64, (count.pages + count.asids) as u64];
        self.machine().mark(TraceKind::TlbIssue, issued);
        for (event, n) in [
            (MmEvent::TlbiPage, count.pages),
            (MmEvent::TlbiRange, count.ranges),
            (MmEvent::TlbiAsid, count.asids),
        ] {
            if n != 0 {
                self.count(event, n as u64);
            }
        }
    }

    /// Waits for the invalidations this CPU has issued.
    pub(crate) fn complete_tlbi(&self) {
        let span = self.machine().span(TraceKind::TlbWait, || [0; 2]);
        self.machine().complete(Reach::Broadcast);
        drop(span);
        self.count(MmEvent::TlbDsb, 1);
    }
}
