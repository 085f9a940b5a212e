// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder decides what the TLBs must forget, when, and who waits for it. One scheme.
//!
//! # Rules
//!
//! 1. Whoever takes away or tightens a translation notes it in a [`TlbGather`] (or, in reclaim, a
//!    [`TlbBatch`]) while it holds the table's lock. `pgtable::change_of` says whether an
//!    invalidation is due at all: an entry that is not valid is in no TLB.
//! 2. With the mmap lock shared, and in reclaim, the invalidation is *issued* before the table's lock
//!    is released. With the mmap lock held alone it may be issued at the end, for all of the
//!    operation: nobody maps anything there meanwhile.
//! 3. It is *completed* (DSB, by the CPU that issued it) before anybody can rely on it:
//!    - with the mmap lock shared, before the table's lock is released, because a fault on another
//!      CPU may put a new translation there at once (break-before-make);
//!    - with the mmap lock held alone, before the mmap lock is released; but for a moved mapping and
//!      for a page of a shared object, before reclaim can see it unmapped there: a CPU could still
//!      write to it after its content was written out;
//!    - in reclaim, at the end of the batch. Until then the folio stays locked, and a fault on the
//!      entry left behind needs that lock, be it a swap entry or an empty one that leads to an
//!      object. An empty entry that leads nowhere (a page MADV_FREE gave up) is completed at once.
//! 4. Frames and table pages come back only after that ([`TlbGather::finish`]). Under
//!    [`TlbPolicy::Generation`] they may wait for it without anybody who waits for them (`waiting.rs`).
//! 5. Every invalidation has a number of its CPU, and every CPU notes how far its barriers have come
//!    (`generation.rs`): whether one is complete is a comparison. The batches of reclaim that took
//!    entries away are announced to the address space. Whoever finishes a gather there and finds a
//!    batch of another CPU open does not trust it: it invalidates the whole ASID itself. Another
//!    CPU's DSB would prove nothing (Linux's first arm64 batching had that bug).
//! 6. The other way round, who holds no mmap lock does not trust an entry that is not valid: mprotect
//!    may have made it so, and not completed. Reclaim invalidates PROT_NONE pages like any other
//!    (Linux: `pte_accessible()`), and whoever takes a block apart does.
//! 7. Which CPUs must forget is known for each address space (`activate.rs`): none, the running one
//!    alone, or all. A CPU is noted before it walks, and who invalidates looks after its barrier.

mod activate;
mod active;
mod asid;
mod batch;
mod gather;
mod generation;
mod invalidate;
mod policy;
mod replace;
mod waiting;

pub(crate) use activate::Residency;
pub(crate) use batch::TlbBatch;
pub(crate) use gather::TlbGather;
pub(crate) use generation::Batches;
pub use policy::TlbPolicy;

use base::sync::atomic::{AtomicU8, Ordering};
use hal::tlb::TlbiCount;
use hal::{Invalidate, Machine, Reach, TraceKind};

use crate::events::MmEvent;
use crate::system::System;
use activate::CpuSpaces;
use generation::Generations;
use waiting::WaitingRooms;

/// What the scheme has one of per machine.
pub(crate) struct Tlb {
    policy: AtomicU8,
    generations: Generations,
    spaces: CpuSpaces,
    waiting: WaitingRooms,
}

impl Tlb {
    pub(crate) fn new(machine: &impl Machine) -> Self {
        Self {
            policy: AtomicU8::new(TlbPolicy::default() as u8),
            generations: Generations::new(machine.nr_cpus()),
            spaces: CpuSpaces::new(machine.nr_asids(), machine.nr_cpus()),
            waiting: WaitingRooms::new(machine.nr_cpus()),
        }
    }

    fn generations(&self) -> &Generations {
        &self.generations
    }

    fn spaces(&self) -> &CpuSpaces {
        &self.spaces
    }

    fn waiting(&self) -> &WaitingRooms {
        &self.waiting
    }
}

impl<M: Machine> System<M> {
    /// Returns how invalidations are put together.
    pub fn tlb_policy(&self) -> TlbPolicy {
        TlbPolicy::from_raw(self.tlb().policy.load(Ordering::Relaxed))
    }

    /// Says how invalidations are put together from now on.
    pub fn set_tlb_policy(&self, policy: TlbPolicy) {
        if policy == TlbPolicy::Generation {
            self.tlb().waiting().furnish();
        }
        self.tlb().policy.store(policy as u8, Ordering::Relaxed);
    }

    /// Lets every CPU count invalidations on from `nr`. None is outstanding.
    #[cfg(feature = "lab")]
    pub fn count_tlb_generations_from(&self, nr: u64) {
        self.tlb().generations().count_from(nr);
    }

    /// Counts the instructions of an invalidation.
    #[inline(always)]
    fn count_invalidation(&self, what: Invalidate, count: TlbiCount, reach: Reach) {
        let nr_issued = count.pages + count.ranges + count.asids + count.alls;
        self.machine().mark(TraceKind::TlbIssue, || [first_addr(what), nr_issued.into()]);
        if count.pages != 0 {
            self.count(MmEvent::TlbiPage, count.pages.into());
        }
        if count.ranges != 0 {
            self.count(MmEvent::TlbiRange, count.ranges.into());
        }
        if let Invalidate::Leaves { pages, .. } | Invalidate::Walks { pages, .. } = what
            && count.ranges != 0
        {
            self.count(MmEvent::TlbiRangePages, pages.nr_pages() - u64::from(count.pages));
        }
        if count.asids != 0 {
            self.count(MmEvent::TlbiAsid, count.asids.into());
        }
        if count.alls != 0 {
            self.count(MmEvent::TlbiAll, count.alls.into());
        }
        if reach == Reach::Local {
            self.count(MmEvent::TlbiLocal, nr_issued.into());
        }
    }
}

/// Returns where an invalidation begins, for the trace; 0 for all of an address space, or of all.
fn first_addr(what: Invalidate) -> u64 {
    match what {
        Invalidate::Leaves { pages, .. } | Invalidate::Walks { pages, .. } => {
            pages.start.base().get()
        }
        Invalidate::Asid(_) | Invalidate::All => 0,
    }
}
