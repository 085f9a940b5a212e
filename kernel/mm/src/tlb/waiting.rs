// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps what is freed until the TLBs have forgotten it, so that nobody waits for that alone
//! ([`TlbPolicy::Generation`](super::TlbPolicy)).
//!
//! What an operation gives up goes into the room of its CPU, with the stamp of the invalidation that
//! it waits for. It leaves when the stamp has passed: after the next barrier of that CPU, whatever
//! that was for, or a switch of threads. When memory is short, or a room is full, somebody waits for
//! it.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use base::Pfn;
use base::lock_level;
use base::percpu::{CpuId, MAX_CPUS, PerCpu};
use base::sync::SpinLock;
use base::sync::atomic::{AtomicUsize, Ordering};
use hal::{Invalidate, Machine, Reach};

use super::generation::Stamp;
use crate::folio::FolioId;
use crate::lab::TlbFault;
use crate::system::System;

/// Folios and table pages that can wait at one CPU.
const FOLIOS: usize = 4096;
const TABLES: usize = 128;
/// How many leave a room at a time.
const AT_ONCE: usize = 128;

/// What waits at each CPU.
pub(super) struct WaitingRooms(PerCpu<Room>);

struct Room {
    /// How many are inside, to be read without the lock.
    nr: AtomicUsize,
    inside: SpinLock<Waiting, lock_level::TlbWaiting>,
}

/// References to folios, and table pages.
#[derive(Default)]
struct Waiting {
    folios: Vec<FolioId>,
    tables: Vec<Pfn>,
    /// What the last of them waits for; the others wait for the same or earlier ones.
    last: Option<Stamp>,
}

impl Waiting {
    fn has_room_for(&self, nr_folios: usize, nr_tables: usize) -> bool {
        self.folios.len() + nr_folios <= self.folios.capacity()
            && self.tables.len() + nr_tables <= self.tables.capacity()
    }
}

impl WaitingRooms {
    pub(super) fn new(nr_cpus: usize) -> Self {
        Self(PerCpu::new(nr_cpus, |_| Room {
            nr: AtomicUsize::new(0),
            inside: SpinLock::new(Waiting::default()),
        }))
    }

    /// Makes the rooms as large as they will ever be.
    pub(super) fn furnish(&self) {
        for room in self.0.iter() {
            let mut inside = room.inside.lock();
            inside.folios.reserve_exact(FOLIOS);
            inside.tables.reserve_exact(TABLES);
        }
    }
}

impl<M: Machine> System<M> {
    /// Frees folios, of each of which a reference is given up, and table pages, when an invalidation
    /// has passed. Called with no table locked.
    pub(super) fn free_after<const N: usize>(
        &self,
        stamp: Stamp,
        folios: &mut ArrayVec<FolioId, N>,
        tables: &[Pfn],
    ) {
        let cpu = self.machine().cpu();
        let has_passed = self.tlb().generations().has_passed(stamp);
        if has_passed || self.is_weak(TlbFault::WaitedForNothing) {
            return self.free_forgotten(folios, tables);
        }
        let room = self.tlb().waiting().0.of(cpu);
        let mut inside = room.inside.lock();
        if stamp.cpu() == cpu && inside.has_room_for(folios.len(), tables.len()) {
            inside.folios.extend_from_slice(folios);
            inside.tables.extend_from_slice(tables);
            inside.last = Some(stamp);
            room.nr.store(inside.folios.len() + inside.tables.len(), Ordering::Relaxed);
            return;
        }
        drop(inside);
        self.complete_tlbi(stamp);
        self.free_forgotten(folios, tables);
        self.free_waiting();
    }

    /// Frees what no TLB reaches any more.
    pub(super) fn free_forgotten<const N: usize>(
        &self,
        folios: &mut ArrayVec<FolioId, N>,
        tables: &[Pfn],
    ) {
        folios.retain(|id| self.put_unmapped(*id));
        self.free_folios(folios);
        tables.iter().for_each(|table| self.free_frame(*table));
    }

    /// Frees what waits at the running CPU for what has passed.
    #[inline]
    pub(super) fn free_waiting(&self) {
        let cpu = self.machine().cpu();
        if self.tlb().waiting().0.of(cpu).nr.load(Ordering::Relaxed) != 0 {
            self.empty_room(cpu, None);
        }
    }

    /// Frees what waits at a CPU, if it has passed, or if the last of it is `forgotten`.
    fn empty_room(&self, cpu: CpuId, forgotten: Option<Stamp>) {
        let room = self.tlb().waiting().0.of(cpu);
        loop {
            let mut inside = room.inside.lock();
            let Some(last) = inside.last else { return };
            if forgotten != Some(last) && !self.tlb().generations().has_passed(last) {
                return;
            }
            let folios_left = inside.folios.len().saturating_sub(AT_ONCE);
            let mut folios: ArrayVec<_, AT_ONCE> = inside.folios.drain(folios_left..).collect();
            let tables_left = inside.tables.len().saturating_sub(AT_ONCE);
            let tables: ArrayVec<_, AT_ONCE> = inside.tables.drain(tables_left..).collect();
            room.nr.store(folios_left + tables_left, Ordering::Relaxed);
            if folios_left + tables_left == 0 {
                inside.last = None;
            }
            drop(inside);
            self.free_forgotten(&mut folios, &tables);
        }
    }

    /// Waits for what the running CPU has started, and frees what waits for that.
    pub fn settle_tlb_of_cpu(&self) {
        self.complete_own_tlbis();
        self.free_waiting();
    }

    /// Frees everything that waits anywhere, after making every CPU forget everything. Tells whether
    /// there was anything.
    pub fn settle_tlb(&self) -> bool {
        let rooms = &self.tlb().waiting().0;
        if rooms.iter().all(|room| room.nr.load(Ordering::Relaxed) == 0) {
            return false;
        }
        // What waits at other CPUs waits for invalidations of theirs, of which this CPU's barrier says
        // nothing. What comes in from here on waits for one that this may not cover.
        let lasts = rooms.iter().map(|room| room.inside.lock().last);
        let lasts: ArrayVec<_, MAX_CPUS> = lasts.collect();
        let machine = self.machine();
        machine.before();
        let count = machine.invalidate(Invalidate::All, Reach::Broadcast);
        self.count_invalidation(Invalidate::All, count, Reach::Broadcast);
        self.tlb().generations().note(machine.cpu(), Reach::Broadcast);
        self.complete_own_tlbis();
        for (cpu, last) in lasts.into_iter().enumerate() {
            self.empty_room(CpuId::new(cpu), last);
        }
        true
    }
}
