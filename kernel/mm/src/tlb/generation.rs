// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file numbers invalidations, so that "has this been forgotten?" is a comparison.
//!
//! Every CPU counts the invalidations it starts, and notes how far its last barrier has completed
//! them: only a CPU's own barrier completes what it has started. Whoever waits for an invalidation
//! carries its CPU and number, a [`Stamp`]: a gather, a batch, frames that are to be freed, and an
//! address space for the batches of reclaim that took entries away from it.
//!
//! Linux keeps the last of these in `mm->tlb_flush_batched`, two 15-bit counters that need care when
//! they wrap. These have 64 bits, and do not.

use base::percpu::{CpuId, MAX_CPUS, PerCpu};
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hal::{Machine, Reach, TraceKind};

use crate::events::MmEvent;
use crate::lab::TlbFault;
use crate::system::System;

/// An invalidation: which CPU started it, and as its how manieth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    cpu: CpuId,
    nr: u64,
}

/// What one CPU has started and completed. Written by that CPU only.
struct Progress {
    started: AtomicU64,
    /// The last of those that other CPUs take part in.
    broadcast: AtomicU64,
    completed: AtomicU64,
}

/// The progress of all CPUs.
pub(super) struct Generations(PerCpu<Progress>);

impl Generations {
    pub(super) fn new(nr_cpus: usize) -> Self {
        let zero = || AtomicU64::new(0);
        Self(PerCpu::new(nr_cpus, |_| Progress {
            started: zero(),
            broadcast: zero(),
            completed: zero(),
        }))
    }

    /// Lets a CPU count on from `nr`, with nothing outstanding.
    #[cfg(feature = "lab")]
    pub(super) fn count_from(&self, nr: u64) {
        for own in self.0.iter() {
            own.started.store(nr, Ordering::Relaxed);
            own.broadcast.store(nr, Ordering::Relaxed);
            own.completed.store(nr, Ordering::Release);
        }
    }

    /// Counts an invalidation that the running CPU, `cpu`, has just started.
    pub(super) fn note(&self, cpu: CpuId, reach: Reach) -> Stamp {
        let own = self.0.of(cpu);
        let nr = own.started.load(Ordering::Relaxed) + 1;
        own.started.store(nr, Ordering::Relaxed);
        if reach == Reach::Broadcast {
            own.broadcast.store(nr, Ordering::Relaxed);
        }
        Stamp { cpu, nr }
    }

    /// Tells whether an invalidation is complete: no CPU in its reach uses what it was about.
    pub(super) fn has_passed(&self, stamp: Stamp) -> bool {
        self.0.of(stamp.cpu).completed.load(Ordering::Acquire) >= stamp.nr
    }

    /// Tells whether the running CPU, `cpu`, has anything outstanding, and with whom.
    fn outstanding(&self, cpu: CpuId) -> Option<(u64, Reach)> {
        let own = self.0.of(cpu);
        let completed = own.completed.load(Ordering::Relaxed);
        let started = own.started.load(Ordering::Relaxed);
        let has_broadcast = own.broadcast.load(Ordering::Relaxed) > completed;
        let reach = if has_broadcast { Reach::Broadcast } else { Reach::Local };
        (started > completed).then_some((started, reach))
    }
}

impl<M: Machine> System<M> {
    /// Waits for an invalidation and all that this CPU has started beside it, unless it is complete.
    pub(super) fn complete_tlbi(&self, stamp: Stamp) {
        let (generations, cpu) = (self.tlb().generations(), self.machine().cpu());
        if generations.has_passed(stamp) {
            self.count(MmEvent::TlbDsbElided, 1);
            return;
        }
        if stamp.cpu == cpu {
            self.complete_own_tlbis();
        }
        // Else the thread runs on another CPU since it was started: the switch has completed it
        // (hal::Threads::switch).
    }

    /// Notes that the running CPU has switched threads, and waited for all it had started
    /// ([`hal::Threads::switch`]).
    #[inline]
    pub fn note_switch(&self) {
        let own = self.tlb().generations().0.of(self.machine().cpu());
        let started = own.started.load(Ordering::Relaxed);
        if own.completed.load(Ordering::Relaxed) != started {
            own.completed.store(started, Ordering::Release);
        }
        self.free_waiting();
    }

