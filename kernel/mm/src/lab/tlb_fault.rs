// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the switches that weaken one invalidation each. Each is caught by a named test:
//! docs/TESTING.md lists them.

use hal::Machine;

use crate::system::System;

/// A way to get invalidation wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum TlbFault {
    /// No barrier between the entry's store and the TLBI.
    NoBarrierBefore,
    /// The TLBI names the next address space.
    WrongAsid,
    /// It leaves the first page of its range out.
    FirstPageLeft,
    /// It leaves the last page of its range out.
    LastPageLeft,
    /// It reaches the own CPU only, wherever the address space ran.
    AlwaysLocal,
    /// It says that a block is a page (TTL).
    BlockAsPage,
    /// It leaves cached walks to a freed table alone.
    WalksAsLeaves,
    /// The barrier after a broadcast waits for the own CPU only (DSB NSH).
    WaitsForOwnCpu,
    /// Nobody waits at the end of an operation.
    NeverCompleted,
    /// Entries taken away are not noted.
    TakenAwayUnnoted,
    /// Rights taken away are not noted.
    ProtectedUnnoted,
    /// Pages that fork makes read-only are not noted.
    ForkedUnnoted,
    /// A table page is freed, and the walks to it are not noted.
    TableUnnoted,
    /// The wait comes after the table's lock (Linux until 60bae7370896).
    CompletedAfterUnlock,
    /// Who finds another's batch open does the barrier alone (Linux's first batching on arm64).
    RemoteDsbOnly,
    /// Pages of an object count as unmapped before any CPU has forgotten them.
    SharedUnsettled,
    /// A batch of reclaim is not announced.
    BatchUnannounced,
    /// Reclaim writes before it has waited.
    WrittenBeforeCompletion,
    /// Reclaim takes an inaccessible entry for one that no TLB has.
    InaccessibleTrusted,
    /// An entry is replaced without a break.
    ReplacedUnbroken,
    /// An entry is broken and made again without waiting.
    MadeBeforeCompletion,
    /// A contiguous run is taken apart without a break.
    UnfoldedUnbroken,
    /// A block becomes a table without a break.
    BlockSplitUnbroken,
    /// A page gets another memory type without a break.
    TaggedUnbroken,
    /// A table is put elsewhere without a break.
    TableMovedUnbroken,
    /// Exit frees tables and pages of which TLBs know.
    ExitUnnoted,
    /// A truncated object's pages stay in TLBs.
    TruncatedUnnoted,
    /// Moving to another CPU leaves the old CPU's entries, and forgets that it has any.
    MovedUnflushed,
    /// A CPU does not note that it runs an address space.
    RunUnnoted,
    /// ASIDs are given out again while TLBs know them.
    RolloverUnflushed,
    /// A rollover takes the ASIDs of running address spaces away.
    RolloverForgetsRunning,
    /// A CPU does not announce what it is about to translate with.
    EntersUnannounced,
    /// Frames that wait for an invalidation are freed at once.
    WaitedForNothing,
    /// Pages are copied, and a block put in their table's place, while CPUs know both.
    CollapsedUnbroken,
}

impl TlbFault {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::NoBarrierBefore,
        Self::WrongAsid,
        Self::FirstPageLeft,
        Self::LastPageLeft,
        Self::AlwaysLocal,
        Self::BlockAsPage,
        Self::WalksAsLeaves,
        Self::WaitsForOwnCpu,
        Self::NeverCompleted,
        Self::TakenAwayUnnoted,
        Self::ProtectedUnnoted,
        Self::ForkedUnnoted,
        Self::TableUnnoted,
        Self::CompletedAfterUnlock,
        Self::RemoteDsbOnly,
        Self::SharedUnsettled,
        Self::BatchUnannounced,
        Self::WrittenBeforeCompletion,
        Self::InaccessibleTrusted,
        Self::ReplacedUnbroken,
        Self::MadeBeforeCompletion,
        Self::UnfoldedUnbroken,
        Self::BlockSplitUnbroken,
        Self::TaggedUnbroken,
        Self::TableMovedUnbroken,
        Self::ExitUnnoted,
        Self::TruncatedUnnoted,
        Self::MovedUnflushed,
        Self::RunUnnoted,
        Self::RolloverUnflushed,
        Self::RolloverForgetsRunning,
        Self::EntersUnannounced,
        Self::WaitedForNothing,
        Self::CollapsedUnbroken,
    ];
}

impl<M: Machine> System<M> {
    /// Switches a fault on, for good.
    #[cfg(feature = "lab")]
    pub fn weaken(&self, fault: TlbFault) {
        self.lab().weak.fetch_or(1 << fault as u64, core::sync::atomic::Ordering::Relaxed);
    }

    /// Tells whether a fault is switched on.
    #[cfg(feature = "lab")]
    pub(crate) fn is_weak(&self, fault: TlbFault) -> bool {
        self.lab().weak.load(core::sync::atomic::Ordering::Relaxed) & 1 << fault as u64 != 0
    }

    /// Tells whether a fault is switched on: never.
    #[cfg(not(feature = "lab"))]
    #[inline(always)]
    pub(crate) fn is_weak(&self, _fault: TlbFault) -> bool {
        false
    }
}
