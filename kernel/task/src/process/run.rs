// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the kernel side of a user thread: a loop around user code
//! (`docs/adr/0001-user-code-is-a-subroutine.md`).

use alloc::sync::Arc;
use core::ops::ControlFlow;

use base::sync::atomic::Ordering;
use hal::{Platform, Trap, UserRegs};

use super::{Thread, Work};
use crate::kernel::Kernel;
use crate::signal::{self, Fault};
use crate::syscall;

/// Runs a thread's user code until the thread ends.
pub(super) fn run<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    mut regs: UserRegs,
) {
    thread.kernel_thread.set(kernel.sched().current());
    thread.mark_name(kernel.machine());
    loop {
        // Read after the kernel thread is known: who left word before saw no thread to interrupt.
        if thread.work.load(Ordering::SeqCst) != 0 && attend(kernel, thread, &mut regs).is_break() {
            return;
        }
        // What the kernel's own accesses to user memory have recorded, here or for a thread that ran
        // before, is nobody's fault (Linux: clear_mte_async_tcf in arch/arm64/kernel/entry.S).
        if thread.records_tag_faults() {
            kernel.machine().take_async_tag_fault();
        }
        let trap = kernel.machine().run_user(&mut regs);
        let is_recorded = thread.records_tag_faults() && kernel.machine().take_async_tag_fault();
        match trap {
            Trap::Syscall => syscall::dispatch(kernel, thread, &mut regs),
            trap => kernel.handle_trap(thread, &mut regs, trap),
        }
        // Linux looks at every kernel entry too, and sends the signal on the way back: a system call
        // that sleeps is not interrupted by it.
        if is_recorded {
            signal::force(kernel, thread, Fault::AsyncTagCheck);
        }
    }
}

/// Does what others have left word for.
#[cold]
fn attend<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    regs: &mut UserRegs,
) -> ControlFlow<()> {
    if thread.has_work(Work::EXIT) {
        return ControlFlow::Break(());
    }
    signal::deliver(kernel, thread, regs);
    // Delivery may have been the end of it.
    if thread.has_work(Work::EXIT) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
