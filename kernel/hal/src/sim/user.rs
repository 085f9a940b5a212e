// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs user code on a simulated CPU: a function of the test plays the processor.
//!
//! The function sees the registers and the machine, does loads and stores through
//! [`SimMachine::load`] and its like, and returns why it stopped. It is called again, with the
//! registers as the kernel has left them, whenever the kernel runs that CPU at EL0. What it needs
//! to remember lives in those registers and in simulated memory, as with any program: threads
//! and forked processes share the function.

use alloc::boxed::Box;
use alloc::vec::Vec;
use std::sync::OnceLock;

use base::percpu::CpuId;
use base::sync::schedule_point;

use super::SimMachine;
use super::host::State;
use crate::cpu::Cpus;
use crate::thread::Threads;
use crate::user::{FpState, RunUser, TagControl, Trap, UserRegs};

/// Linux's HWCAP2_MTE and HWCAP2_MTE3 (arch/arm64/include/uapi/asm/hwcap.h).
const HWCAP2_MTE: u64 = 1 << 18;
const HWCAP2_MTE3: u64 = 1 << 22;

/// The processor at EL0.
type UserCode = Box<dyn Fn(&SimMachine, CpuId, &mut UserRegs) -> Trap + Send + Sync>;

/// User code, and the registers that hold part of a user thread while it runs.
pub(super) struct UserSide {
    code: OnceLock<UserCode>,
    registers: Vec<State<Registers>>,
}

#[derive(Debug, Default)]
struct Registers {
    fp: FpState,
    tls: u64,
}

impl UserSide {
    pub(super) fn new(nr_cpus: usize) -> Self {
        let registers = (0..nr_cpus).map(|_| State::default()).collect();
        Self { code: OnceLock::new(), registers }
    }
}

impl SimMachine {
    /// Says what the processor does at EL0.
    ///
    /// # Panics
    ///
    /// When that was said before.
    pub fn set_user_code(
        &self,
        code: impl Fn(&SimMachine, CpuId, &mut UserRegs) -> Trap + Send + Sync + 'static,
    ) {
        let is_first = self.user_side().code.set(Box::new(code)).is_ok();
        assert!(is_first, "one processor per machine");
    }

    fn registers(&self) -> &State<Registers> {
        &self.user_side().registers[self.cpu().get()]
    }
}

impl RunUser for SimMachine {
    fn run_user(&self, regs: &mut UserRegs) -> Trap {
        schedule_point();
        self.stop_if_stopped();
        // Also for no reason now and then: an interrupt that is gone when the kernel asks for it.
        if self.is_interrupt_pending() || self.dice().one_in(self.config().adversary.speculation) {
            return Trap::Interrupt;
        }
        let code = self.user_side().code.get().expect("SimMachine::set_user_code comes first");
        code(self, self.cpu(), regs)
    }

    fn load_fp(&self, fp: &FpState) {
        self.registers().lock().fp = fp.clone();
    }

    fn save_fp(&self, fp: &mut FpState) {
        *fp = self.registers().lock().fp.clone();
    }

    fn load_tls(&self, tls: u64) {
        self.registers().lock().tls = tls;
    }

    fn save_tls(&self) -> u64 {
        self.registers().lock().tls
    }

    fn load_tag_control(&self, control: TagControl) {
        self.set_tag_control(self.cpu(), control);
    }

    fn take_async_tag_fault(&self) -> bool {
        core::mem::take(&mut self.mmu().cpus[self.cpu().get()].async_tag_fault)
    }

    fn hwcaps(&self) -> (u64, u64) {
        (0, if self.config().has_tags { HWCAP2_MTE | HWCAP2_MTE3 } else { 0 })
    }
}
