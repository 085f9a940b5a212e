// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests that FP/SIMD registers of user code are kept.

use hal::{FpState, PhysMem, RunUser, Trap};

use super::space::{self, Space};
use super::{Outcome, Test, TestCtx, expect_eq, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("fp::all_registers_load_and_save", load_and_save),
    ("fp::page_copy_keeps_vector_registers", page_copy),
    ("fp::el0_computes_with_them", el0_computes),
];

/// Registers that are all different; FPSR with a sticky flag, FPCR rounding towards zero.
fn pattern() -> FpState {
    FpState {
        v: core::array::from_fn(|n| (n as u128 + 1) * 0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        fpsr: 1 << 4,
        fpcr: 0b11 << 22,
    }
}

fn load_and_save(ctx: &TestCtx) -> Outcome {
    let mut saved = FpState::default();
    ctx.machine.load_fp(&pattern());
    ctx.machine.save_fp(&mut saved);
    expect_that!(saved == pattern(), "{saved:x?}");
    ctx.machine.load_fp(&FpState::default());
    ctx.machine.save_fp(&mut saved);
    expect_that!(saved == FpState::default(), "{saved:x?}");
    Ok(())
}

fn page_copy(ctx: &TestCtx) -> Outcome {
    let mut saved = FpState::default();
    ctx.machine.load_fp(&pattern());
    ctx.machine.copy_frame(ctx.frame(), ctx.frame());
    ctx.machine.save_fp(&mut saved);
    expect_that!(saved == pattern(), "{saved:x?}");
    Ok(())
}

fn el0_computes(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let both = |value: f64| u128::from(value.to_bits()) << 64 | u128::from(value.to_bits());
    let mut fp = FpState::default();
    (fp.v[0], fp.v[1]) = (both(1.5), both(2.25));
    ctx.machine.load_fp(&fp);
    for sum in [3.75, 6.0, 8.25] {
        expect_eq!(space.run(space::add_doubles(), 0, 0).0, Trap::Syscall);
        ctx.machine.save_fp(&mut fp);
        expect_eq!(fp.v[0], both(sum));
    }
    Ok(())
}
