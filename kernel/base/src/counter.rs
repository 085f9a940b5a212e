// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts events: one enum per crate names them, one cell per event and CPU holds them.
//!
//! The enum is the counter's declaration, its name on the wire and its documentation at once.
//! Names are Linux's where Linux has the counter (`pswpout`), and prefixed ones of our own where it
//! has not (`tlbi_range`).

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::percpu::{CacheAligned, CpuId};

/// An enum whose variants are counted. Declare one with [`events!`](crate::events).
pub trait Event: Copy + 'static {
    /// Wire names, one per variant, in the order of the variants.
    const NAMES: &'static [&'static str];

    /// Returns the position of this variant in [`Event::NAMES`].
    fn index(self) -> usize;
}

/// Declares an enum of counted events: each variant has a doc line and a wire name.
#[macro_export]
macro_rules! events {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $( $(#[$doc:meta])* $variant:ident = $wire:literal ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        $vis enum $name { $( $(#[$doc])* $variant ),* }

        impl $name {
            /// All variants, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }

        impl $crate::counter::Event for $name {
            const NAMES: &'static [&'static str] = &[$($wire),*];
            #[inline(always)]
            fn index(self) -> usize { self as usize }
        }
    };
}

/// The most variants of an event enum: a row's length is known, so counting is one addition.
const MAX_EVENTS: usize = 128;

/// The cells of one event enum, a row per CPU.
///
/// Cells are not part of any protocol: they are plain relaxed atomics also under the model
/// checker, so that counting adds no scheduling points.
pub struct Counters<E: Event> {
    rows: Box<[CacheAligned<[AtomicU64; MAX_EVENTS]>]>,
    events: core::marker::PhantomData<E>,
}

impl<E: Event> Counters<E> {
    /// Builds zeroed cells for `nr_cpus` CPUs.
    pub fn new(nr_cpus: usize) -> Self {
        const { assert!(E::NAMES.len() <= MAX_EVENTS) };
        let row = || CacheAligned([const { AtomicU64::new(0) }; MAX_EVENTS]);
        Self { rows: (0..nr_cpus).map(|_| row()).collect(), events: core::marker::PhantomData }
    }

    /// Counts `n` events on `cpu`. A negative number in two's complement counts down.
    #[inline(always)]
    pub fn add(&self, cpu: CpuId, event: E, n: u64) {
        self.rows[cpu.get()].0[event.index()].fetch_add(n, Relaxed);
    }

    /// Returns the sum over all CPUs. Exact when no CPU counts meanwhile.
    pub fn total(&self, event: E) -> u64 {
        self.sum(event.index())
    }

    /// Iterates over wire names and sums, in the order of the enum.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        E::NAMES.iter().enumerate().map(|(index, name)| (*name, self.sum(index)))
    }

    /// Adds a column up; what one CPU has counted up another may have counted down.
    fn sum(&self, index: usize) -> u64 {
        self.rows.iter().fold(0, |sum, row| sum.wrapping_add(row.0[index].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    events! {
        /// Two events.
        enum Sample {
            /// First.
            Fault = "pgfault",
            /// Second.
            Free = "pgfree",
        }
    }

    #[test]
    fn total_sums_the_cpus_and_keeps_events_apart() {
        let counters = Counters::<Sample>::new(2);
        counters.add(CpuId::new(0), Sample::Fault, 2);
        counters.add(CpuId::new(1), Sample::Fault, 3);
        counters.add(CpuId::new(1), Sample::Free, 1);
        assert_eq!(counters.total(Sample::Fault), 5);
        assert_eq!(Sample::ALL, [Sample::Fault, Sample::Free]);
        counters.add(CpuId::new(0), Sample::Free, (-1_i64) as u64);
        assert_eq!(counters.total(Sample::Free), 0, "counted up on one CPU, down on another");
        counters.add(CpuId::new(0), Sample::Free, 1);
        assert_eq!(counters.totals().collect::<Vec<_>>(), [("pgfault", 5), ("pgfree", 1)]);
    }
}
