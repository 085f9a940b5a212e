// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows which entry stores have no barrier after them yet, and what that permits.
//!
//! Until a DSB, a walk may still read the entry as it was before, and an invalidation may take
//! effect first: then a walk in between brings the old translation back, and the invalidation might
//! as well not have happened. Stores, fills and invalidations are numbered on one line, so that
//! each is before or after every other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::Pfn;
use base::percpu::{CpuId, MAX_CPUS};

use crate::pte_mem::PteSlot;

/// Stores of one CPU with no barrier of that CPU after them, by table and index, in order.
type Unordered = BTreeMap<(Pfn, u16), Vec<Store>>;

/// One of such stores to one slot.
#[derive(Clone, Copy, Debug)]
struct Store {
    number: u64,
    /// The entry it replaced.
    old: u64,
}

/// Entries that stores have replaced which an invalidation may overtake.
#[derive(Clone, Debug, Default)]
pub(super) struct Overtaken(BTreeMap<(Pfn, u16), u64>);

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
        self.0.get(&(slot.table, slot.index)).copied()
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
        let visible = self.visible[cpu.get()];
        let stores = self.unordered[cpu.get()].entry((slot.table, slot.index)).or_default();
        stores.retain(|store| store.number > visible);
        stores.push(Store { number, old });
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
        let (cpu, stores) = self.unordered_stores(slot)?;
        first_hidden(stores, self.visible[cpu])
    }

    /// Records that a walk has seen the last store to `slot`, and so all before it from that CPU:
    /// entry stores are releases.
    pub(super) fn reveal(&mut self, slot: PteSlot) {
        let last =
            self.unordered_stores(slot).and_then(|(cpu, stores)| Some((cpu, stores.last()?)));
        if let Some((cpu, &Store { number, .. })) = last {
            self.visible[cpu] = number.max(self.visible[cpu]);
        }
    }

    /// Returns what an invalidation that `cpu` starts now may overtake.
    pub(super) fn overtaken_by(&self, cpu: CpuId) -> Overtaken {
        let visible = self.visible[cpu.get()];
        let stores = self.unordered[cpu.get()].iter();
        Overtaken(stores.filter_map(|(key, s)| Some((*key, first_hidden(s, visible)?))).collect())
    }

    fn unordered_stores(&self, slot: PteSlot) -> Option<(usize, &[Store])> {
        let key = (slot.table, slot.index);
        let mut cpus = self.unordered.iter().enumerate();
        cpus.find_map(|(cpu, stores)| stores.get(&key).map(|stores| (cpu, stores.as_slice())))
    }
}

/// Returns the oldest entry that a walk may find, given that it sees all stores up to `visible`.
fn first_hidden(stores: &[Store], visible: u64) -> Option<u64> {
    stores.iter().find(|store| store.number > visible).map(|store| store.old)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: CpuId = CpuId::new(0);
    const LEAF: PteSlot = PteSlot { table: Pfn::new(7), index: 3 };
    const LINK: PteSlot = PteSlot { table: Pfn::new(6), index: 0 };

    #[test]
    fn a_walk_may_read_what_was_there_before_all_stores_without_a_barrier() {
        let mut order = StoreOrder::default();
        order.record(CPU, LEAF, 1);
        order.record(CPU, LEAF, 2);
        assert_eq!((order.hidden(LEAF), order.overtaken_by(CPU).get(LEAF)), (Some(1), Some(1)));
        order.barrier(CPU);
        assert_eq!((order.hidden(LEAF), order.overtaken_by(CPU).is_empty()), (None, true));
    }

    #[test]
    fn a_walk_through_a_new_link_sees_nothing_from_before_it() {
        let mut order = StoreOrder::default();
        // A table is emptied, put in again elsewhere, and gets an entry.
        order.record(CPU, LEAF, 1);
        order.record(CPU, LINK, 0);
        order.record(CPU, LEAF, 0);
        order.reveal(LINK);
        assert_eq!((order.hidden(LEAF), order.overtaken_by(CPU).get(LEAF)), (Some(0), Some(0)));
        // Once seen, all are.
        order.reveal(LEAF);
        assert_eq!(order.hidden(LEAF), None);
    }
}
