// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what the tests stand on: a machine, a table built by hand, and expected panics.

use alloc::string::String;
use core::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base::percpu::CpuId;
use base::{PageRange, Pfn, VirtAddr, Vpn};

use crate::phys_mem::PhysMem;
use crate::pte_mem::{PteMem, PteSlot};
use crate::sim::{Adversary, SimConfig, SimMachine};
use crate::tlb::{Asid, Invalidate, LeafLevel, Reach, Tlb};

pub const CPU0: CpuId = CpuId::new(0);
pub const CPU1: CpuId = CpuId::new(1);
pub const ASID: Asid = Asid(7);
/// The page most tests map.
pub const PAGE: Vpn = Vpn::new(0x1_2345);

// Entry bits (Arm ARM D8.3.1), spelled out again so that a slip in `descriptor.rs` shows.
pub const USER: u64 = 1 << 6;
pub const READ_ONLY: u64 = 1 << 7;
pub const ACCESSED: u64 = 1 << 10;
pub const DBM: u64 = 1 << 51;
pub const CONTIGUOUS: u64 = 1 << 52;
pub const UXN: u64 = 1 << 54;
pub const TAGGED: u64 = 1 << 2;
/// Valid, page, EL0, inner shareable, accessed, not global, PXN, UXN: Normal memory, writable.
const WRITABLE: u64 = 3 | USER | 3 << 8 | ACCESSED | 1 << 11 | 1 << 53 | UXN;

/// A writable, accessed, dirty entry.
pub fn writable(pfn: Pfn) -> u64 {
    pfn.base().get() | WRITABLE
}

/// A writable, accessed entry that hardware will make dirty.
pub fn clean(pfn: Pfn) -> u64 {
    writable(pfn) | READ_ONLY | DBM
}

/// A 2 MiB block entry.
pub fn block(pfn: Pfn) -> u64 {
    writable(pfn) & !2
}

/// A machine with one table, active on every CPU.
pub struct Rig {
    pub machine: SimMachine,
    pub root: Pfn,
    next: core::cell::Cell<u32>,
}

impl Deref for Rig {
    type Target = SimMachine;
    fn deref(&self) -> &SimMachine {
        &self.machine
    }
}

impl Rig {
    /// Builds a rig whose machine does nothing of its own accord.
    pub fn calm(seed: u64) -> Self {
        Self::new(SimConfig { seed, adversary: Adversary::CALM, ..SimConfig::default() })
    }

    pub fn new(config: SimConfig) -> Self {
        let nr_cpus = config.nr_cpus;
        let first = config.banks[0].first;
        let machine = config.build();
        let rig = Self { machine, root: first, next: core::cell::Cell::new(first.get() + 1) };
        rig.run_on(CPU0, || rig.zero_frame(rig.root));
        for cpu in 0..nr_cpus {
            rig.run_on(CpuId::new(cpu), || rig.activate(rig.root, ASID));
        }
        rig
    }

    /// Takes a fresh frame.
    pub fn frame(&self) -> Pfn {
        let pfn = self.next.get();
        self.next.set(pfn + 1);
        Pfn::new(pfn)
    }

    /// Takes `nr` adjacent fresh frames, aligned to their number.
    pub fn frames(&self, nr: u32) -> Pfn {
        let first = self.next.get().next_multiple_of(nr);
        self.next.set(first + nr);
        Pfn::new(first)
    }

    /// Returns the slot of `page` at `level`, with tables made as needed.
    pub fn slot_at(&self, root: Pfn, page: Vpn, level: u8) -> PteSlot {
        let index = |level: u8| (page.get() >> (9 * (3 - u32::from(level))) & 511) as usize;
        let mut table = root;
        for upper in 0..level {
            let slot = PteSlot::new(table, index(upper));
            if PteMem::load(&self.machine, slot) & 1 == 0 {
                let new = self.frame();
                self.zero_frame(new);
                PteMem::store(&self.machine, slot, new.base().get() | 3);
            }
            table = Pfn::new((PteMem::load(&self.machine, slot) >> 12 & 0xffff_ffff) as u32);
        }
        PteSlot::new(table, index(level))
    }

    /// Returns the level 3 slot of `page`.
    pub fn slot(&self, page: Vpn) -> PteSlot {
        self.slot_at(self.root, page, 3)
    }

    /// Stores the level 3 entry of `page`, visible to every walk.
    pub fn map(&self, page: Vpn, entry: u64) -> PteSlot {
        self.run_on(CPU0, || {
            let slot = self.slot(page);
            PteMem::store(&self.machine, slot, entry);
            self.publish();
            slot
        })
    }

    /// Maps a fresh frame at [`PAGE`] and lets CPU 1 use it.
    pub fn map_and_use(&self) -> (PteSlot, Pfn) {
        let pfn = self.frame();
        let slot = self.map(PAGE, writable(pfn));
        self.machine.store(CPU1, PAGE.base(), 1).expect("PAGE is mapped");
        (slot, pfn)
    }

    /// The right way: orders, invalidates, completes.
    pub fn invalidate_all_cpus(&self, what: Invalidate) {
        self.before();
        self.invalidate(what, Reach::Broadcast);
        self.complete(Reach::Broadcast);
    }
}

/// Last-level invalidation of `nr` pages from `first`.
pub fn leaves(first: Vpn, nr: u64) -> Invalidate {
    Invalidate::Leaves { asid: ASID, pages: PageRange::of_len(first, nr), level: LeafLevel::Any }
}

/// All-level invalidation of `nr` pages from `first`.
pub fn walks(first: Vpn, nr: u64) -> Invalidate {
    Invalidate::Walks { asid: ASID, pages: PageRange::of_len(first, nr) }
}

/// Returns an address in [`PAGE`] with a logical tag.
pub fn tagged(tag: u64) -> VirtAddr {
    VirtAddr::new(PAGE.base().get() | tag << 56)
}

/// Returns what `f` panics with.
#[track_caller]
pub fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { panic!("this had to panic") };
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => String::from(*payload.downcast::<&str>().expect("a message")),
    }
}

/// Checks that `f` panics with a message that contains `part`.
#[track_caller]
pub fn assert_judged<R>(part: &str, f: impl FnOnce() -> R) {
    let message = panic_of(f);
    assert!(message.contains(part), "expected a panic about {part:?}, got: {message}");
}
