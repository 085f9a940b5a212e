// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what a simulated machine is made of, and how hard it tries.

use alloc::vec::Vec;

use base::Pfn;

use super::SimMachine;

/// A run of managed RAM, in blocks of 2 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bank {
    /// First frame, a multiple of 512.
    pub first: Pfn,
    /// Number of 2 MiB blocks.
    pub nr_blocks: u32,
}

/// How often the machine does what it may do but need not.
///
/// What it *must not* rely on happens always and has no odds: translations are kept until an
/// invalidation of them is complete, tables and pages of reused frames are checked on every reuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adversary {
    /// One in so many entry accesses and user accesses, a CPU translates an address that no
    /// instruction asked for: sets its access flag, caches it. As often, user code is interrupted
    /// for no reason. 0: never.
    pub speculation: u32,
    /// One in so many walks that meet an entry store with no barrier after it reads the entry as
    /// it was before. 0: never.
    pub late_store: u32,
    /// One in so many looks at the disks, a request completes that nobody waits for yet. 0: never.
    pub early_io: u32,
}

impl Adversary {
    /// Does all it may, often.
    pub const FULL: Adversary = Adversary { speculation: 8, late_store: 4, early_io: 4 };
    /// Does nothing of its own accord. For tests that count.
    pub const CALM: Adversary = Adversary { speculation: 0, late_store: 0, early_io: 0 };
}

/// What to build a [`SimMachine`] from.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Number of CPUs.
    pub nr_cpus: usize,
    /// Managed RAM, ascending. Frames cost host memory from their first use on.
    pub banks: Vec<Bank>,
    /// Blocks of RAM that the machine accepts for the kernel's own heap.
    pub nr_heap_blocks: u32,
    /// Memory has allocation tags.
    pub has_tags: bool,
    /// Hardware sets the access flag.
    pub hw_access_flag: bool,
    /// Hardware manages dirty state. Needs [`SimConfig::hw_access_flag`], as FEAT_HAFDBS does.
    pub hw_dirty: bool,
    /// How many ASIDs there are.
    pub nr_asids: u32,
    /// Disk sizes in sectors.
    pub disks: Vec<u64>,
    /// Devices with memory of their own: a bank each, ascending, apart from RAM.
    pub devices: Vec<Bank>,
    /// Requests a disk has in flight at most.
    pub queue_depth: usize,
    /// Where every choice of the machine comes from.
    pub seed: u64,
    /// How hard it tries.
    pub adversary: Adversary,
    /// A frame may be mapped anew only when no CPU holds a stale translation to it. Off: only
    /// reuse of its contents is judged, so that an entry may move before its old place is
    /// invalidated.
    pub judges_new_mappings: bool,
    /// A plain store over an entry that hardware may be making dirty is a failure in itself. Off:
    /// it is one only when it loses something.
    pub judges_plain_stores: bool,
    /// A frame may be written to disk only when no CPU can store to it through an entry that is empty
    /// now. Off, for memory whose content is nobody's once it is unmapped (that of shared objects is
    /// not): somebody may be on the way of unmapping part of a folio that is written as a whole.
    pub judges_unmapped_stores: bool,
}

impl Default for SimConfig {
    /// Two CPUs, 16 MiB at 1 GiB, every feature, no disk, full adversary, seed 0.
    fn default() -> Self {
        Self {
            nr_cpus: 2,
            banks: [Bank { first: Pfn::new(0x4_0000), nr_blocks: 8 }].into(),
            nr_heap_blocks: 0,
            has_tags: true,
            hw_access_flag: true,
            hw_dirty: true,
            nr_asids: 1 << 16,
            disks: Vec::new(),
            devices: Vec::new(),
            queue_depth: 128,
            seed: 0,
            adversary: Adversary::FULL,
            judges_new_mappings: true,
            judges_plain_stores: true,
            judges_unmapped_stores: true,
        }
    }
}

impl SimConfig {
    /// Builds the machine.
    ///
    /// # Panics
    ///
    /// When no such machine exists: no CPU, banks that overlap or are not 2 MiB aligned, hardware
    /// dirty state without a hardware access flag.
    pub fn build(self) -> SimMachine {
        SimMachine::new(self)
    }
}
