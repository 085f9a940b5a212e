// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs user code, and holds the parts of a thread's state that stay in registers while
//! it runs.

#![expect(unsafe_code, reason = "leaves for EL0, and writes registers of EL0")]

use aarch64_cpu::asm::barrier;
use hal::{TagCheckMode, TagControl, Trap, UserRegs};

use crate::control::sctlr;
use crate::{syndrome, sysreg};

/// What user_enter returns: which of the four vectors was taken, and ESR_EL1.
#[repr(C)]
struct RawTrap {
    kind: u64,
    esr: u64,
}

unsafe extern "C" {
    fn user_enter(regs: &mut UserRegs) -> RawTrap;
}

/// Bits of PSTATE that belong to user code: NZCV, TCO, DIT, SSBS, BTYPE. All others are 0: AArch64,
/// EL0, nothing masked, no single step.
const USER_PSTATE: u64 = 0xf << 28 | 1 << 25 | 1 << 24 | 1 << 12 | 0b11 << 10;

/// Runs user code on the calling CPU until it traps. Whatever `regs` hold, the code runs at EL0 with
/// interrupts unmasked.
#[inline]
pub fn run_user(regs: &mut UserRegs) -> Trap {
    // What keeps this function safe: a PSTATE of EL1 would return into the kernel.
    regs.pstate &= USER_PSTATE;
    // SAFETY: (1) the exception return is to EL0, by the line above. (2) vectors.S returns here
    // with the callee-saved registers of this call, on this stack.
    let RawTrap { kind, esr } = unsafe { user_enter(regs) };
    match kind {
        0 if syndrome::class(esr) == syndrome::class::SVC => Trap::Syscall,
        0 => syndrome::decode_trap(esr, sysreg::far_el1(), regs.sp),
        // Group 1 interrupts are IRQs; a FIQ is polled for in the same place and found spurious.
        1 | 2 => Trap::Interrupt,
        _ => Trap::SystemError(esr),
    }
}

/// Loads the user thread pointer.
pub fn load_tls(tls: u64) {
    // SAFETY: the kernel does not use the register.
    unsafe { sysreg::set_tpidr_el0(tls) };
}

/// Reads the user thread pointer, which user code may have changed.
pub fn save_tls() -> u64 {
    sysreg::tpidr_el0()
}

/// GCR_EL1.RRND: RGSR_EL1 is not the only source of IRG's tags, so user code cannot predict them.
const GCR_RRND: u64 = 1 << 16;

/// Loads tag-check mode and tag mask of the thread about to run. Only on a machine with tags; a mode
/// it lacks has been refused before (`asymmetric` needs FEAT_MTE3).
pub fn load_tag_control(control: TagControl) {
    let tcf0: u64 = match control.mode {
        TagCheckMode::None => 0b00,
        TagCheckMode::Sync => 0b01,
        TagCheckMode::Async => 0b10,
        TagCheckMode::Asymmetric => 0b11,
    };
    let old = sysreg::sctlr_el1();
    let new = old & !sctlr::TCF0 | tcf0 << sctlr::TCF0_SHIFT;
    // Threads mostly agree on the mode, and QEMU empties the TLB on every change of SCTLR_EL1.
    if new != old {
        // SAFETY: changes checks of EL0 and of unprivileged accesses only, which have fixups.
        unsafe { sysreg::set_sctlr_el1(new) };
        // User copies of this thread are checked in its own mode.
        barrier::isb(barrier::SY);
    }
    // SAFETY: constrains IRG only, which the kernel does not use.
    unsafe { sysreg::set_gcr_el1(GCR_RRND | u64::from(!control.include)) };
}

/// Reads and clears the record of asynchronous tag-check faults of EL0. Only on a machine with tags.
pub fn take_async_tag_fault() -> bool {
    // Stores of this CPU that user copies made are checked and recorded (Arm ARM D10.8.2). Those of
    // EL0 were when the trap was taken: SCTLR_EL1.ITFSB.
    barrier::dsb(barrier::NSH);
    let is_recorded = sysreg::tfsre0_el1() & 1 != 0;
    if is_recorded {
        // SAFETY: clears a record that nothing else reads.
        unsafe { sysreg::set_tfsre0_el1(0) };
    }
    is_recorded
}
