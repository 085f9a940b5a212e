// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory manager.
//!
//! Generic over [`hal::Machine`], without unsafe code: the kernel runs it on arm64 hardware, host
//! tests on `hal::sim::SimMachine`.
//!
//! | question | where |
//! |---|---|
//! | what a frame is, which are free | `frame/` |
//! | what a folio is, who holds it | `folio/` |
//! | who maps a folio | `rmap/` |
//! | what an address space is | `mm/` |
//! | areas, and the calls that change them | `vma/` |
//! | what happens on a page fault | `fault/` |
//! | when TLBs forget, and who waits | `tlb/` |
//! | swap slots, the swap cache, tags of swapped pages | `swap/` |
//! | what is reclaimed, and how | `reclaim/` |
//! | which sizes of folios are used | `thp/` |
//! | frames of devices with memory of their own | `device/` |
//! | how pages get there and back | `migrate/` |
//! | what a device sees of an address space | `mirror/` |
//! | pages that must not move | `pin/` |
//! | tmpfs files and shared anonymous memory | `shmem/` |
//! | what is counted | `events.rs` |
//!
//! # Locks, outermost first
//!
//! mmap lock (sleeps), folio lock (sleeps), existence of tables, a table page, object map, reverse
//! map of a folio, swap areas, cluster, free slots, tag store, LRU shard, descriptors, frame caches,
//! frame blocks, frame buddy. `base::lock_level` checks it; `docs/LOCKING.md` tells why.
//!
//! # Invariants
//!
//! - A frame is free only when no TLB of any CPU can reach it.
//! - A folio's mapcount is the number of entries that map its pages; its reverse-map entries sum to
//!   it; its references are one for all mappings, one for its swap slots or object, and those of
//!   whoever uses it at the moment.
//! - The count of a swap slot is the number of entries and objects that name it.
//! - The tags of a tagged page are in the page, or with its slot, or both and equal.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

extern crate alloc;

#[cfg(feature = "audit")]
mod audit;
mod device;
mod events;
mod fault;
mod folio;
mod frame;
pub mod lab;
mod legend;
mod meminfo;
mod migrate;
mod mirror;
mod mm;
mod pin;
mod reclaim;
mod rmap;
mod run_map;
mod shmem;
mod swap;
mod system;
mod thp;
mod tlb;
mod vma;

#[cfg(feature = "audit")]
pub use audit::Sharing;
pub use events::MmEvent;
pub use fault::FaultError;
pub use frame::{BounceFrame, OutOfMemory, Watermarks};
pub use legend::Legend;
pub use meminfo::MemInfo;
pub use migrate::{DeviceError, From, MigrateError, MigrateRequest, MigrateWord, Migration};
pub use mirror::{Glimpse, Mirror, MirrorError, Mirroring};
pub use mm::{Mm, MmStats, RemoteError};
pub use pin::Pin;
pub use reclaim::{OomCandidate, pick_oom_victim};
pub use rmap::MmId;
pub use shmem::{PagePool, Shmem, ShmemError};
pub use swap::{AreaInfo, SwapOffError, SwapOn, SwapOnError, tag_codec};
pub use system::System;
pub use thp::{
    CollapseError, Defrag, Enabled, OrderSet, Settings, SizeEnabled, SizeSettings, Thp, ThpDisable,
    ThpStat, ThpStats,
};
pub use tlb::TlbPolicy;
pub use vma::{
    Advice, AdviceError, Area, AreaFlags, AreaView, Areas, Backing, MapError, MapRequest, PageView,
    Placement, ProtectError, RemapError, RemapRequest, ResidentView,
};

pub use pgtable::Prot;
