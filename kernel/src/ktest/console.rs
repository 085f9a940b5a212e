// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests console input, with the UART looped back.

use hal::{Devices, Interrupt, Threads};

use super::{Outcome, Test, TestCtx, expect_eq, expect_that, skip};
use crate::console;

/// The tests of this file.
pub const TESTS: &[Test] = &[("console::input_raises_the_interrupt_and_is_kept", input)];

fn input(ctx: &TestCtx) -> Outcome {
    let machine = ctx.machine;
    // A line of its own where the UART has no loopback and sends it out.
    let text = *b"\n# loopback\n";
    let mut found = [0; 40];
    console::set_loopback(true);
    machine.console_write(&text);
    let interrupt = machine.take_interrupt();
    let again = machine.take_interrupt();
    let lens = [machine.console_read(&mut found[..4]), machine.console_read(&mut found[4..])];
    console::set_loopback(false);
    // Judged only now: what is printed would come back.
    if interrupt.is_none() && lens == [0, 0] {
        return skip("the UART has no loopback");
    }
    expect_eq!(interrupt, Some(Interrupt::Console));
    expect_eq!(again, None);
    expect_eq!(lens, [4, text.len() - 4]);
    expect_that!(found[..text.len()] == text, "{found:?}");
    Ok(())
}
