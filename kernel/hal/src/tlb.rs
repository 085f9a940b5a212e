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
        /// What their entries are: hardware may leave others alone.
        level: LeafLevel,
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
    /// Everything of every address space.
    All,
}

/// What the last-level entries of a range are, as far as the caller knows (FEAT_TTL).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafLevel {
    /// Blocks, pages, or both.
    Any,
    /// Level-3 entries, alone or in contiguous runs.
    Pages,
    /// Level-2 blocks; the range is aligned to them.
    Blocks,
}

/// Which CPUs must forget.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// The calling CPU only.
    Local,
    /// All CPUs of the inner-shareable domain.
    Broadcast,
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
    /// TLBIs of everything.
    pub alls: u32,
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

    /// Returns how many ASIDs there are; [`Asid`] 0 is one of them, and no address space has it.
    fn nr_asids(&self) -> u32;

    /// Makes the running CPU translate user addresses with the table at `root`. Later walks of this
    /// CPU see what its earlier barriers have ordered.
    fn activate(&self, root: Pfn, asid: Asid);

    /// Makes the running CPU translate no user address at all.
    fn deactivate(&self);

    /// Tells whether hardware sets the access flag by itself (FEAT_HAFDBS, and not switched off).
    fn sets_access_flag(&self) -> bool;

    /// Tells whether hardware manages dirty state by itself (FEAT_HAFDBS DBM, and not switched off).
    fn sets_dirty(&self) -> bool;
}
