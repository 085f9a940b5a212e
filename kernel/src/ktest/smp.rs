// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the other CPUs: that they run, take work, and hear a kick.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use arch::{cpu, kstack, sysreg};
use base::percpu::CpuId;
use base::sync;
use hal::{Cpus, Interrupt, Threads};

use super::{Outcome, Test, TestCtx, expect_eq, expect_that, next_interrupt};
use crate::smp;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("smp::every_cpu_of_the_device_tree_runs", all_run),
    ("smp::every_cpu_is_in_its_running_state", running_state),
    ("smp::kick_is_taken_by_the_cpu_it_was_sent_to", kick),
    ("smp::own_kick_is_taken_too", own_kick),
];

/// Runs a function on another CPU and returns what it returned.
fn ask(cpu: CpuId, question: impl FnOnce() -> u64 + Send + 'static) -> u64 {
    const PENDING: u64 = u64::MAX;
    let answer = Arc::new(AtomicU64::new(PENDING));
    let its = answer.clone();
    smp::run_on(
        cpu,
        Box::new(move || {
            its.store(question(), Ordering::Release);
            sync::notify();
        }),
    );
    loop {
        match answer.load(Ordering::Acquire) {
            PENDING => sync::relax(),
            value => return value,
        }
    }
}

fn others(ctx: &TestCtx) -> impl Iterator<Item = CpuId> {
    let own = ctx.machine.cpu();
    smp::online().filter(move |cpu| *cpu != own)
}

fn all_run(ctx: &TestCtx) -> Outcome {
    expect_eq!(smp::online().count(), ctx.machine.nr_cpus());
    for cpu in others(ctx) {
        expect_eq!(ask(cpu, || cpu::current().get() as u64), cpu.get() as u64);
    }
    Ok(())
}

fn running_state(ctx: &TestCtx) -> Outcome {
    let control = || {
        let translation = [sysreg::tcr_el1(), sysreg::mair_el1(), sysreg::ttbr1_el1()];
        (translation, sysreg::sctlr_el1(), sysreg::cntkctl_el1())
    };
    let expected = control();
    // Lock waiters rely on the event stream (CNTKCTL_EL1.EVNTEN); EL0 reads the virtual counter.
    expect_eq!(expected.2 & 0b111, 0b110);
    for cpu in others(ctx) {
        let is_same = ask(cpu, move || u64::from(control() == expected));
        expect_eq!(is_same, 1, "control registers of {cpu:?}");
        let state = ask(cpu, || u64::from(cpu::pstate() == boot_pstate()));
        expect_eq!(state, 1, "PSTATE of {cpu:?}");
        let stack = ask(cpu, || {
            let local = 0_u8;
            u64::from(kstack::bounds_of(core::ptr::from_ref(&local).addr()).is_some())
        });
        expect_eq!(stack, 1, "stack of {cpu:?}");
    }
    expect_that!(cpu::pstate() == boot_pstate());
    Ok(())
}

fn boot_pstate() -> cpu::Pstate {
    cpu::Pstate {
        irq_masked: true,
        fiq_masked: true,
        serror_masked: false,
        user_access_denied: true,
    }
}

fn kick(ctx: &TestCtx) -> Outcome {
    let cpu = ctx.other_cpu()?;
    let machine = ctx.machine;
    let ready = Arc::new(AtomicU64::new(0));
    let its = ready.clone();
    let taken = Arc::new(AtomicU64::new(0));
    let its_taken = taken.clone();
    smp::run_on(
        cpu,
        Box::new(move || {
            while machine.take_interrupt().is_some() {}
            its.store(1, Ordering::Release);
            sync::notify();
            let is_kick = next_interrupt(machine) == Interrupt::Kick;
            its_taken.store(1 + u64::from(is_kick), Ordering::Release);
            sync::notify();
        }),
    );
    while ready.load(Ordering::Acquire) == 0 {
        sync::relax();
    }
    expect_eq!(taken.load(Ordering::Acquire), 0, "it waits until it is kicked");
    machine.kick(cpu);
    while taken.load(Ordering::Acquire) == 0 {
        sync::relax();
    }
    expect_eq!(taken.load(Ordering::Acquire), 2);
    expect_eq!(machine.take_interrupt(), None, "nobody else got it");
    Ok(())
}

fn own_kick(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    expect_eq!(machine.take_interrupt(), None);
    machine.kick(machine.cpu());
    expect_eq!(next_interrupt(machine), Interrupt::Kick);
    expect_eq!(machine.take_interrupt(), None);
    Ok(())
}
