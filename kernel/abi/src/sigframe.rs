// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the layout of a signal handler's stack frame (arch/arm64/kernel/signal.c,
//! arch/arm64/include/uapi/asm/{ucontext,sigcontext}.h).
//!
//! ```text
//! rt_sigframe     0  siginfo_t
//!               128  ucontext: flags, link, stack_t at 16, mask at 40
//!               304  its sigcontext: fault_address, x0..x30, sp, pc, pstate
//!               592  its 4096 bytes of records, ended by one of magic 0
//!              4688  frame record: x29, x30 of the interrupted code
//! ```

use crate::layout::layouts;
use crate::signal::SigStack;

/// Where `ucontext` is in the frame.
pub const UCONTEXT_OFFSET: usize = 128;
/// Where the signal mask is in the frame.
pub const SIGMASK_OFFSET: usize = UCONTEXT_OFFSET + 40;
/// Where `sigcontext` is in the frame.
pub const SIGCONTEXT_OFFSET: usize = UCONTEXT_OFFSET + 176;
/// Where its records are in the frame; 16-byte aligned.
pub const RECORDS_OFFSET: usize = SIGCONTEXT_OFFSET + 288;
/// Bytes for records.
pub const RECORDS_SIZE: usize = 4096;
/// Bytes of `struct rt_sigframe`.
pub const SIGFRAME_SIZE: usize = RECORDS_OFFSET + RECORDS_SIZE;
/// Bytes of the frame record above it, which unwinders follow.
pub const FRAME_RECORD_SIZE: usize = 16;
/// Least bytes of a signal stack, for AT_MINSIGSTKSZ: both, and what alignment may cost.
pub const SIGNAL_MINSIGSTKSZ: u64 = (SIGFRAME_SIZE + FRAME_RECORD_SIZE + 16) as u64;

/// Magic number of an [`FpsimdContext`].
pub const FPSIMD_MAGIC: u32 = 0x4650_8001;
/// Magic number of an [`EsrContext`].
pub const ESR_MAGIC: u32 = 0x4553_5201;
/// Magic number of a record that says where more records are.
pub const EXTRA_MAGIC: u32 = 0x4558_5401;

layouts! {
    /// `struct ucontext` up to the mask.
    pub struct UcontextHead [48] {
        /// 0.
        flags: u64 = 0,
        /// 0.
        link: u64 = 8,
        /// The alternate stack, to be restored.
        stack: SigStack = 16,
        /// The mask, to be restored.
        mask: u64 = 40,
    }

    /// `struct sigcontext` without its records.
    pub struct SigContext [280] {
        /// The address that faulted, or 0.
        fault_address: u64 = 0,
        /// x0 to x30.
        regs: [u64; 31] = 8,
        /// SP.
        sp: u64 = 256,
        /// PC.
        pc: u64 = 264,
        /// PSTATE.
        pstate: u64 = 272,
    }

    /// `struct _aarch64_ctx`: the head of a record.
    pub struct RecordHead [8] {
        /// Which record it is; 0 ends them.
        magic: u32 = 0,
        /// Bytes, with this head; a multiple of 16, or 0 at the end.
        size: u32 = 4,
    }

    /// `struct fpsimd_context`.
    pub struct FpsimdContext [528] {
        /// [`FPSIMD_MAGIC`].
        head: RecordHead = 0,
        /// FPSR.
        fpsr: u32 = 8,
        /// FPCR.
        fpcr: u32 = 12,
        /// V0 to V31.
        vregs: [u128; 32] = 16,
    }

    /// `struct esr_context`.
    pub struct EsrContext [16] {
        /// [`ESR_MAGIC`].
        head: RecordHead = 0,
        /// ESR_EL1 as user code may see it.
        esr: u64 = 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_c_structs() {
        assert_eq!(SIGCONTEXT_OFFSET - UCONTEXT_OFFSET, 176);
        assert_eq!(RECORDS_OFFSET % 16, 0);
        assert_eq!(SIGFRAME_SIZE - UCONTEXT_OFFSET, 4560);
        assert_eq!(SIGFRAME_SIZE, 4688);
        assert_eq!(SIGNAL_MINSIGSTKSZ, 4720);
        let context = SigContext { pstate: 0x55, ..Default::default() };
        assert_eq!(context.to_bytes()[272], 0x55);
    }
}
