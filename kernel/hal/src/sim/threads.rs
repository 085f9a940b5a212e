// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes kernel threads of host threads, of which one per simulated CPU runs at a time.
//!
//! A context is a *turn* that its host thread waits for. [`Threads::switch`] hands the CPU from one
//! turn to another, so a scheduler above decides who runs. The host thread of a new context starts
//! with its first turn. A parked context that is dropped ends: its host thread
//! unwinds. When a context panics or stops the machine, so do the flows that CPUs began with.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use base::percpu::CpuId;
use base::sync::schedule_point;

use super::SimMachine;
use super::cpu::OnCpu;
use super::devices::Stopped;
use super::host::{self, Condvar, Mutex, State};
use crate::cpu::Cpus;
use crate::devices::PowerAction;
use crate::phys_mem::PhysMem;
use crate::thread::{Interrupt, OutOfKernelMemory, Threads};

/// Where a context stands. Parked and Running alternate; New comes first, Ended and Crashed last.
enum Turn {
    /// Not started; holds what it will run.
    New(Box<dyn FnOnce() + Send>),
    /// Runs on a CPU.
    Running(CpuId),
    /// Waits for its turn.
    Parked,
    /// Will not run again: its owner dropped it, or it has unwound.
    Ended,
    /// A boot flow whose machine has stopped while it was parked.
    Crashed,
}

struct Baton {
    turn: Mutex<Turn>,
    passed: Condvar,
    is_boot: bool,
}

/// A context of a simulated machine; dropping a parked one ends it.
pub struct SimContext(Arc<Baton>);

/// All contexts, and why the first of them to crash did.
#[derive(Default)]
pub(super) struct Crew {
    batons: State<Vec<Weak<Baton>>>,
    crash: State<Option<Box<dyn Any + Send>>>,
}

/// The payload that unwinds the host thread of an ended context.
struct ContextEnded;

impl Baton {
    fn new(turn: Turn, is_boot: bool) -> Arc<Self> {
        Arc::new(Self { turn: Mutex::new(turn), passed: Condvar::new(), is_boot })
    }

    /// Gives a parked context its last turn: to unwind.
    fn end_if_parked(&self, end: Turn) {
        let mut turn = host::lock(&self.turn);
        if matches!(*turn, Turn::Parked | Turn::New(_)) {
            *turn = end;
            self.passed.notify_all();
        }
    }
}

impl Drop for SimContext {
    fn drop(&mut self) {
        self.0.end_if_parked(Turn::Ended);
    }
}

impl SimMachine {
    /// Ends every parked context. For the end of a test: contexts that own the scheduler that owns
    /// them are dropped by nobody.
    pub fn end_contexts(&self) {
        let batons = core::mem::take(&mut *self.crew().batons.lock());
        let parked = batons.iter().filter_map(Weak::upgrade).filter(|baton| !baton.is_boot);
        parked.for_each(|baton| baton.end_if_parked(Turn::Ended));
    }

    fn enlist(&self, turn: Turn, is_boot: bool) -> SimContext {
        let baton = Baton::new(turn, is_boot);
        self.crew().batons.lock().push(Arc::downgrade(&baton));
        SimContext(baton)
    }

    /// Lets `to` run on `cpu`.
    fn pass_to(&self, to: &Arc<Baton>, cpu: CpuId) {
        let mut turn = host::lock(&to.turn);
        match core::mem::replace(&mut *turn, Turn::Running(cpu)) {
            Turn::Parked => to.passed.notify_all(),
            Turn::New(entry) => {
                let (machine, baton) = (self.clone(), Arc::clone(to));
                drop(host::thread::spawn(move || machine.run_context(&baton, cpu, entry)));
            }
            Turn::Running(other) => panic!("switch to a context that runs on {other:?}"),
            Turn::Ended | Turn::Crashed => panic!("switch to a context that has ended"),
        }
    }

    /// Waits until somebody switches to `mine`.
    fn await_turn(&self, mine: &Baton) {
        let mut turn = host::lock(&mine.turn);
        loop {
            match *turn {
                Turn::Running(cpu) => return OnCpu::move_to(cpu),
                Turn::Ended => resume_unwind(Box::new(ContextEnded)),
                Turn::Crashed => {
                    let crash = self.crew().crash.lock().take();
                    resume_unwind(crash.unwrap_or(Box::new(Stopped(PowerAction::Halt))))
                }
                Turn::Parked | Turn::New(_) => turn = host::wait(&mine.passed, turn),
            }
        }
    }

    /// The life of a context's host thread.
    fn run_context(&self, mine: &Arc<Baton>, cpu: CpuId, entry: Box<dyn FnOnce() + Send>) {
        let _bound = OnCpu::bind(cpu);
        let ending = catch_unwind(AssertUnwindSafe(|| {
            entry();
            panic!("a context's entry returned; it must switch away for the last time");
        }));
        *host::lock(&mine.turn) = Turn::Ended;
        let crash = ending.err().filter(|payload| !payload.is::<ContextEnded>());
        if let Some(crash) = crash {
            self.crash(crash);
        }
    }

    /// Stops the machine: every flow that a CPU began with unwinds, one of them with `payload`.
    fn crash(&self, payload: Box<dyn Any + Send>) {
        self.crew().crash.lock().get_or_insert(payload);
        self.halt();
        let batons = self.crew().batons.lock().clone();
        let boots = batons.iter().filter_map(Weak::upgrade).filter(|baton| baton.is_boot);
        boots.for_each(|baton| baton.end_if_parked(Turn::Crashed));
    }
}

impl Threads for SimMachine {
    type Context = SimContext;

    fn new_context(
        &self,
        entry: Box<dyn FnOnce() + Send>,
    ) -> Result<Self::Context, OutOfKernelMemory> {
        if self.inject_alloc_failure() {
            return Err(OutOfKernelMemory);
        }
        Ok(self.enlist(Turn::New(entry), false))
    }

    fn boot_context(&self) -> Self::Context {
        self.enlist(Turn::Running(self.cpu()), true)
    }

    fn switch(&self, from: &Self::Context, to: &Self::Context) {
        self.assert_may_sleep();
        schedule_point();
        self.stop_if_stopped();
        self.give_cpu_away();
        let cpu = self.cpu();
        let was = core::mem::replace(&mut *host::lock(&from.0.turn), Turn::Parked);
        assert!(matches!(was, Turn::Running(on) if on == cpu), "switch from a context not running");
        self.pass_to(&to.0, cpu);
        self.await_turn(&from.0);
    }

    fn take_interrupt(&self) -> Option<Interrupt> {
        self.acknowledge_interrupt()
    }

    fn is_interrupt_pending(&self) -> bool {
        self.peek_interrupt().is_some()
    }

    fn wait_for_interrupt(&self) {
        self.park_until_interrupt();
    }

    fn kick(&self, cpu: CpuId) {
        self.raise_kick(cpu);
    }

    fn set_timer(&self, deadline_ns: Option<u64>) {
        self.arm_timer(deadline_ns);
    }
}