    /// Waits for everything that this CPU has started.
    pub(super) fn complete_own_tlbis(&self) {
        let (generations, cpu) = (self.tlb().generations(), self.machine().cpu());
        let Some((started, reach)) = generations.outstanding(cpu) else { return };
        let reach = if self.is_weak(TlbFault::WaitsForOwnCpu) { Reach::Local } else { reach };
        let span = self.machine().span(TraceKind::TlbWait, || [0; 2]);
        self.machine().complete(reach);
        drop(span);
        self.count(MmEvent::TlbDsb, 1);
        // Release: whoever reads it knows that the barrier is over.
        generations.0.of(cpu).completed.store(started, Ordering::Release);
    }
}

/// The batches of reclaim that have taken entries away from one address space: the last of each CPU.
pub(crate) struct Batches {
    last: [AtomicU64; MAX_CPUS],
    /// CPUs with any, a bit each; never cleared.
    cpus: AtomicU32,
}

impl Batches {
    pub(crate) const fn new() -> Self {
        Self { last: [const { AtomicU64::new(0) }; MAX_CPUS], cpus: AtomicU32::new(0) }
    }

    /// Announces a batch; the lock of the table whose entry it has just cleared is still held.
    pub(super) fn announce(&self, stamp: Stamp) {
        self.last[stamp.cpu.get()].store(stamp.nr, Ordering::Relaxed);
        self.cpus.fetch_or(1 << stamp.cpu.get(), Ordering::Release);
    }

    /// Returns the batches that are not complete. Asked with, or after, a table's lock held: every
    /// entry seen cleared under that lock belongs to a batch that had been announced before.
    pub(super) fn open<'a>(
        &'a self,
        generations: &'a Generations,
    ) -> impl Iterator<Item = Stamp> + 'a {
        let cpus = self.cpus.load(Ordering::Acquire);
        let announced = (0..MAX_CPUS).filter(move |cpu| cpus & 1 << cpu != 0);
        announced
            .map(|cpu| Stamp { cpu: CpuId::new(cpu), nr: self.last[cpu].load(Ordering::Acquire) })
            .filter(|stamp| !generations.has_passed(*stamp))
    }
}

impl Stamp {
    /// Returns the CPU that started the invalidation.
    pub(super) fn cpu(self) -> CpuId {
        self.cpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU0: CpuId = CpuId::new(0);
    const CPU1: CpuId = CpuId::new(1);

    fn complete(generations: &Generations, cpu: CpuId) {
        let own = generations.0.of(cpu);
        own.completed.store(own.started.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    #[test]
    fn only_a_cpus_own_barrier_completes_what_it_started() {
        let generations = Generations::new(2);
        let stamp = generations.note(CPU0, Reach::Broadcast);
        generations.note(CPU1, Reach::Broadcast);
        complete(&generations, CPU1);
        assert!(!generations.has_passed(stamp));
        complete(&generations, CPU0);
        assert!(generations.has_passed(stamp));
    }

    #[test]
    fn a_barrier_waits_for_others_only_when_they_take_part() {
        let generations = Generations::new(1);
        assert_eq!(generations.outstanding(CPU0), None);
        generations.note(CPU0, Reach::Local);
        assert_eq!(generations.outstanding(CPU0), Some((1, Reach::Local)));
        generations.note(CPU0, Reach::Broadcast);
        generations.note(CPU0, Reach::Local);
        assert_eq!(generations.outstanding(CPU0), Some((3, Reach::Broadcast)));
        complete(&generations, CPU0);
        generations.note(CPU0, Reach::Local);
        assert_eq!(generations.outstanding(CPU0), Some((4, Reach::Local)));
    }

    #[test]
    fn a_batch_is_open_until_its_cpu_has_waited() {
        let (generations, batches) = (Generations::new(2), Batches::new());
        let first = generations.note(CPU0, Reach::Broadcast);
        batches.announce(first);
        let second = generations.note(CPU1, Reach::Broadcast);
        batches.announce(second);
        assert!(batches.open(&generations).eq([first, second]));
        complete(&generations, CPU0);
        assert!(batches.open(&generations).eq([second]));
        let third = generations.note(CPU0, Reach::Broadcast);
        assert!(batches.open(&generations).eq([second]), "not of this address space");
        batches.announce(third);
        assert!(batches.open(&generations).eq([third, second]));
    }
}
