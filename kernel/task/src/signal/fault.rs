// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file turns what user code did wrong into signals (Linux: arch/arm64/mm/fault.c,
//! arch/arm64/kernel/traps.c).

use alloc::sync::Arc;

use abi::siginfo::{
    BUS_ADRALN, BUS_ADRERR, BUS_OBJERR, FPE_FLTDIV, FPE_FLTINV, FPE_FLTOVF, FPE_FLTRES, FPE_FLTUND,
    FPE_FLTUNK, ILL_ILLOPC, SEGV_ACCERR, SEGV_MAPERR, SEGV_MTEAERR, SEGV_MTESERR, SigInfo,
    TRAP_BRKPT, TRAP_HWBKPT, TRAP_TRACE,
};
use abi::signal::{SIG_DFL, SIG_IGN};
use abi::{SigSet, Signal};
use base::VirtAddr;
use base::sync::atomic::Ordering;
use hal::Platform;

use super::send;
use crate::kernel::Kernel;
use crate::process::{Thread, Work};

/// What user code did that the kernel cannot make right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing is mapped there: SEGV_MAPERR.
    NotMapped { addr: u64, esr: u64, write: bool },
    /// The mapping does not permit it: SEGV_ACCERR.
    Denied { addr: u64, esr: u64, write: bool },
    /// The object has no content there: BUS_ADRERR.
    NoContent { addr: u64, esr: u64 },
    /// Wrong tag: SEGV_MTESERR. The address has its tag.
    TagCheck { addr: u64, esr: u64 },
    /// Wrong tag, some time ago: SEGV_MTEAERR.
    AsyncTagCheck,
    /// Misaligned: BUS_ADRALN.
    Misaligned { addr: u64, esr: u64 },
    /// No such instruction: ILL_ILLOPC.
    Undefined { pc: u64, esr: u64 },
    /// BRK: TRAP_BRKPT.
    Breakpoint { pc: u64, esr: u64 },
    /// Debug event: TRAP_TRACE or TRAP_HWBKPT.
    Debug { pc: u64, esr: u64 },
    /// Trapped floating-point exception.
    FloatingPoint { pc: u64, esr: u64 },
    /// The machine failed.
    SystemError { esr: u64 },
}

/// ESR_EL1.EC and what Linux leaves of ESR_EL1 for faults at addresses of the kernel: it must not tell
/// what is mapped there (Arm ARM D24.2.40).
const ESR_EC_SHIFT: u32 = 26;
const ESR_IL: u64 = 1 << 25;
const ESR_CM: u64 = 1 << 8;
const ESR_WNR: u64 = 1 << 6;
const ESR_FSC_TRANSLATION: u64 = 0x04;
const EC_DATA_ABORT: u64 = 0x24;
const EC_INSTRUCTION_ABORT: u64 = 0x20;
const EC_SINGLE_STEP: u64 = 0x32;
/// ESR_EL1 of a trapped floating-point exception: the bits below are valid.
const ESR_TFV: u64 = 1 << 23;

impl Fault {
    /// Returns signal, code and address of `siginfo_t`.
    fn info(self) -> SigInfo {
        use Signal as S;
        let (signal, code, addr) = match self {
            Self::NotMapped { addr, .. } => (S::SIGSEGV, SEGV_MAPERR, addr),
            Self::Denied { addr, .. } => (S::SIGSEGV, SEGV_ACCERR, addr),
            Self::TagCheck { addr, .. } => (S::SIGSEGV, SEGV_MTESERR, without_unknown_bits(addr)),
            Self::AsyncTagCheck => (S::SIGSEGV, SEGV_MTEAERR, 0),
            Self::NoContent { addr, .. } => (S::SIGBUS, BUS_ADRERR, addr),
            Self::Misaligned { addr, .. } => (S::SIGBUS, BUS_ADRALN, addr),
            Self::SystemError { .. } => (S::SIGBUS, BUS_OBJERR, 0),
            Self::Undefined { pc, .. } => (S::SIGILL, ILL_ILLOPC, pc),
            Self::Breakpoint { pc, .. } => (S::SIGTRAP, TRAP_BRKPT, pc),
            Self::Debug { pc, esr } if esr >> ESR_EC_SHIFT == EC_SINGLE_STEP => {
                (S::SIGTRAP, TRAP_TRACE, pc)
            }
            Self::Debug { pc, .. } => (S::SIGTRAP, TRAP_HWBKPT, pc),
            Self::FloatingPoint { pc, esr } => (S::SIGFPE, fp_code(esr), pc),
        };
        SigInfo::fault(signal, code, addr)
    }

