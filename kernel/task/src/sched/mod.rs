// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder decides which kernel thread runs on which CPU, and lets threads sleep.
//!
//! A kernel thread lives for ever and runs one job after the other
//! (`docs/adr/0004-kernel-threads-are-reused.md`). States of a thread, and who moves it on:
//!
//! 1. *Free* -> *Ready*: [`Scheduler::spawn`] gives it a job.
//! 2. *Ready* -> *Running*: its CPU takes it from the run queue (`run_queue.rs`), or another CPU that
//!    has nothing to do steals it.
//! 3. *Running* -> *Asleep*: it puts itself into a wait queue (`wait_queue.rs`) and leaves its CPU.
//! 4. *Asleep* -> *Ready*: whoever takes it out of the wait queue enqueues it. So a thread is in
//!    at most one queue.
//! 5. *Running* -> *Ready*: its slice is over and somebody waits.
//! 6. *Running* -> *Free*: its job is done.
//!
//! A thread may be woken while it is still leaving its CPU ([`Thread::on_cpu`]). It is then enqueued
//! on that CPU, and nobody steals it before it has left.
//!
//! # Locks
//!
//! Wait queue, run queue, timers, in this order (`base::lock_level`).

mod run_queue;
mod sleep;
mod tag_check;
mod thread;
mod timer;
mod wait_queue;

pub use sleep::Woken;
pub use tag_check::{TagChecks, TagPreferences, TagWish};
pub use thread::{Thread, UserState};
pub use timer::TimerKey;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::lock_level;
use base::percpu::{CpuId, PerCpu};
use base::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use base::sync::{OnceCell, SpinLock};
use hal::{Interrupt, Platform};
use mm::System;

use run_queue::Cpu;
use wait_queue::WaitQueues;

/// How long a thread runs while others wait, in ns.
pub const SLICE_NS: u64 = 4_000_000;

/// The scheduler of one machine.
pub struct Scheduler<P: Platform> {
    machine: &'static P,
    cpus: PerCpu<Cpu<P>>,
    queues: WaitQueues<P>,
    free: SpinLock<Vec<&'static Thread<P>>, lock_level::Task>,
    /// Threads that exist, free ones too.
    nr_threads: AtomicUsize,
    /// CPUs that wait for an interrupt, a bit each.
    idle: AtomicU32,
    on_console: OnceCell<Box<dyn Fn() + Send + Sync>>,
    tag_preferences: TagPreferences,
    /// Who knows which CPU uses which address space; unknown until there are processes.
    memory: OnceCell<Arc<System<P>>>,
}

impl<P: Platform> Scheduler<P> {
    /// Builds a scheduler that lives for ever. Nothing runs until [`Scheduler::run_cpu`].
    pub fn new(machine: &'static P) -> &'static Self {
        Box::leak(Box::new(Self {
            machine,
            cpus: PerCpu::new(machine.nr_cpus(), |_| Cpu::new()),
            queues: WaitQueues::new(),
            free: SpinLock::new(Vec::new()),
            nr_threads: AtomicUsize::new(0),
            idle: AtomicU32::new(0),
            on_console: OnceCell::new(),
            tag_preferences: TagPreferences::new(machine),
            memory: OnceCell::new(),
        }))
    }

    /// Says what to do when the console has input.
    pub fn set_on_console(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.on_console.set(Box::new(callback));
    }

    /// Says whose address spaces threads will use. Before, none has any.
    pub fn set_memory(&self, system: Arc<System<P>>) {
        self.memory.set(system);
    }

    /// Returns the machine.
    pub fn machine(&self) -> &'static P {
        self.machine
    }

    /// Returns how the CPUs like to check tags.
    pub fn tag_preferences(&self) -> &TagPreferences {
        &self.tag_preferences
    }

    /// Turns the calling flow of control into the idle thread of its CPU and runs threads for ever.
    pub fn run_cpu(&'static self) -> ! {
        self.adopt_cpu();
        loop {
            self.idle_once();
        }
    }

    /// Makes the calling flow of control the idle thread of its CPU. Threads may be spawned and may
    /// sleep from here on.
    pub fn adopt_cpu(&'static self) {
        let cpu = self.machine.cpu();
        let idle = Thread::leak(self.count_thread(), self.machine.boot_context(), cpu);
        idle.on_cpu.store(true, Ordering::Relaxed);
        self.cpus.of(cpu).begin(idle);
    }

    /// Runs what is ready; if nothing is, waits for an interrupt and takes it.
    pub fn idle_once(&'static self) {
        let cpu = self.machine.cpu();
        let bit = 1 << cpu.get();
        // Before the queue is looked at: who enqueues afterwards sees the bit and kicks, and the
        // kick ends the wait below although interrupts are masked.
        self.idle.fetch_or(bit, Ordering::SeqCst);
        if !self.cpus.of(cpu).has_ready() && !self.can_steal(cpu) {
            self.program_timer(cpu);
            self.machine.wait_for_interrupt();
        }
        self.idle.fetch_and(!bit, Ordering::SeqCst);
        self.take_interrupts();
        self.switch_away();
    }

    /// Takes every pending interrupt.
    pub fn take_interrupts(&self) {
        while let Some(interrupt) = self.machine.take_interrupt() {
            match interrupt {
                Interrupt::Timer => self.run_timers(),
                Interrupt::Console => {
                    if let Some(callback) = self.on_console.get() {
                        callback();
                    }
                }
                // A kick is taken so that this CPU looks at its queue; a disk has woken already.
                Interrupt::Kick | Interrupt::Disk(_) => {}
                Interrupt::Unexpected(number) => log::warn!("unexpected interrupt {number}"),
            }
        }
        self.program_timer(self.machine.cpu());
    }

    /// Takes interrupts if there are any, then gives way if the running thread's slice is over.
    /// Called with no lock held.
    #[inline]
    pub fn cond_resched(&self) {
        if self.machine.is_interrupt_pending() {
            self.take_interrupts();
            self.yield_if_due();
        }
    }

    /// Gives way to another thread if one waits and the slice of the running one is over.
    pub fn yield_if_due(&self) {
        let cpu = self.cpus.of(self.machine.cpu());
        if cpu.has_ready() && self.machine.now_ns() >= cpu.slice_end() {
            self.yield_now();
        }
    }

    /// Gives way to another thread if one waits.
    pub fn yield_now(&self) {
        let cpu = self.cpus.of(self.machine.cpu());
        if cpu.has_ready() {
            cpu.push_current();
            self.switch_away();
        }
    }

    /// Returns the running thread.
    pub fn current(&self) -> &'static Thread<P> {
        self.cpus.of(self.machine.cpu()).current()
    }

    /// Returns the number of the running thread, to who may hold any lock.
    pub fn current_number(&self) -> usize {
        self.cpus.of(self.machine.cpu()).current_number()
    }

    /// Counts a thread in, returns its number, and makes room for it in every queue: sleeping and waking allocate
    /// nothing.
    fn count_thread(&self) -> usize {
        let nr = self.nr_threads.fetch_add(1, Ordering::Relaxed) + 1;
        // Double at powers of two, so that the walk over all queues is rare.
        if nr == 1 || nr.is_power_of_two() {
            self.queues.reserve(nr * 2);
            self.cpus.iter().for_each(|cpu| cpu.reserve(nr * 2));
        }
        nr
    }

    fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle.load(Ordering::SeqCst) & 1 << cpu.get() != 0
    }

    fn some_idle_cpu(&self) -> Option<CpuId> {
        let idle = self.idle.load(Ordering::SeqCst);
        (idle != 0).then(|| CpuId::new(idle.trailing_zeros() as usize))
    }
}
