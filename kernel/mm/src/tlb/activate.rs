// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes CPUs use address spaces, and knows which CPUs may have translations of which.
//!
//! Of an address space that has run nowhere, nothing has to be forgotten; of one that has run on one
//! CPU only, that CPU forgets alone, if it is the one that asks. When the only thread moves, the CPU
//! that it arrives at makes the others forget all of it, once, and is the only one again.
//!
//! A switch takes its CPU's slot lock and nothing else, as long as the address space has an ASID of
//! this generation and is known on the CPU. Linux's fast path has no lock; what goes wrong between
//! its exchange and the write to TTBR0 is mended by a flush that each CPU does later. With the
//! register written under the lock, a rollover that has visited every slot knows what each CPU
//! translates with, and one broadcast TLBI is all it takes.

use base::lock_level;
use base::percpu::{CpuId, PerCpu};
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use base::sync::{SpinGuard, SpinLock};
use hal::{Asid, Invalidate, Machine, Reach};

use super::asid::{AsidContext, Asids, Running};
use crate::events::MmEvent;
use crate::lab::TlbFault;
use crate::mm::Mm;
use crate::rmap::MmId;
use crate::system::System;

/// What one CPU translates user addresses with.
#[derive(Clone, Copy)]
struct Active {
    mm: MmId,
    context: AsidContext,
}

type Slot = Option<Active>;

/// What all CPUs translate with, and the ASIDs of this machine.
pub(super) struct CpuSpaces {
    asids: SpinLock<Asids, lock_level::Asids>,
    /// That of `asids`, read under a slot's lock: the visit to each slot comes after a change.
    generation: AtomicU64,
    slots: PerCpu<SpinLock<Slot, lock_level::Asids>>,
}

impl CpuSpaces {
    pub(super) fn new(nr_asids: u32, nr_cpus: usize) -> Self {
        let asids = Asids::new(nr_asids);
        Self {
            generation: AtomicU64::new(asids.generation()),
            asids: SpinLock::new(asids),
            slots: PerCpu::new(nr_cpus, |_| SpinLock::new(None)),
        }
    }
}

/// Where one address space has run, and under which ASID.
pub(crate) struct Residency {
    context: AtomicU64,
    /// CPUs that may have translations, a bit each. Read by who invalidates; set before the CPU
    /// walks. Changed under the lock of the ASIDs.
    cpus: AtomicU32,
    /// CPUs of these that may begin to use it without that lock. Read and cleared under the CPU's
    /// slot lock.
    known: AtomicU32,
}

impl Residency {
    pub(crate) const fn new() -> Self {
        Self {
            context: AtomicU64::new(AsidContext::NONE.raw()),
            cpus: AtomicU32::new(0),
            known: AtomicU32::new(0),
        }
    }

    fn context(&self) -> AsidContext {
        AsidContext::from_raw(self.context.load(Ordering::Acquire))
    }

    /// Returns the ASID that its translations carry. Read after [`Residency::reach`]: who runs it
    /// under another one by then has walked late enough.
    pub(super) fn asid(&self) -> Asid {
        self.context().asid()
    }

    /// Returns which CPUs must forget what `cpu` has changed, `None` if no CPU can know it.
    pub(super) fn reach(&self, cpu: CpuId) -> Option<Reach> {
        match self.cpus.load(Ordering::Acquire) {
            0 => None,
            cpus if cpus == bit(cpu) => Some(Reach::Local),
            _ => Some(Reach::Broadcast),
        }
    }
}

const fn bit(cpu: CpuId) -> u32 {
    1 << cpu.get()
}

impl<M: Machine> Mm<M> {
    /// Makes the running CPU use this address space for user addresses.
    pub fn activate(&self) {
        let (spaces, cpu) = (self.system().tlb().spaces(), self.machine().cpu());
        let mut slot = spaces.slots.of(cpu).lock();
        let context = self.residency().context();
        let is_known = self.residency().known.load(Ordering::Relaxed) & bit(cpu) != 0;
        if is_known && context.generation() == spaces.generation.load(Ordering::Relaxed) {
            self.enter(&mut slot, context);
            return;
        }
        drop(slot);
        self.activate_unknown(cpu);
    }

    fn enter(&self, slot: &mut Slot, context: AsidContext) {
        *slot = Some(Active { mm: self.id(), context });
        self.machine().activate(self.root(), context.asid());
    }

