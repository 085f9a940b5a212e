// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the lab switches: each makes the memory manager commit one fault, historical or
//! deliberate, so that the test that guards against it can be shown to catch it. Beside them is how
//! a refault goes in an experiment (`refault.rs`).
//!
//! Without the feature `lab` every question is answered with a constant, and the faults and the
//! experiments are compiled out.

#[cfg(all(feature = "lab", feature = "audit"))]
mod harm;
#[cfg(feature = "lab")]
mod hold;
#[cfg(feature = "lab")]
mod open_batch;
#[cfg(feature = "lab")]
mod open_unmap;
mod refault;
mod tlb_fault;

use hal::Machine;

use crate::system::System;
#[cfg(all(feature = "lab", feature = "audit"))]
pub use harm::LockedFolio;
#[cfg(feature = "lab")]
pub use hold::HeldFolio;
#[cfg(feature = "lab")]
pub use open_batch::OpenBatch;
#[cfg(feature = "lab")]
pub use open_unmap::OpenUnmap;
pub use refault::{Refault, Restore};
pub use tlb_fault::TlbFault;

/// A fault that can be switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Fault {
    /// Swap-out writes the bytes and forgets the tags.
    TagsNotSaved,
    /// Reclaim unmaps a page and tells no TLB.
    UnmapWithoutTlbi,
    /// A failed read from swap keeps a reference to the folio it was for.
    ReferenceLeakedOnReadError,
    /// Taking an entry away reads it and then clears it, in two steps.
    ReadThenClear,
    /// The last user of a slot frees its neighbour.
    WrongSlotFreed,
    /// munmap puts pages before the TLBs have forgotten them (the rule that seed 227 of the property
    /// test brought about).
    PutBeforeInvalidation,
    /// A page that has its tags is given the saved ones again: nothing remembers that it has them.
    TagsRestoredAgain,
    /// The last entry that names a slot frees it although a folio caches it.
    SlotFreedWhileCached,
    /// The tag state of all pages of a folio is that of the first.
    TagStateOfHead,
    /// Users of a swap area hold no reference that swapoff waits for, and free_swap_and_cache() looks at
    /// the map once more (Linux until v6.9, CVE-2024-26960).
    AreaNotHeld,
    /// Swapoff visits every address space once, by number, and takes what fork has copied meanwhile for
    /// gone.
    SwapoffVisitsOnce,
    /// Two folios cache one slot: who reads it does not look again whether somebody was faster.
    CachedTwice,
    /// Only the first slot of a cached folio that is split gets its new name (Linux: a folio was migrated
    /// in the swap cache, and only the head's entry moved).
    OnlyHeadRenamed,
    /// The slots of a cached folio that is split name nothing for a moment (Linux 71e2d666ef85).
    ClearedBeforeRenamed,
    /// A fault that wants a large folio wants nothing else, whatever has happened to the slots meanwhile
    /// (Linux: -EEXIST for ever).
    OrderInsistedOn,
    /// An entry that is frozen loses its dirty state (Linux before fd35ca3d12cc: "copy pte dirty bit to
    /// page").
    DirtyBitDropped,
    /// Migration tells the TLBs after it has unlocked the table (Linux before 60bae7370896).
    FlushAfterUnlock,
    /// Migration unlocks the table to split a folio, and has not told the TLBs yet what it took away
    /// there.
    UnlockedForSplit,
    /// Dirty state is read from an entry that names a frame of a device, where it means nothing.
    DeviceEntryDirty,
    /// A page that a device has for itself is the CPUs' again before the device is told.
    ExclusiveEndedLate,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::TagsNotSaved,
        Self::UnmapWithoutTlbi,
        Self::ReferenceLeakedOnReadError,
        Self::ReadThenClear,
        Self::WrongSlotFreed,
        Self::PutBeforeInvalidation,
        Self::TagsRestoredAgain,
        Self::SlotFreedWhileCached,
        Self::TagStateOfHead,
        Self::AreaNotHeld,
        Self::SwapoffVisitsOnce,
        Self::CachedTwice,
        Self::OnlyHeadRenamed,
        Self::ClearedBeforeRenamed,
        Self::OrderInsistedOn,
        Self::DirtyBitDropped,
        Self::FlushAfterUnlock,
        Self::UnlockedForSplit,
        Self::DeviceEntryDirty,
        Self::ExclusiveEndedLate,
    ];
}

/// The switches of one memory manager.
#[derive(Default)]
pub(crate) struct Lab {
    #[cfg(feature = "lab")]
    on: core::sync::atomic::AtomicU32,
    #[cfg(feature = "lab")]
    weak: core::sync::atomic::AtomicU64,
    #[cfg(feature = "lab")]
    refault: refault::Setting,
}

impl<M: Machine> System<M> {
    /// Switches a fault on, for good.
    #[cfg(feature = "lab")]
    pub fn commit(&self, fault: Fault) {
        self.lab().on.fetch_or(1 << fault as u32, core::sync::atomic::Ordering::Relaxed);
    }

    /// Tells whether a fault is switched on.
    #[cfg(feature = "lab")]
    pub(crate) fn commits(&self, fault: Fault) -> bool {
        self.lab().on.load(core::sync::atomic::Ordering::Relaxed) & 1 << fault as u32 != 0
    }

    /// Tells whether any fault is switched on.
    #[cfg(feature = "lab")]
    pub fn has_faults(&self) -> bool {
        self.lab().on.load(core::sync::atomic::Ordering::Relaxed) != 0
    }

    /// Tells whether a fault is switched on: never.
    #[cfg(not(feature = "lab"))]
    #[inline(always)]
    pub(crate) fn commits(&self, _fault: Fault) -> bool {
        let _ = self.lab();
        false
    }
}
