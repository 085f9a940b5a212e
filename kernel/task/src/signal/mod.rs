// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is signals.

use alloc::sync::Arc;

use hal::{Platform, UserRegs};

use crate::kernel::Kernel;
use crate::process::{ChildEvent, ExitStatus, Process, Thread, Work};

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

impl Fault {
    fn signal(self) -> u8 {
        match self {
            Self::NotMapped { .. }
            | Self::Denied { .. }
            | Self::TagCheck { .. }
            | Self::AsyncTagCheck => 11,
            Self::NoContent { .. } | Self::Misaligned { .. } | Self::SystemError { .. } => 7,
            Self::Undefined { .. } => 4,
            Self::Breakpoint { .. } | Self::Debug { .. } => 5,
            Self::FloatingPoint { .. } => 8,
        }
    }
}

/// Sends the signal that a fault of the running thread becomes.
pub(crate) fn force<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    fault: Fault,
) {
    log::warn!("process {}: {fault:x?}", thread.process().pid());
    kernel.end_process(thread.process(), ExitStatus::Signal(fault.signal()));
}

/// Handles pending signals of the running thread before it runs user code.
pub(crate) fn deliver<P: Platform>(
    _kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    _regs: &mut UserRegs,
) {
    thread.clear_work(Work::SIGNAL | Work::RESTART);
}

/// Tells whether the parent of a process wants no zombies.
pub(crate) fn parent_discards_children<P: Platform>(
    _kernel: &'static Kernel<P>,
    _process: &Arc<Process<P>>,
) -> bool {
    false
}

/// Tells the parent that a child has ended.
pub(crate) fn child_ended<P: Platform>(
    _kernel: &'static Kernel<P>,
    _parent: &Arc<Process<P>>,
    _pid: u32,
    _signal: u8,
    _status: ExitStatus,
) {
}

/// Returns the siginfo that waitid stores.
pub(crate) fn child_info(_pid: u32, _event: ChildEvent) -> [u8; 128] {
    [0; 128]
}

/// Forgets handlers and the alternate stack: they were the old program's.
pub(crate) fn exec_resets<P: Platform>(_kernel: &'static Kernel<P>, _thread: &Arc<Thread<P>>) {}
