// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to EL0: run user code until it traps, keep its registers.
//!
//! User code is a subroutine here. A thread's kernel side is a loop around [`RunUser::run_user`],
//! which returns the reason why user code stopped; the thread then handles it with ordinary calls
//! and goes round again. There is no exception-handler context in which kernel policy would run.

use crate::user_mem::MemFault;

/// The general registers of a user thread, as the exception entry saves them.
///
/// Layout is that of Linux's `user_pt_regs` (arch/arm64/include/uapi/asm/ptrace.h) and is shared
/// with assembly in `arch`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub struct UserRegs {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL0.
    pub sp: u64,
    /// ELR_EL1: where user code goes on.
    pub pc: u64,
    /// SPSR_EL1: PSTATE at EL0.
    pub pstate: u64,
}

const _: () = assert!(size_of::<UserRegs>() == 34 * 8);

/// FP/SIMD registers of a user thread.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[repr(C, align(16))]
pub struct FpState {
    /// v0 to v31.
    pub v: [u128; 32],
    /// FPSR.
    pub fpsr: u32,
    /// FPCR.
    pub fpcr: u32,
}

/// How a wrong tag is reported to a thread (SCTLR_EL1.TCF0, Arm ARM D24.2.175).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TagCheckMode {
    /// Not checked.
    #[default]
    None,
    /// The access faults.
    Sync,
    /// Recorded in TFSRE0_EL1; the access goes through.
    Async,
    /// Loads fault, stores are recorded (FEAT_MTE3).
    Asymmetric,
}

/// A thread's tag-checking state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TagControl {
    /// How wrong tags are reported.
    pub mode: TagCheckMode,
    /// Bit n set: IRG may generate tag n. All clear: IRG generates tag 0 only.
    pub include: u16,
}

/// Why user code stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// SVC #0: a system call; the number is in x8.
    Syscall,
    /// An instruction fetch, load or store could not be done.
    Fault(MemFault),
    /// An interrupt is pending.
    Interrupt,
    /// An undefined, illegal or trapped instruction. Holds ESR_EL1.
    Undefined(u64),
    /// BRK. Holds its 16-bit immediate and ESR_EL1.
    Breakpoint(u16, u64),
    /// Single step, hardware breakpoint or watchpoint. Holds ESR_EL1.
    Debug(u64),
    /// PC or SP misaligned. Holds the address and ESR_EL1.
    Misaligned(u64, u64),
    /// A trapped floating-point exception. Holds ESR_EL1.
    FloatingPoint(u64),
    /// The machine reported an error of its own (SError).
    SystemError(u64),
}

/// Running user code, and the part of a thread's state that lives in registers while it runs.
pub trait RunUser {
    /// Runs user code on the calling CPU with `regs` until it traps; `regs` then holds its
    /// registers. Address space, FP registers and tag control are those loaded last.
    fn run_user(&self, regs: &mut UserRegs) -> Trap;

    /// Loads FP/SIMD registers of the thread about to run.
    fn load_fp(&self, fp: &FpState);

    /// Saves FP/SIMD registers of the thread that ran last.
    fn save_fp(&self, fp: &mut FpState);

    /// Loads TPIDR_EL0, the user thread pointer.
    fn load_tls(&self, tls: u64);

    /// Reads TPIDR_EL0, which user code may have changed.
    fn save_tls(&self) -> u64;

    /// Loads tag-check mode and tag mask of the thread about to run.
    fn load_tag_control(&self, control: TagControl);

    /// Reads and clears the asynchronous tag-fault record of EL0 (TFSRE0_EL1).
    fn take_async_tag_fault(&self) -> bool;

    /// Returns the HWCAP and HWCAP2 words that tell user programs what this CPU has.
    fn hwcaps(&self) -> (u64, u64);
}
