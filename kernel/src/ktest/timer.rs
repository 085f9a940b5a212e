// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests time: the counter and the timer's interrupt.

use base::sync;
use hal::{Clock, Interrupt, Threads};

use super::{Outcome, Test, TestCtx, expect_eq, expect_that, next_interrupt};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("timer::interrupt_comes_at_the_deadline_and_once", deadline),
    ("timer::switched_off_timer_stays_silent", switched_off),
    ("timer::idle_cpu_wakes_for_the_timer", idle),
    ("timer::past_deadline_fires_at_once", past),
];

fn deadline(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    let deadline = machine.now_ns() + 200_000;
    machine.set_timer(Some(deadline));
    // Looked at all the time, to see an interrupt that comes early.
    while !machine.is_interrupt_pending() {
        expect_that!(machine.now_ns() < deadline + 1_000_000_000, "no interrupt within a second");
    }
    expect_that!(machine.now_ns() >= deadline, "before the deadline");
    expect_eq!(machine.take_interrupt(), Some(Interrupt::Timer));
    expect_eq!(machine.take_interrupt(), None);
    expect_that!(!machine.is_interrupt_pending());
    Ok(())
}

fn switched_off(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    let deadline = machine.now_ns() + 50_000;
    machine.set_timer(Some(deadline));
    machine.set_timer(None);
    while machine.now_ns() < deadline + 50_000 {
        sync::relax();
    }
    expect_that!(!machine.is_interrupt_pending());
    expect_eq!(machine.take_interrupt(), None);
    Ok(())
}

fn idle(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    let deadline = machine.now_ns() + 300_000;
    machine.set_timer(Some(deadline));
    expect_eq!(next_interrupt(machine), Interrupt::Timer);
    expect_that!(machine.now_ns() >= deadline, "before the deadline");
    Ok(())
}

fn past(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    machine.set_timer(Some(machine.now_ns().saturating_sub(1_000)));
    expect_eq!(next_interrupt(machine), Interrupt::Timer);
    Ok(())
}
