// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes CPUs use address spaces, and knows which CPUs may have translations of which.
//!
//! Of an address space that has run nowhere, nothing has to be forgotten; of one that has run on one
//! CPU only, that CPU forgets alone, if it is the one that asks. When the only thread moves, the CPU
//! that it arrives at makes the others forget all of it, once, and is the only one again.
//!
//! A switch between threads of one address space is a comparison; one to another that has an ASID of this
//! generation and is known on the CPU takes no lock (`active.rs`). A rollover has one broadcast TLBI: it
//! knows what each CPU translates with.

use base::lock_level;
use base::percpu::{CpuId, PerCpu};
use base::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use base::sync::{SpinGuard, SpinLock, stop_point};
use hal::{Asid, Invalidate, Machine, Reach};

use super::active::Active;
use super::asid::{AsidContext, Asids, Running};
use crate::events::MmEvent;
use crate::lab::TlbFault;
use crate::mm::Mm;
use crate::system::System;

/// What all CPUs translate with, and the ASIDs of this machine.
pub(super) struct CpuSpaces {
    asids: SpinLock<Asids, lock_level::Asids>,
    /// That of `asids`. A CPU reads it between its announcement and TTBR0.
    generation: AtomicU64,
    active: PerCpu<Active>,
}

impl CpuSpaces {
    pub(super) fn new(nr_asids: u32, nr_cpus: usize) -> Self {
        let asids = Asids::new(nr_asids, nr_cpus);
        Self {
            generation: AtomicU64::new(asids.generation()),
            asids: SpinLock::new(asids),
            active: PerCpu::new(nr_cpus, |_| Active::new()),
        }
    }
}

/// Where one address space has run, and under which ASID.
pub(crate) struct Residency {
    context: AtomicU64,
    /// CPUs that may have translations, a bit each. Read by who invalidates; set before the CPU
    /// walks. Changed under the lock of the ASIDs.
    cpus: AtomicU32,
    /// CPUs of these that may begin to use it without that lock. Read after an announcement; cleared
    /// before these are looked at.
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
    #[inline]
    pub fn activate(&self) {
        let (spaces, cpu) = (self.system().tlb().spaces(), self.machine().cpu());
        let (active, context) = (spaces.active.of(cpu), self.residency().context());
        // A rollover has left it its ASID, or has not been.
        if active.own() != context {
            self.activate_another(spaces, cpu, context);
        }
    }

    fn activate_another(&self, spaces: &CpuSpaces, cpu: CpuId, context: AsidContext) {
        let active = spaces.active.of(cpu);
        if !self.system().is_weak(TlbFault::EntersUnannounced) {
            active.announce(context);
        }
        let is_known = self.residency().known.load(Ordering::Relaxed) & bit(cpu) != 0;
        let is_current = context.generation() == spaces.generation.load(Ordering::Relaxed);
        if is_known && is_current {
            stop_point("may enter");
            self.enter(active, context);
            active.withdraw();
        } else {
            active.withdraw();
            self.activate_unknown(cpu);
        }
    }

    fn enter(&self, active: &Active, context: AsidContext) {
        self.machine().activate(self.root(), context.asid());
        active.set(context);
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
        own.known.fetch_or(bit(cpu), Ordering::Relaxed);
        self.enter(spaces.active.of(cpu), context);
    }

    /// Makes the CPUs in `others` forget the address space, unless one of them uses it now.
    fn forget_where_left(&self, others: u32) -> bool {
        let (system, own) = (self.system(), self.residency());
        let before = own.known.fetch_and(!others, Ordering::Relaxed);
        // It cannot begin again before this is over, but for who has announced it already.
        fence(Ordering::SeqCst);
        let active = system.tlb().spaces().active.iter().enumerate();
        let mut of_others = active.filter(|(cpu, _)| others & 1 << cpu != 0);
        let context = own.context();
        if of_others.any(|(_, active)| active.both().iter().any(|seen| seen.is_of(context))) {
            own.known.store(before, Ordering::Relaxed);
            return false;
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
        self.machine().deactivate();
        self.tlb().spaces().active.of(self.machine().cpu()).set(AsidContext::NOBODY);
    }

    /// Begins a generation of ASIDs: all TLBs forget everything, and who runs keeps its ASID.
    fn roll_over(&self, asids: &mut SpinGuard<'_, Asids, lock_level::Asids>) {
        let (machine, spaces) = (self.machine(), self.tlb().spaces());
        let ended = asids.generation();
        spaces.generation.store(asids.begin_generation(), Ordering::Relaxed);
        // Who announces something from here on sees the new generation, and waits for the lock.
        fence(Ordering::SeqCst);
        let mut running = Running::new();
        for [announced, using] in spaces.active.iter().map(Active::both) {
            // An announcement of a generation before that will be withdrawn, and its ASID may be
            // another's.
            running.extend((announced.generation() == ended).then_some(announced));
            running.extend((using != AsidContext::NOBODY).then_some(using));
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
