// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows which entry stores have no barrier after them yet, and what that permits.
//!
//! Until a DSB, a walk may still read the entry as it was before, and an invalidation may take
//! effect first: then a walk in between brings the old translation back, and the invalidation might
//! as well not have happened. Stores, fills and invalidations are numbered on one line, so that
//! each is before or after every other.

use alloc::collections::BTreeMap;

use base::Pfn;
use base::percpu::{CpuId, MAX_CPUS};

use crate::pte_mem::PteSlot;

/// Stores of one CPU with no barrier of that CPU after them, by table and index.
type Unordered = BTreeMap<(Pfn, u16), Store>;

/// The last of such stores to one slot.
#[derive(Clone, Copy, Debug)]
struct Store {
    number: u64,
    /// The entry before the first of them.
    old: u64,
}

/// Entries that stores have replaced which an invalidation may overtake.
#[derive(Clone, Debug, Default)]
pub(super) struct Overtaken(Unordered);

/// The order of entry stores of all CPUs.
#[derive(Debug, Default)]
pub(super) struct StoreOrder {
    now: u64,
    /// By CPU. A slot is in one of them at most.
    unordered: [Unordered; MAX_CPUS],
    /// By CPU: its stores up to here are visible to every walk.
    visible: [u64; MAX_CPUS],
}

impl Overtaken {
    /// Returns the entry that a walk finds in `slot` if it comes before the store.
    pub(super) fn get(&self, slot: PteSlot) -> Option<u64> {
        self.0.get(&(slot.table, slot.index)).map(|store| store.old)
    }

    /// Tells whether the invalidation comes after all stores of its CPU.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl StoreOrder {
    /// Returns the next number.
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Records that `cpu` replaced `old` in `slot`.
    pub(super) fn record(&mut self, cpu: CpuId, slot: PteSlot, old: u64) {
        let number = self.tick();
        for (other, unordered) in self.unordered.iter_mut().enumerate() {
            // A store that another CPU has built on is visible to all: Arm's memory model is
            // other-multi-copy atomic (B2.3).
            if other != cpu.get() {
                unordered.remove(&(slot.table, slot.index));
            }
        }
        let stores = &mut self.unordered[cpu.get()];
        stores.entry((slot.table, slot.index)).or_insert(Store { number, old }).number = number;
    }

    /// Records a DSB of `cpu`: its stores are ordered before what it does next. What this CPU has
    /// observed of others' stores every walk observes too; the model does not track who observed
    /// what and makes all of them visible.
    pub(super) fn barrier(&mut self, cpu: CpuId) {
        self.unordered[cpu.get()].clear();
        self.visible = [self.now; MAX_CPUS];
    }

    /// Returns the entry that a walk may still read in `slot` in place of the one in memory.
    pub(super) fn hidden(&self, slot: PteSlot) -> Option<u64> {
        let (cpu, store) = self.unordered_store(slot)?;
        (store.number > self.visible[cpu]).then_some(store.old)
    }

    /// Records that a walk has seen the last store to `slot`, and so all before it from that CPU:
    /// entry stores are releases.
    pub(super) fn reveal(&mut self, slot: PteSlot) {
        if let Some((cpu, store)) = self.unordered_store(slot) {
            self.visible[cpu] = store.number.max(self.visible[cpu]);
        }
    }

    /// Returns what an invalidation that `cpu` starts now may overtake.
    pub(super) fn overtaken_by(&self, cpu: CpuId) -> Overtaken {
        Overtaken(self.unordered[cpu.get()].clone())
    }

    fn unordered_store(&self, slot: PteSlot) -> Option<(usize, Store)> {
        let key = (slot.table, slot.index);
        let mut cpus = self.unordered.iter().enumerate();
        cpus.find_map(|(cpu, stores)| stores.get(&key).map(|store| (cpu, *store)))
    }
}