    /// Begins to use it on a CPU that does not know it yet, or not in this generation.
    #[cold]
    fn activate_unknown(&self, cpu: CpuId) {
        let (system, own) = (self.system(), self.residency());
        let spaces = system.tlb().spaces();
        let mut asids = spaces.asids.lock();
        let old = own.context();
        let context = asids.renew(old).unwrap_or_else(|| {
            system.roll_over(&mut asids);
            asids.renew(old).expect("a new generation has an ASID for each CPU and more")
        });
        if context.asid() != old.asid() {
            // A rollover since then has made every CPU forget the old one.
            own.cpus.store(0, Ordering::SeqCst);
            own.known.store(0, Ordering::Relaxed);
        }
        own.context.store(context.raw(), Ordering::SeqCst);
        let others = own.cpus.load(Ordering::SeqCst) & !bit(cpu);
        if !system.is_weak(TlbFault::RunUnnoted) || own.cpus.load(Ordering::SeqCst) == 0 {
            own.cpus.fetch_or(bit(cpu), Ordering::SeqCst);
        }
        // Visible before this CPU walks (Arm ARM D8.2.5: a walk is no explicit access): who changes an
        // entry either sees the CPU here or has its change seen by the walk.
        self.machine().publish();
        if others != 0 && self.forget_where_left(others) {
            own.cpus.store(bit(cpu), Ordering::SeqCst);
            system.count(MmEvent::TlbMoved, 1);
        }
        let mut slot = spaces.slots.of(cpu).lock_nested();
        own.known.fetch_or(bit(cpu), Ordering::Relaxed);
        self.enter(&mut slot, context);
    }

    /// Makes the CPUs in `others` forget the address space, unless one of them uses it now.
    fn forget_where_left(&self, others: u32) -> bool {
        let (system, own) = (self.system(), self.residency());
        let slots = &system.tlb().spaces().slots;
        let before = own.known.load(Ordering::Relaxed);
        for (cpu, slot) in slots.iter().enumerate().filter(|(cpu, _)| others & 1 << cpu != 0) {
            let slot = slot.lock_nested();
            if slot.is_some_and(|active| active.mm == self.id()) {
                own.known.store(before, Ordering::Relaxed);
                return false;
            }
            // It cannot begin again before this is over: the lock of the ASIDs is held.
            own.known.fetch_and(!(1 << cpu), Ordering::Relaxed);
        }
        if !system.is_weak(TlbFault::MovedUnflushed) {
            let machine = self.machine();
            machine.before();
            let what = Invalidate::Asid(own.asid());
            let count = machine.invalidate(what, Reach::Broadcast);
            system.count_invalidation(what, count, Reach::Broadcast);
            system.tlb().generations().note(machine.cpu(), Reach::Broadcast);
            system.complete_own_tlbis();
        }
        true
    }

    /// Returns the ASID of its translations, `None` if it has never run.
    pub fn asid(&self) -> Option<Asid> {
        let context = self.residency().context();
        (context != AsidContext::NONE).then_some(context.asid())
    }
}

impl<M: Machine> System<M> {
    /// Makes the running CPU translate no user address at all.
    pub fn deactivate(&self) {
        let mut slot = self.tlb().spaces().slots.of(self.machine().cpu()).lock();
        self.machine().deactivate();
        *slot = None;
    }

    /// Begins a generation of ASIDs: all TLBs forget everything, and who runs keeps its ASID.
    fn roll_over(&self, asids: &mut SpinGuard<'_, Asids, lock_level::Asids>) {
        let (machine, spaces) = (self.machine(), self.tlb().spaces());
        spaces.generation.store(asids.begin_generation(), Ordering::Relaxed);
        let mut running = Running::new();
        for slot in spaces.slots.iter() {
            // Whoever takes the lock after this sees the new generation, and comes here.
            if let Some(active) = *slot.lock_nested()
                && !running.contains(&active.context)
            {
                running.push(active.context);
            }
        }
        if !self.is_weak(TlbFault::RolloverForgetsRunning) {
            asids.keep(running);
        }
        if !self.is_weak(TlbFault::RolloverUnflushed) {
            machine.before();
            let count = machine.invalidate(Invalidate::All, Reach::Broadcast);
            self.count_invalidation(Invalidate::All, count, Reach::Broadcast);
            self.tlb().generations().note(machine.cpu(), Reach::Broadcast);
            self.complete_own_tlbis();
        }
        self.count(MmEvent::AsidRollover, 1);
    }
}
