// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the simulated interrupt controller: kicks, timers, console input, and idling CPUs.

use alloc::vec::Vec;

use base::percpu::CpuId;

use super::SimMachine;
use super::host::{self, Condvar, Mutex};
use crate::cpu::Cpus;
use crate::thread::Interrupt;

/// What is pending on every CPU.
pub(super) struct Interrupts {
    lines: Mutex<Vec<Lines>>,
    changed: Condvar,
}

/// What is pending on one CPU.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    is_kicked: bool,
    deadline_ns: Option<u64>,
}

impl Interrupts {
    pub(super) fn new(nr_cpus: usize) -> Self {
        Self { lines: Mutex::new(alloc::vec![Lines::default(); nr_cpus]), changed: Condvar::new() }
    }
}

impl SimMachine {
    /// Returns what is pending on a CPU, most urgent first.
    fn pending(&self, cpu: CpuId, lines: &[Lines]) -> Option<Interrupt> {
        let mine = lines[cpu.get()];
        let is_due = mine.deadline_ns.is_some_and(|deadline| deadline <= self.clock().peek());
        // The console's interrupt is routed to the boot CPU, level triggered.
        let has_input = cpu == CpuId::BOOT && self.board().has_input();
        match (mine.is_kicked, is_due, has_input) {
            (true, ..) => Some(Interrupt::Kick),
            (_, true, _) => Some(Interrupt::Timer),
            (.., true) => Some(Interrupt::Console),
            _ => None,
        }
    }

    pub(super) fn peek_interrupt(&self) -> Option<Interrupt> {
        self.pending(self.cpu(), &host::lock(&self.interrupts().lines))
    }

    /// Takes what is pending; the console's stays until its input is read.
    pub(super) fn acknowledge_interrupt(&self) -> Option<Interrupt> {
        let mut lines = host::lock(&self.interrupts().lines);
        let interrupt = self.pending(self.cpu(), &lines)?;
        let mine = &mut lines[self.cpu().get()];
        match interrupt {
            Interrupt::Kick => mine.is_kicked = false,
            Interrupt::Timer => mine.deadline_ns = None,
            _ => {}
        }
        Some(interrupt)
    }

    /// Parks until something is pending. Time that nobody uses passes at once.
    pub(super) fn park_until_interrupt(&self) {
        let mut lines = host::lock(&self.interrupts().lines);
        loop {
            self.stop_if_stopped();
            if self.pending(self.cpu(), &lines).is_some() {
                return;
            }
            match lines[self.cpu().get()].deadline_ns {
                Some(deadline) => self.clock().advance_to(deadline),
                None => lines = host::wait(&self.interrupts().changed, lines),
            }
        }
    }

    pub(super) fn raise_kick(&self, cpu: CpuId) {
        host::lock(&self.interrupts().lines)[cpu.get()].is_kicked = true;
        self.interrupts().changed.notify_all();
    }

    pub(super) fn arm_timer(&self, deadline_ns: Option<u64>) {
        host::lock(&self.interrupts().lines)[self.cpu().get()].deadline_ns = deadline_ns;
    }

    /// Lets every idling CPU look again.
    pub(super) fn wake_idle_cpus(&self) {
        let _lines = host::lock(&self.interrupts().lines);
        self.interrupts().changed.notify_all();
    }
}
