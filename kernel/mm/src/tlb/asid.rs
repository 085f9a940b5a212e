// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives out ASIDs, in generations.
//!
//! There may be more address spaces than ASIDs. An ASID belongs to who got it until all are given
//! out; then a new generation begins (a *rollover*): the TLBs forget everything, and all ASIDs are
//! free again but those of the address spaces that run at that moment, which keep theirs. Linux does
//! the same in arch/arm64/mm/context.c.

use alloc::boxed::Box;

use arrayvec::ArrayVec;

use base::percpu::MAX_CPUS;
use hal::Asid;

/// An ASID and the generation in which it was given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AsidContext(u64);

impl AsidContext {
    /// That of an address space that has never run.
    pub(super) const NONE: Self = Self(0);

    /// What a CPU has that translates no user address: of a generation that never comes.
    pub(super) const NOBODY: Self = Self(u64::MAX);

    const fn new(generation: u64, asid: u16) -> Self {
        Self(generation << 16 | asid as u64)
    }

    pub(super) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(super) const fn raw(self) -> u64 {
        self.0
    }

    pub(super) const fn asid(self) -> Asid {
        Asid(self.0 as u16)
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> 16
    }

    /// Tells whether what a CPU runs is the address space that knows its own context as `own`. The CPU may
    /// have run it over rollovers, and have the context of an earlier generation: the ASID has been
    /// nobody else's since.
    pub(super) fn is_of(self, own: Self) -> bool {
        self.asid() == own.asid() && self.generation() <= own.generation()
    }
}

/// ASIDs that run while a generation begins: of each CPU one at most, and one that it is about to run.
pub(super) type Running = ArrayVec<AsidContext, { 2 * MAX_CPUS }>;

/// The ASIDs of one machine.
pub(super) struct Asids {
    generation: u64,
    /// A bit for each that is given out in this generation. Nobody gets ASID 0.
    used: Box<[u64]>,
    nr: u32,
    /// Where to look for a free one.
    next: u32,
    /// Kept over the last rollover, each as its CPU knows it.
    kept: Running,
}

impl Asids {
    /// Makes `nr` ASIDs, none given out, in generation 1.
    ///
    /// # Panics
    ///
    /// When every CPU may keep two and none is left to give out.
    pub(super) fn new(nr: u32, nr_cpus: usize) -> Self {
        assert!(nr as usize >= 2 * nr_cpus + 2, "{nr} ASIDs are too few for {nr_cpus} CPUs");
        let used = alloc::vec![0; nr.div_ceil(64) as usize].into_boxed_slice();
        let mut asids = Self { generation: 1, used, nr, next: 1, kept: Running::new() };
        asids.mark(0);
        asids
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns what an address space with `old` has in this generation: the same if it is of this
    /// generation, the same ASID if it ran when the generation began, else a fresh one. `None` when
    /// all are given out.
    pub(super) fn renew(&mut self, old: AsidContext) -> Option<AsidContext> {
        if old.generation() == self.generation {
            return Some(old);
        }
        if self.kept.iter().any(|kept| kept.is_of(old)) {
            return Some(AsidContext::new(self.generation, old.asid().0));
        }
        let free = (self.next..self.nr).find(|asid| !self.is_used(*asid))?;
        self.mark(free);
        self.next = free + 1;
        Some(AsidContext::new(self.generation, free as u16))
    }

    /// Begins a generation in which nothing is given out yet.
    pub(super) fn begin_generation(&mut self) -> u64 {
        self.generation += 1;
        self.used.fill(0);
        self.kept.clear();
        self.mark(0);
        self.next = 1;
        self.generation
    }

    /// Keeps the ASIDs of who runs for them.
    pub(super) fn keep(&mut self, running: Running) {
        running.iter().for_each(|context| self.mark(context.asid().0.into()));
        self.kept = running;
    }

    fn is_used(&self, asid: u32) -> bool {
        self.used[asid as usize / 64] & 1 << (asid % 64) != 0
    }

    fn mark(&mut self, asid: u32) {
        self.used[asid as usize / 64] |= 1 << (asid % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn fresh(asids: &mut Asids) -> Option<AsidContext> {
        asids.renew(AsidContext::NONE)
    }

    #[test]
    fn every_asid_but_0_is_given_out_once_in_a_generation() {
        for nr in [16, 100, 256, 1 << 16] {
            let mut asids = Asids::new(nr, 4);
            let given: Vec<_> = core::iter::from_fn(|| fresh(&mut asids)).collect();
            assert!(given.iter().map(|context| u32::from(context.asid().0)).eq(1..nr));
            assert_eq!(asids.begin_generation(), 2);
            assert_eq!(fresh(&mut asids), Some(AsidContext::new(2, 1)));
        }
    }

    #[test]
    fn who_runs_at_a_rollover_keeps_its_asid_and_nobody_else_gets_it() {
        let mut asids = Asids::new(16, 4);
        let given: Vec<_> = core::iter::from_fn(|| fresh(&mut asids)).collect();
        asids.begin_generation();
        asids.keep([given[0], given[6]].into_iter().collect());
        assert_eq!(asids.renew(given[6]), Some(AsidContext::new(2, 7)));
        assert_eq!(asids.renew(AsidContext::new(2, 7)), Some(AsidContext::new(2, 7)), "again");
        assert_eq!(asids.renew(given[5]), Some(AsidContext::new(2, 2)), "it did not run");
        let rest: Vec<_> = core::iter::from_fn(|| fresh(&mut asids)).collect();
        assert!(rest.iter().all(|context| ![1, 2, 7].contains(&context.asid().0)));
        assert_eq!(rest.len(), 12);
        assert_eq!(asids.renew(given[0]), Some(AsidContext::new(2, 1)), "kept until it comes");
        // It runs on, and its CPU knows nothing of the second generation.
        asids.begin_generation();
        asids.keep([given[6]].into_iter().collect());
        assert_eq!(asids.renew(AsidContext::new(2, 7)), Some(AsidContext::new(3, 7)));
        let before = AsidContext::new(0, 7);
        assert_eq!(asids.renew(before), Some(AsidContext::new(3, 1)), "it had 7 earlier");
        // Not for a generation more.
        asids.begin_generation();
        assert_eq!(asids.renew(AsidContext::new(3, 7)), Some(AsidContext::new(4, 1)));
    }
}
