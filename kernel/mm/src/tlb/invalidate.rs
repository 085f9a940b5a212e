// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file starts every invalidation of user translations, as far as one is needed: where the
//! address space has run.

use base::{PageRange, Vpn};
use hal::{Asid, Invalidate, LeafLevel, Machine, Reach, TraceKind};

use super::generation::Stamp;
use super::policy::TlbPolicy;
use crate::events::MmEvent;
use crate::lab::TlbFault;
use crate::mm::Mm;

/// What TLBs are to forget of one address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Due {
    /// Level-3 entries.
    Pages,
    /// Blocks.
    Blocks,
    /// Both.
    Leaves,
    /// Entries of every level, because table pages go.
    Walks,
}

impl Due {
    /// Returns what covers both.
    pub(super) fn and(self, other: Due) -> Due {
        match (self, other) {
            (Due::Walks, _) | (_, Due::Walks) => Due::Walks,
            _ if self == other => self,
            _ => Due::Leaves,
        }
    }

    /// Returns the pages that one entry spans.
    const fn step(self) -> usize {
        match self {
            Due::Blocks => 512,
            _ => 1,
        }
    }

    fn of(self, asid: Asid, pages: PageRange) -> Invalidate {
        match self {
            Due::Pages => Invalidate::Leaves { asid, pages, level: LeafLevel::Pages },
            Due::Blocks => Invalidate::Leaves { asid, pages, level: LeafLevel::Blocks },
            Due::Leaves => Invalidate::Leaves { asid, pages, level: LeafLevel::Any },
            Due::Walks => Invalidate::Walks { asid, pages },
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Starts an invalidation of `pages`, whose entries were changed before. Returns what to wait
    /// for, `None` for nothing: no CPU can have any of it.
    pub(super) fn start_invalidation(&self, due: Due, pages: PageRange) -> Option<Stamp> {
        self.mirrors().invalidate(pages);
        if self.system().tlb_policy() == TlbPolicy::Page {
            self.invalidate_singly(due, pages);
            return None;
        }
        let reach = self.start(|asid| self.weakened(due, asid, pages))?;
        Some(self.system().tlb().generations().note(self.machine().cpu(), reach))
    }

    /// Starts an invalidation of everything.
    pub(super) fn start_whole_invalidation(&self) -> Option<Stamp> {
        let reach = self.start(Invalidate::Asid)?;
        Some(self.system().tlb().generations().note(self.machine().cpu(), reach))
    }

    /// Makes every CPU forget pages whose entries were just changed, and waits for it. A barrier that
    /// is not noted: others may wait once more for what it has completed.
    #[inline]
    pub(super) fn invalidate_and_wait(&self, due: Due, pages: PageRange) {
        self.mirrors().invalidate(pages);
        if self.system().tlb_policy() == TlbPolicy::Page && pages.nr_pages() != 1 {
            return self.invalidate_singly(due, pages);
        }
        if let Some(reach) = self.start(|asid| self.weakened(due, asid, pages))
            && !self.system().is_weak(TlbFault::MadeBeforeCompletion)
        {
            self.complete_now(reach);
        }
    }

    #[cold]
    fn invalidate_singly(&self, due: Due, pages: PageRange) {
        for page in pages.pages().step_by(due.step()) {
            let entry = PageRange::of_len(page, due.step() as u64);
            if let Some(reach) = self.start(|asid| self.weakened(due, asid, entry)) {
                self.complete_now(reach);
            }
        }
    }

    /// Makes the running CPU forget `page`: its TLB still has an entry that permits less than the
    /// one in memory, and faulted on it.
    pub(crate) fn forget_locally(&self, page: Vpn) {
        self.machine().before();
        let pages = PageRange::of_len(page, 1);
        self.start_on(Reach::Local, |asid| Due::Leaves.of(asid, pages));
        self.complete_now(Reach::Local);
    }

    #[inline(always)]
    fn complete_now(&self, reach: Reach) {
        let span = self.machine().span(TraceKind::TlbWait, || [0; 2]);
        self.machine().complete(reach);
        drop(span);
        self.system().count(MmEvent::TlbDsb, 1);
    }

    /// Starts an invalidation where it is needed, and says who takes part; `None`: nobody.
    #[inline(always)]
    fn start(&self, what: impl Fn(Asid) -> Invalidate) -> Option<Reach> {
        let (system, machine) = (self.system(), self.machine());
        // The entries just changed must be visible to walks before the TLBs are told to forget, and
        // before it is read who walks: a CPU that is not among them yet walks after it has noted that
        // it is (`activate.rs`), and sees the change. No access starts before a DSB is complete (Arm
        // ARM B2.3.11), so the read does not need one that waits for loads.
        if !system.is_weak(TlbFault::NoBarrierBefore) {
            machine.before();
        }
        let Some(mut reach) = self.residency().reach(machine.cpu()) else {
            system.count(MmEvent::TlbiElided, 1);
            return None;
        };
        if system.is_weak(TlbFault::AlwaysLocal) {
            reach = Reach::Local;
        }
        self.start_on(reach, what);
        Some(reach)
    }

    #[inline(always)]
    fn start_on(&self, reach: Reach, what: impl Fn(Asid) -> Invalidate) {
        let mut asid = self.residency().asid();
        if self.system().is_weak(TlbFault::WrongAsid) {
            asid.0 += 1;
        }
        let what = what(asid);
        let count = self.machine().invalidate(what, reach);
        self.system().count_invalidation(what, count, reach);
    }

    /// Returns the invalidation that is due, but for what the lab switches make of it.
    #[inline(always)]
    fn weakened(&self, due: Due, asid: Asid, mut pages: PageRange) -> Invalidate {
        let is_weak = |fault| self.system().is_weak(fault);
        if is_weak(TlbFault::FirstPageLeft) {
            pages.start = pages.start.add(1);
        }
        if is_weak(TlbFault::LastPageLeft) {
            pages.end = pages.end.sub(1);
        }
        let due = match due {
            Due::Blocks if is_weak(TlbFault::BlockAsPage) => Due::Pages,
            Due::Walks if is_weak(TlbFault::WalksAsLeaves) => Due::Leaves,
            due => due,
        };
        due.of(asid, pages)
    }
}
