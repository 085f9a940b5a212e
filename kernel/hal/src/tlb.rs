// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to TLB invalidation.
//!
//! The order of one invalidation is: entry stores; [`Tlb::before`]; any number of
//! [`Tlb::invalidate`]; [`Tlb::complete`]. Completion is guaranteed only to the CPU that issued the
//! invalidations and then completed them (Arm ARM D8.17.6: a DSB on the PE that executed the TLBI);
//! another CPU's barrier proves nothing.

use base::{PageRange, Pfn};

/// An address-space identifier, as it tags TLB entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Asid(pub u16);

/// What to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalidate {
    /// Last-level entries of one address space for a range of pages.
    Leaves {
        /// Address space.
        asid: Asid,
        /// Pages to forget.
        pages: PageRange,
    },
    /// Entries of every level, cached walks included, for a range of pages: due when a table page
    /// goes away.
    Walks {
        /// Address space.
        asid: Asid,
        /// Pages to forget.
        pages: PageRange,
    },
    /// Everything of one address space.
    Asid(Asid),
}

/// Which CPUs must forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// All CPUs of the inner-shareable domain.
    Broadcast,
    /// The calling CPU only.
    Local,
}

/// Counts of instructions that an invalidation took, for the caller's counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TlbiCount {
    /// Single-page TLBIs.
    pub pages: u32,
    /// Range TLBIs (FEAT_TLBIRANGE).
    pub ranges: u32,
    /// Whole-ASID TLBIs.
    pub asids: u32,
}

/// TLB invalidation and address-space switch.
pub trait Tlb {
    /// Orders all earlier entry stores of this CPU before the invalidations that follow
    /// (DSB ISHST).
    fn before(&self);

    /// Starts one invalidation and returns what instructions it took.
    fn invalidate(&self, what: Invalidate, reach: Reach) -> TlbiCount;

    /// Waits until every invalidation this CPU started is complete: no CPU in reach uses a forgotten
    /// translation any more, and accesses made through one are visible (DSB ISH).
    fn complete(&self, reach: Reach);

    /// Makes the running CPU translate user addresses with the table at `root`.
    fn activate(&self, root: Pfn, asid: Asid);

    /// Makes the running CPU translate no user address at all.
    fn deactivate(&self);

    /// Tells whether hardware sets the access flag by itself (FEAT_HAFDBS, and not switched off).
    fn sets_access_flag(&self) -> bool;

    /// Tells whether hardware manages dirty state by itself (FEAT_HAFDBS DBM, and not switched off).
    fn sets_dirty(&self) -> bool;
}