    /// Returns what the handler's frame says of the fault: `fault_address` and the ESR record.
    fn context(self) -> Option<(u64, u64)> {
        match self {
            Self::NotMapped { addr, esr, .. }
            | Self::Denied { addr, esr, .. }
            | Self::NoContent { addr, esr }
            | Self::TagCheck { addr, esr } => {
                let addr = VirtAddr::new(addr).untagged();
                Some((addr.get(), if addr.is_user() { esr } else { censored(esr) }))
            }
            Self::Misaligned { esr, .. } => Some((0, esr)),
            _ => None,
        }
    }
}

/// Clears bits 63:60 of the address of a tag-check fault, which the architecture leaves open
/// (Arm ARM D24.2.41). Bits 59:56 are the tag.
fn without_unknown_bits(addr: u64) -> u64 {
    const TAG: u64 = 0xf << 56;
    VirtAddr::new(addr).untagged().get() & !TAG | addr & TAG
}

fn censored(esr: u64) -> u64 {
    match esr >> ESR_EC_SHIFT & 0x3f {
        EC_DATA_ABORT => {
            esr & (0x3f << ESR_EC_SHIFT | ESR_IL | ESR_CM | ESR_WNR) | ESR_FSC_TRANSLATION
        }
        EC_INSTRUCTION_ABORT => esr & (0x3f << ESR_EC_SHIFT | ESR_IL) | ESR_FSC_TRANSLATION,
        _ => 0,
    }
}

fn fp_code(esr: u64) -> i32 {
    let has = |bit: u32| esr & ESR_TFV != 0 && esr >> bit & 1 != 0;
    match () {
        () if has(0) => FPE_FLTINV,
        () if has(1) => FPE_FLTDIV,
        () if has(2) => FPE_FLTOVF,
        () if has(3) => FPE_FLTUND,
        () if has(4) => FPE_FLTRES,
        () => FPE_FLTUNK,
    }
}

/// Sends the signal that a fault of the running thread becomes. It cannot be held back, because the
/// instruction would fault for ever; only a tag check that failed some time ago can.
pub(crate) fn force<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    fault: Fault,
) {
    let info = fault.info();
    if fault == Fault::AsyncTagCheck {
        // There is no sender who could be told that the queue is full.
        let _ = send::send_to_thread(kernel, thread, info);
        return;
    }
    thread.signals.own.lock().fault = fault.context();
    force_info(thread, info);
}

/// Sends SIGSEGV for a frame that cannot be written or restored.
pub(super) fn force_sigsegv<P: Platform>(thread: &Arc<Thread<P>>, info: SigInfo) {
    thread.signals.own.lock().fault = None;
    force_info(thread, info);
}

/// Queues a signal for the running thread that neither mask nor SIG_IGN holds back: then the default
/// action comes, as Linux's force_sig_info_to_task() does.
fn force_info<P: Platform>(thread: &Arc<Thread<P>>, info: SigInfo) {
    let Some(signal) = info.signal() else { return };
    let actions = thread.process().signals.actions();
    let mask = thread.signals.mask();
    if mask.contains(signal) || actions.get(signal).handler == SIG_IGN {
        actions.reset(signal);
        let mask = mask.minus(SigSet::of(&[signal]));
        thread.signals.blocked.store(mask.0, Ordering::SeqCst);
    }
    if actions.get(signal).handler == SIG_DFL {
        thread.process().signals.is_hopeless.store(true, Ordering::SeqCst);
    }
    // A full queue takes the signals of the kernel without their information.
    let _ = thread.signals.pending.lock().add(signal, info);
    thread.add_work(Work::SIGNAL);
}
