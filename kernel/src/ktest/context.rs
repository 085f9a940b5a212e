// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests switching between kernel threads.
//!
//! A thread that has made its last switch never unwinds, so what it captures would leak: threads
//! here share statics with the test.

#![expect(unsafe_code, reason = "threads find each other's contexts through statics")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use arch::context::Context;
use arch::kstack;
use base::sync;
use hal::{Cpus, Threads};

use super::{Failure, Outcome, Test, TestCtx, expect_eq, expect_that};
use crate::{heap, smp};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("context::threads_take_turns_on_their_own_stacks", turns),
    ("context::thread_goes_on_on_another_cpu", other_cpu),
    ("context::dropping_an_unstarted_thread_drops_its_closure", unstarted),
    ("context::stacks_are_used_again", stacks),
];

/// A context that threads find by name.
struct Named(AtomicPtr<Context>);

impl Named {
    const fn nobody() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    fn set(&self, context: &Context) {
        self.0.store(core::ptr::from_ref(context).cast_mut(), Ordering::Release);
    }

    fn get(&self) -> &Context {
        // SAFETY: a test sets it to a local of its own before any thread looks, and returns only
        // when no thread will look again.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }
}

/// The thread of a test, and whoever resumes it.
static THREAD: Named = Named::nobody();
static RESUMER: Named = Named::nobody();
/// What the thread tells.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// Builds a context, or the failure of a test without memory.
fn new(ctx: &TestCtx, entry: impl FnOnce() + Send + 'static) -> Result<Context, Failure> {
    let no_memory = |_| super::failed(file!(), line!(), format_args!("no memory for a stack"));
    ctx.machine.new_context(Box::new(entry)).map_err(no_memory)
}

/// Returns the start of the stack that the caller runs on.
fn own_stack() -> u64 {
    let local = 0_u8;
    kstack::bounds_of(core::ptr::from_ref(&local).addr()).map_or(0, |bounds| bounds.start as u64)
}

fn turns(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    let main = machine.boot_context();
    let thread = new(ctx, move || {
        TOLD.store(own_stack(), Ordering::Relaxed);
        for turn in 1.. {
            machine.switch(THREAD.get(), RESUMER.get());
            TOLD.store(turn, Ordering::Relaxed);
        }
    })?;
    THREAD.set(&thread);
    RESUMER.set(&main);
    machine.switch(&main, &thread);
    let its_stack = TOLD.load(Ordering::Relaxed);
    expect_that!(its_stack != 0 && its_stack != own_stack(), "{its_stack:#x}");
    for turn in 1..=100 {
        machine.switch(&main, &thread);
        expect_eq!(TOLD.load(Ordering::Relaxed), turn);
    }
    Ok(())
}

fn other_cpu(ctx: &TestCtx) -> Outcome {
    let cpu = ctx.other_cpu()?;
    let machine = ctx.machine;
    let main = machine.boot_context();
    let thread = new(ctx, move || {
        loop {
            machine.switch(THREAD.get(), RESUMER.get());
            TOLD.store(machine.cpu().get() as u64, Ordering::Relaxed);
        }
    })?;
    THREAD.set(&thread);
    RESUMER.set(&main);
    machine.switch(&main, &thread);
    machine.switch(&main, &thread);
    expect_eq!(TOLD.load(Ordering::Relaxed), machine.cpu().get() as u64);
    let done = Arc::new(AtomicU64::new(0));
    let its_done = done.clone();
    smp::run_on(
        cpu,
        Box::new(move || {
            let its = machine.boot_context();
            RESUMER.set(&its);
            machine.switch(&its, THREAD.get());
            its_done.store(1, Ordering::Release);
            sync::notify();
        }),
    );
    while done.load(Ordering::Acquire) == 0 {
        sync::relax();
    }
    expect_eq!(TOLD.load(Ordering::Relaxed), cpu.get() as u64);
    Ok(())
}

fn unstarted(ctx: &TestCtx) -> Outcome {
    let captured = Arc::new(());
    let its = captured.clone();
    let thread = new(ctx, move || drop(its))?;
    expect_eq!(Arc::strong_count(&captured), 2);
    drop(thread);
    expect_eq!(Arc::strong_count(&captured), 1);
    Ok(())
}

fn stacks(ctx: &TestCtx) -> Outcome {
    drop([new(ctx, || {})?, new(ctx, || {})?]);
    let before = heap::free_bytes();
    for _ in 0..100 {
        drop([new(ctx, || {})?, new(ctx, || {})?]);
    }
    expect_eq!(heap::free_bytes(), before);
    Ok(())
}
