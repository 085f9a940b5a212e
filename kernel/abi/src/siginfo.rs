// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds what a signal says of itself: `siginfo_t` and its codes
//! (include/uapi/asm-generic/siginfo.h).

use crate::layout::{Layout, layouts};
use crate::signal::Signal;

/// Sent by kill.
pub const SI_USER: i32 = 0;
/// Sent by the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// Sent by sigqueue.
pub const SI_QUEUE: i32 = -1;
/// Sent by a timer.
pub const SI_TIMER: i32 = -2;
/// Sent by a message queue.
pub const SI_MESGQ: i32 = -3;
/// Sent by completed I/O.
pub const SI_ASYNCIO: i32 = -4;
/// Sent by SIGIO.
pub const SI_SIGIO: i32 = -5;
/// Sent by tkill or tgkill.
pub const SI_TKILL: i32 = -6;

/// SIGILL: illegal opcode.
pub const ILL_ILLOPC: i32 = 1;
/// SIGFPE: integer division by zero.
pub const FPE_INTDIV: i32 = 1;
/// SIGFPE: floating-point division by zero.
pub const FPE_FLTDIV: i32 = 3;
/// SIGFPE: overflow.
pub const FPE_FLTOVF: i32 = 4;
/// SIGFPE: underflow.
pub const FPE_FLTUND: i32 = 5;
/// SIGFPE: inexact result.
pub const FPE_FLTRES: i32 = 6;
/// SIGFPE: invalid operation.
pub const FPE_FLTINV: i32 = 7;
/// SIGFPE: which one is not known.
pub const FPE_FLTUNK: i32 = 14;
/// SIGSEGV: nothing is mapped there.
pub const SEGV_MAPERR: i32 = 1;
/// SIGSEGV: the access is not permitted there.
pub const SEGV_ACCERR: i32 = 2;
/// SIGSEGV: a wrong tag, found later.
pub const SEGV_MTEAERR: i32 = 8;
/// SIGSEGV: a wrong tag, found by the access.
pub const SEGV_MTESERR: i32 = 9;
/// SIGBUS: misaligned.
pub const BUS_ADRALN: i32 = 1;
/// SIGBUS: nothing behind the mapping.
pub const BUS_ADRERR: i32 = 2;
/// SIGBUS: the memory failed.
pub const BUS_OBJERR: i32 = 3;
/// SIGTRAP: breakpoint instruction.
pub const TRAP_BRKPT: i32 = 1;
/// SIGTRAP: single step.
pub const TRAP_TRACE: i32 = 2;
/// SIGTRAP: hardware breakpoint or watchpoint.
pub const TRAP_HWBKPT: i32 = 4;
/// SIGCHLD: called exit.
pub const CLD_EXITED: i32 = 1;
/// SIGCHLD: a signal ended it.
pub const CLD_KILLED: i32 = 2;
/// SIGCHLD: the same, with a core dump.
pub const CLD_DUMPED: i32 = 3;
/// SIGCHLD: a tracer's event.
pub const CLD_TRAPPED: i32 = 4;
/// SIGCHLD: stopped.
pub const CLD_STOPPED: i32 = 5;
/// SIGCHLD: continued.
pub const CLD_CONTINUED: i32 = 6;

/// Bytes of `siginfo_t`. The kernel uses 48 of them; the rest are 0.
pub const SIGINFO_SIZE: usize = 128;

layouts! {
    /// The part of `siginfo_t` that the kernel keeps. What `fields` mean depends on signal and code;
    /// the constructors say how.
    pub struct SigInfo [48] {
        /// Number of the signal.
        signo: i32 = 0,
        /// Not used: 0.
        errno: i32 = 4,
        /// SI_*, SEGV_* and so on.
        code: i32 = 8,
        /// The union.
        fields: [u64; 4] = 16,
    }
}

fn two_words(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl SigInfo {
    fn with(signal: Signal, code: i32, fields: [u64; 4]) -> Self {
        Self { signo: signal.get() as i32, errno: 0, code, fields }
    }

    /// Says that a process sent it: pid at offset 16, uid at 20.
    pub fn sent(signal: Signal, code: i32, pid: u32, uid: u32) -> Self {
        Self::with(signal, code, [two_words(pid, uid), 0, 0, 0])
    }

    /// Says that the kernel sent it.
    pub fn from_kernel(signal: Signal) -> Self {
        Self::sent(signal, SI_KERNEL, 0, 0)
    }

    /// Says that an instruction caused it: the address at offset 16.
    pub fn fault(signal: Signal, code: i32, addr: u64) -> Self {
        Self::with(signal, code, [addr, 0, 0, 0])
    }

    /// Says what became of a child: pid, uid, status at 24, user and system time (in ticks of
    /// USER_HZ) at 32 and 40.
    pub fn child(code: i32, pid: u32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        let status = two_words(status as u32, 0);
        Self::with(Signal::SIGCHLD, code, [two_words(pid, uid), status, utime, stime])
    }

    /// Returns the signal, unless user code has put a wrong number here.
    pub fn signal(&self) -> Option<Signal> {
        Signal::new(u64::try_from(self.signo).ok()?)
    }

    /// Tells whether it comes from kill, tgkill or sigqueue, not from the kernel.
    pub const fn is_from_user(&self) -> bool {
        self.code <= SI_USER
    }

    /// Encodes all of `siginfo_t`.
    pub fn to_user(&self) -> [u8; SIGINFO_SIZE] {
        let mut bytes = [0; SIGINFO_SIZE];
        self.put(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_c_programs_look() {
        let bytes = SigInfo::child(CLD_EXITED, 0x0102, 0x0304, 7, 8, 9).to_user();
        let word = |at: usize| i32::get(&bytes[at..]);
        assert_eq!((word(0), word(4), word(8), word(12)), (17, 0, CLD_EXITED, 0));
        assert_eq!((word(16), word(20), word(24)), (0x0102, 0x0304, 7));
        assert_eq!((u64::get(&bytes[32..]), u64::get(&bytes[40..])), (8, 9));
        assert_eq!(bytes[48..], [0; 80]);
        let fault = SigInfo::fault(Signal::SIGSEGV, SEGV_MTESERR, 0x5_0000_1000).to_user();
        assert_eq!(u64::get(&fault[16..]), 0x5_0000_1000);
    }
}
