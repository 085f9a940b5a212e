// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what a trap from user code becomes: a resolved fault, a rescheduling, a signal.

use alloc::sync::Arc;

use hal::{FaultCause, MemFault, Platform, Trap, UserRegs};
use mm::FaultError;

use super::Thread;
use crate::kernel::Kernel;
use crate::signal::{self, Fault};

impl<P: Platform> Kernel<P> {
    /// Handles every trap but system calls.
    pub(super) fn handle_trap(
        &'static self,
        thread: &Arc<Thread<P>>,
        regs: &mut UserRegs,
        trap: Trap,
    ) {
        match trap {
            Trap::Fault(fault) => self.handle_fault(thread, &fault),
            Trap::Interrupt => {
                self.sched().take_interrupts();
                self.sched().yield_if_due();
            }
            Trap::Undefined(esr) => {
                signal::force(self, thread, Fault::Undefined { pc: regs.pc, esr })
            }
            Trap::Breakpoint(_, esr) => {
                signal::force(self, thread, Fault::Breakpoint { pc: regs.pc, esr });
            }
            Trap::Debug(esr) => signal::force(self, thread, Fault::Debug { pc: regs.pc, esr }),
            Trap::Misaligned(addr, esr) => {
                signal::force(self, thread, Fault::Misaligned { addr, esr });
            }
            Trap::FloatingPoint(esr) => {
                signal::force(self, thread, Fault::FloatingPoint { pc: regs.pc, esr });
            }
            Trap::SystemError(esr) => signal::force(self, thread, Fault::SystemError { esr }),
            Trap::Syscall => unreachable!("the loop around user code dispatches system calls"),
        }
    }

    fn handle_fault(&'static self, thread: &Arc<Thread<P>>, fault: &MemFault) {
        let addr = fault.addr.get();
        let (write, esr) = (fault.access == hal::Access::Write, fault.esr);
        let fault = match fault.cause {
            FaultCause::TagCheck => Fault::TagCheck { addr, esr },
            FaultCause::Alignment => Fault::Misaligned { addr, esr },
            _ => match self.resolve(thread, fault) {
                Ok(()) => return,
                Err(FaultError::NotMapped) => Fault::NotMapped { addr, esr, write },
                Err(FaultError::Denied) => Fault::Denied { addr, esr, write },
                Err(FaultError::NoContent) => Fault::NoContent { addr, esr },
                // Who was chosen to die has been told; if it was this one, it leaves now.
                Err(FaultError::OutOfMemory) => return,
            },
        };
        signal::force(self, thread, fault);
    }

    /// Makes an access of user code possible. When memory is used up, kills somebody and tries
    /// again.
    ///
    /// # Errors
    ///
    /// [`FaultError`]; `OutOfMemory` only when `thread` itself is to end.
    pub(crate) fn resolve(
        &'static self,
        thread: &Arc<Thread<P>>,
        fault: &MemFault,
    ) -> Result<(), FaultError> {
        let mm = thread.process.mm();
        loop {
            let given_back = self.oom.nr_given_back();
            match mm.fault(fault) {
                Err(FaultError::OutOfMemory) => self.out_of_memory(thread, given_back)?,
                other => return other,
            }
        }
    }
}
