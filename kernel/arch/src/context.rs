// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file switches between kernel threads: each has a stack, and the registers saved on it while
//! the thread does not run.
//!
//! States of a context, and who moves it on:
//!
//! 1. *New* -> *Running*: [`switch`] to it, the first time; the entry closure moves to its stack.
//! 2. *Running* -> *Leaving*: [`switch`] from it begins.
//! 3. *Leaving* -> *Saved*: context.S, when the last of its registers is on its stack and the CPU
//!    is off that stack. Another CPU that switches to it in between waits these few instructions.
//! 4. *Saved* -> *Running*: [`switch`] to it again, on any CPU.
//!
//! There is no state for a thread that has ended: it is Saved by its last switch, and dropping
//! the context frees its stack.

#![expect(unsafe_code, reason = "switches stacks")]

extern crate alloc;

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_cpu::asm::barrier;
use base::sync;
use hal::thread::OutOfKernelMemory;

use crate::kstack::KernelStack;

core::arch::global_asm!(include_str!("context.S"), start = sym start);

const NEW: u32 = 0;
const RUNNING: u32 = 1;
const LEAVING: u32 = 2;
const SAVED: u32 = 3;

/// What context.S keeps on the stack: six pairs of callee-saved registers.
const SAVED_REGISTERS: usize = 12;
/// Positions of x19 and x30 in it.
const X19: usize = 10;
const X30: usize = 1;

type Entry = Box<dyn FnOnce() + Send>;

unsafe extern "C" {
    fn context_switch(from_sp: *mut usize, to_sp: usize, from_state: &AtomicU32, saved: u32);
    fn context_start();
}

/// A kernel thread's stack and saved registers.
pub struct Context {
    state: AtomicU32,
    /// SP while the context is New or Saved. Written by the CPU that leaves, read by the one that
    /// resumes: `state` orders the two.
    sp: UnsafeCell<usize>,
    /// The entry of a New context, which its start takes.
    entry: *mut Entry,
    /// `None`: the stack belongs to the CPU that booted on it.
    stack: Option<KernelStack>,
}

// SAFETY: the entry is `Send`; `entry` is otherwise an address that one CPU at a time uses.
unsafe impl Send for Context {}
// SAFETY: `sp` is only touched by the CPU that has moved `state` to Running or Leaving, by
// compare-exchange: one at a time.
unsafe impl Sync for Context {}

impl Context {
    /// Builds a context that will run `entry` on a stack of its own. `entry` must not return.
    ///
    /// # Errors
    ///
    /// When there is no memory for the stack.
    pub fn new(entry: Entry) -> Result<Self, OutOfKernelMemory> {
        let stack = KernelStack::new().map_err(|_| OutOfKernelMemory)?;
        let entry = Box::into_raw(Box::new(entry));
        let mut registers = [0usize; SAVED_REGISTERS];
        registers[X19] = entry.expose_provenance();
        registers[X30] = (context_start as *const ()).expose_provenance();
        let sp = stack.bounds().end - size_of_val(&registers);
        let frame = core::ptr::with_exposed_provenance_mut::<[usize; SAVED_REGISTERS]>(sp);
        // SAFETY: the stack is mapped, nobody runs on it, and the frame is its topmost part.
        unsafe { frame.write(registers) };
        Ok(Self { state: AtomicU32::new(NEW), sp: UnsafeCell::new(sp), entry, stack: Some(stack) })
    }

    /// Builds the context that stands for the flow of control already running.
    pub fn running() -> Self {
        Self {
            state: AtomicU32::new(RUNNING),
            sp: UnsafeCell::new(0),
            entry: core::ptr::null_mut(),
            stack: None,
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        match wait_until_left(&self.state) {
            // SAFETY: never started, so the closure is still where `new` put it.
            NEW => drop(unsafe { Box::from_raw(self.entry) }),
            RUNNING if self.stack.is_some() => panic!("a kernel thread's context dropped in use"),
            _ => {}
        }
    }
}

/// Saves the running flow of control in `from` and goes on with `to`. Returns when somebody
/// switches back to `from`, maybe on another CPU.
///
/// # Panics
///
/// When `to` is running already, or `from` is not.
pub fn switch(from: &Context, to: &Context) {
    let left = from.state.compare_exchange(RUNNING, LEAVING, Ordering::Relaxed, Ordering::Relaxed);
    assert!(left.is_ok(), "switch from a context that is not running");
    let ready = wait_until_left(&to.state);
    let taken = ready != RUNNING
        && to.state.compare_exchange(ready, RUNNING, Ordering::Acquire, Ordering::Relaxed).is_ok();
    assert!(taken, "context resumed twice");
    // `from` may go on on another CPU, whose DSB would not complete the TLB and cache maintenance
    // that this CPU has started for it (hal::tlb; Linux arch/arm64/kernel/process.c, __switch_to).
    barrier::dsb(barrier::ISH);
    // SAFETY: this CPU has just moved `to` to Running.
    let to_sp = unsafe { *to.sp.get() };
    // SAFETY: (1) `to_sp` is the SP of a saved context, resumed by nobody else. (2) `from` is this
    // flow of control; its `sp` is written before its state says Saved. (3) Both outlive the
    // call: it returns in `from`, whose caller still holds the references.
    unsafe { context_switch(from.sp.get(), to_sp, &from.state, SAVED) };
}

/// Waits while another CPU is on the last instructions of leaving a context.
fn wait_until_left(state: &AtomicU32) -> u32 {
    loop {
        match state.load(Ordering::Acquire) {
            LEAVING => sync::relax(),
            other => return other,
        }
    }
}

/// Runs a new context's entry.
extern "C" fn start(entry: *mut Entry) -> ! {
    // SAFETY: `entry` comes from `Context::new`; a context starts once.
    let entry = unsafe { Box::from_raw(entry) };
    entry();
    panic!("a kernel thread's entry returned");
}
