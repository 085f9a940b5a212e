// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes simulated CPUs forget: as late as permitted, and no more than asked.
//!
//! An invalidation waits at the CPU that started it and takes effect, on every CPU in reach, when
//! that CPU completes it; no barrier of another CPU does that. It then removes what it names, but
//! for what was cached after it was started, and for what an entry store that it has overtaken
//! would bring back (see [`super::store_order`]).

use alloc::vec::Vec;

use base::percpu::CpuId;
use base::sync::schedule_point;
use base::{PageRange, Pfn, Vpn};

use super::SimMachine;
use super::descriptor::{self, RUN};
use super::mmu::{Mmu, Space};
use super::store_order::Overtaken;
use super::tlb::{Cached, Shape};
use crate::cpu::Cpus;
use crate::pte_mem::PteSlot;
use crate::tlb::{Asid, Invalidate, LeafLevel, Reach, Tlb, TlbiCount};

/// An invalidation that was started.
#[derive(Clone, Debug)]
pub(super) struct Invalidation {
    what: Invalidate,
    reach: Reach,
    issued: u64,
    /// Stores with no barrier between them and it.
    overtaken: Overtaken,
}

impl Invalidation {
    /// Returns whose translations fall to it, `None` for all.
    fn asid(&self) -> Option<Asid> {
        match self.what {
            Invalidate::Leaves { asid, .. } | Invalidate::Walks { asid, .. } => Some(asid),
            Invalidate::Asid(asid) => Some(asid),
            Invalidate::All => None,
        }
    }

    fn pages(&self) -> PageRange {
        match self.what {
            Invalidate::Leaves { pages, .. } | Invalidate::Walks { pages, .. } => pages,
            Invalidate::Asid(_) | Invalidate::All => PageRange::new(Vpn::new(0), Vpn::END),
        }
    }

    /// Returns the shapes that fall to it: no more than the caller says there are.
    fn shapes(&self) -> &'static [Shape] {
        match self.what {
            Invalidate::Leaves { level: LeafLevel::Any, .. } => &Shape::LEAVES,
            Invalidate::Leaves { level: LeafLevel::Pages, .. } => &[Shape::Page, Shape::Run],
            Invalidate::Leaves { level: LeafLevel::Blocks, .. } => &[Shape::Block],
            Invalidate::Walks { .. } | Invalidate::Asid(_) | Invalidate::All => &Shape::ALL,
        }
    }

    /// Tells whether a cached item falls to this invalidation.
    fn removes(&self, shape: Shape, cached: &Cached) -> bool {
        cached.filled < self.issued
            && (self.overtaken.is_empty() || !self.is_refilled(shape, cached))
    }

    /// Tells whether a walk between this invalidation and a store that it has overtaken brings the
    /// item back.
    fn is_refilled(&self, shape: Shape, cached: &Cached) -> bool {
        let nr_slots = if shape == Shape::Run { RUN } else { 1 };
        (0..nr_slots).any(|within| {
            let slot = PteSlot { index: cached.slot.index + within, ..cached.slot };
            self.overtaken.get(slot).is_some_and(descriptor::is_valid)
        })
    }
}

impl Mmu {
    fn start_invalidation(&mut self, issuer: CpuId, what: Invalidate, reach: Reach) {
        self.counts.invalidations += 1;
        let overtaken = self.order.overtaken_by(issuer);
        let issued = self.order.tick();
        let invalidation = Invalidation { what, reach, issued, overtaken };
        self.cpus[issuer.get()].pending.push(invalidation);
    }

    /// Applies what `issuer` has started and a barrier of `reach` waits for. A barrier for this CPU
    /// alone (DSB NSH) waits for no other CPU.
    pub(super) fn complete_invalidations(&mut self, issuer: CpuId, reach: Reach) {
        self.counts.completions += 1;
        let is_awaited = |i: &Invalidation| reach == Reach::Broadcast || i.reach == Reach::Local;
        let pending = core::mem::take(&mut self.cpus[issuer.get()].pending);
        let (awaited, rest): (Vec<_>, _) = pending.into_iter().partition(is_awaited);
        self.cpus[issuer.get()].pending = rest;
        for invalidation in awaited {
            for cpu in (0..self.cpus.len()).map(CpuId::new) {
                if invalidation.reach == Reach::Broadcast || cpu == issuer {
                    self.forget(cpu, &invalidation);
                }
            }
        }
        if reach == Reach::Broadcast {
            self.order.barrier(issuer);
        }
    }

    fn forget(&mut self, cpu: CpuId, invalidation: &Invalidation) {
        let asids = match invalidation.asid() {
            Some(asid) => [asid].into(),
            None => self.tlbs.asids_of(cpu),
        };
        for (asid, shape) in asids
            .into_iter()
            .flat_map(|asid| invalidation.shapes().iter().map(move |shape| (asid, *shape)))
        {
            let removes = |cached: &Cached| invalidation.removes(shape, cached);
            self.tlbs.forget(cpu, shape, asid, invalidation.pages(), removes);
        }
    }

    /// Makes a CPU translate with the table of `space`.
    ///
    /// # Panics
    ///
    /// When another CPU uses the same ASID with another table.
    fn activate(&mut self, cpu: CpuId, space: Space) {
        for (other, state) in self.cpus.iter().enumerate() {
            let clash = state.space.filter(|s| s.asid == space.asid && s.root != space.root);
            if let Some(clash) = clash.filter(|_| other != cpu.get()) {
                panic!(
                    "asid reuse: {space:?} on cpu {} while cpu {other} runs {clash:?}",
                    cpu.get()
                );
            }
        }
        self.cpus[cpu.get()].space = Some(space);
    }
}

impl Tlb for SimMachine {
    fn before(&self) {
        schedule_point();
        let mut mmu = self.mmu();
        mmu.counts.befores += 1;
        mmu.order.barrier(self.cpu());
    }

    fn invalidate(&self, what: Invalidate, reach: Reach) -> TlbiCount {
        schedule_point();
        self.mmu().start_invalidation(self.cpu(), what, reach);
        match what {
            Invalidate::Asid(_) => TlbiCount { asids: 1, ..TlbiCount::default() },
            Invalidate::All => TlbiCount { alls: 1, ..TlbiCount::default() },
            Invalidate::Leaves { pages, .. } | Invalidate::Walks { pages, .. } => {
                match pages.nr_pages() {
                    0 => TlbiCount::default(),
                    1 => TlbiCount { pages: 1, ..TlbiCount::default() },
                    _ => TlbiCount { ranges: 1, ..TlbiCount::default() },
                }
            }
        }
    }

    fn complete(&self, reach: Reach) {
        schedule_point();
        self.mmu().complete_invalidations(self.cpu(), reach);
    }

    fn nr_asids(&self) -> u32 {
        self.config().nr_asids
    }

    fn activate(&self, root: Pfn, asid: Asid) {
        schedule_point();
        assert!(u32::from(asid.0) < self.config().nr_asids, "{asid:?} has too many bits");
        assert!(self.ram().is_managed(root), "the root {root:?} is not managed memory");
        self.mmu().activate(self.cpu(), Space { root, asid });
    }

    fn deactivate(&self) {
        schedule_point();
        self.mmu().cpus[self.cpu().get()].space = None;
    }

    fn sets_access_flag(&self) -> bool {
        self.config().hw_access_flag
    }

    fn sets_dirty(&self) -> bool {
        self.config().hw_dirty
    }
}
