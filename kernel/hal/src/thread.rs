// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to kernel threads and interrupts.
//!
//! The kernel runs with interrupts masked. They are *taken* as a trap from user code, when a CPU
//! is idle, and where a long loop asks for them; each time the thread that runs calls
//! [`Threads::take_interrupt`] until there is none.

use alloc::boxed::Box;

use base::percpu::CpuId;

use crate::block_dev::DiskId;

/// An interrupt that was taken and acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// This CPU's timer reached its deadline.
    Timer,
    /// Another CPU asks this one to look at its run queue.
    Kick,
    /// A disk completed requests; the machine has already woken who waited for them.
    Disk(DiskId),
    /// The console has input.
    Console,
    /// Nobody asked for it.
    Unexpected(u32),
}

/// The kernel has no memory for another thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfKernelMemory;

/// Kernel threads.
pub trait Threads {
    /// A stack and the registers saved on it while the thread does not run.
    type Context: Send + Sync;

    /// Builds a context that will run `entry` on a stack of its own. `entry` must not return: it
    /// ends by switching away for the last time.
    ///
    /// # Errors
    ///
    /// [`OutOfKernelMemory`] when there is none for the stack.
    fn new_context(
        &self,
        entry: Box<dyn FnOnce() + Send>,
    ) -> Result<Self::Context, OutOfKernelMemory>;

    /// Builds the context that stands for the flow of control already running on this CPU.
    fn boot_context(&self) -> Self::Context;

    /// Saves the running flow of control in `from` and goes on with `to`. Returns when somebody
    /// switches back to `from`, maybe on another CPU; so the TLB invalidations that this CPU has
    /// started are completed first (DSB ISH).
    ///
    /// # Panics
    ///
    /// When `to` is running, or has ended.
    fn switch(&self, from: &Self::Context, to: &Self::Context);

    /// Takes one pending interrupt, if there is one.
    fn take_interrupt(&self) -> Option<Interrupt>;

    /// Tells whether an interrupt is pending on this CPU (one register read).
    fn is_interrupt_pending(&self) -> bool;

    /// Parks this CPU until an interrupt is pending (WFI).
    fn wait_for_interrupt(&self);

    /// Makes an interrupt pending on another CPU.
    fn kick(&self, cpu: CpuId);

    /// Sets this CPU's timer to a time of [`Clock::now_ns`](crate::Clock::now_ns), or switches it
    /// off.
    fn set_timer(&self, deadline_ns: Option<u64>);
}
