// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder defines an address space: its areas (`vma/`), its tables, its numbers.
//!
//! # The life of an address space
//!
//! 1. [`Mm::new`] or [`Mm::fork`]: a number, an empty root table, one user. An ASID comes with the
//!    first CPU that runs it (`tlb/activate.rs`).
//! 2. Users come and go: threads, and whoever looks at it from outside ([`Mm::get_user`]).
//! 3. The last [`Mm::put_user`] unmaps everything, invalidates the ASID and frees the tables.
//! 4. The structure lives on until the last `Arc` is gone, so a reverse-map walker that found the
//!    number a moment ago finds an address space without tables.
//!
//! # Locks
//!
//! - The *mmap lock* (`areas`, sleeping): shared by faults and by what only looks or discards;
//!   alone by what changes the areas. Entries may be added and table pages be put in with it
//!   shared; table pages are taken out with it held alone.
//! - `tables` (spin): shared by a reverse-map walker, which has no mmap lock, while it uses table
//!   pages; alone for the moment in which a table page is taken out.
//! - The lock of a table page, for its entries.

mod block;
mod leaf_table;
mod lifetime;
mod moved_tables;
mod registry;
mod run;
mod stats;
mod swap_run;
mod tables;
mod user_access;

pub(crate) use block::{BlockLock, SpareTable};
pub(crate) use leaf_table::PageTableLock;
#[cfg(feature = "audit")]
pub(crate) use moved_tables::origin_of;
pub(crate) use moved_tables::{MovedTables, page_at};
pub(crate) use registry::{LiveMm, MmRegistry};
pub(crate) use run::Run;
pub use stats::MmStats;
pub(crate) use stats::Resident;
pub(crate) use swap_run::name_neighbours;
pub(crate) use tables::Mapped;
pub use user_access::RemoteError;

use alloc::sync::Arc;

use base::Pfn;
use base::lock_level::TableTree;
use base::sync::RwSpinLock;
use base::sync::atomic::{AtomicBool, AtomicU32};
use hal::Machine;
use hal::sleep_lock::{RwSleepLock, SleepReadGuard, SleepWriteGuard};

use crate::mirror::Mirrors;
use crate::rmap::MmId;
use crate::system::System;
use crate::thp::DisableCell;
use crate::tlb::{Batches, Residency};
use crate::vma::Areas;

/// An address space.
pub struct Mm<M: Machine> {
    system: Arc<System<M>>,
    id: MmId,
    /// Threads and lookers-on; the last to leave tears down.
    users: AtomicU32,
    /// The mmap lock and what it guards.
    areas: RwSleepLock<Areas<M>>,
    /// The translation tables, `None` after teardown.
    tables: RwSpinLock<Option<Tree>, TableTree>,
    /// The same root for those who have the mmap lock, which keeps it alive.
    root: Pfn,
    /// The leaf table that a fault used last (`tables.rs`).
    last_leaf: tables::LastLeaf,
    stats: stats::Gauges,
    /// Where it has run, and under which ASID.
    residency: Residency,
    batches: Batches,
    mirrors: Mirrors<M>,
    thp_disable: DisableCell,
    /// Counted among the users of the huge zero page (`thp/huge_zero.rs`).
    is_huge_zero_user: AtomicBool,
}

/// The translation tables of an address space, as a reverse-map walker finds them.
pub(crate) struct Tree {
    /// The level-0 table.
    pub root: Pfn,
    /// Level-3 tables that are not where the reverse map has their pages.
    pub moved: MovedTables,
}

impl<M: Machine> Mm<M> {
    /// Returns the memory manager the address space belongs to.
    #[inline(always)]
    pub fn system(&self) -> &Arc<System<M>> {
        &self.system
    }

    #[inline(always)]
    pub(crate) fn machine(&self) -> &M {
        self.system.machine()
    }

    /// Returns the number of the address space.
    pub fn id(&self) -> MmId {
        self.id
    }

    /// Returns the root of its tables, for whom has something that keeps it alive.
    pub(crate) fn root(&self) -> Pfn {
        self.root
    }

    pub(crate) fn read_areas(&self) -> SleepReadGuard<'_, Areas<M>, M> {
        self.areas.read(self.machine())
    }

    pub(crate) fn write_areas(&self) -> SleepWriteGuard<'_, Areas<M>, M> {
        self.areas.write(self.machine())
    }

    pub(crate) fn tables(&self) -> &RwSpinLock<Option<Tree>, TableTree> {
        &self.tables
    }

    pub(crate) fn gauges(&self) -> &stats::Gauges {
        &self.stats
    }

    pub(crate) fn thp_disable_cell(&self) -> &DisableCell {
        &self.thp_disable
    }

    pub(crate) fn is_huge_zero_user(&self) -> &AtomicBool {
        &self.is_huge_zero_user
    }

    pub(crate) fn mirrors(&self) -> &Mirrors<M> {
        &self.mirrors
    }

    pub(crate) fn residency(&self) -> &Residency {
        &self.residency
    }

    pub(crate) fn batches(&self) -> &Batches {
        &self.batches
    }
}
