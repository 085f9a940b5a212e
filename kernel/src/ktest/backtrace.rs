// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests backtraces of the running kernel.

use arch::{backtrace, image};
use base::sync::atomic::{AtomicUsize, Ordering};

use super::{Outcome, Test, TestCtx, expect_eq, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("backtrace::each_call_adds_one_frame", each_call),
    ("backtrace::callers_are_kernel_code_down_to_boot", callers),
    ("backtrace::walk_from_outside_a_stack_is_empty", outside),
];

/// Calls itself `more` times and returns the depth seen from the innermost call.
#[inline(never)]
fn deeper(more: usize, calls: &AtomicUsize) -> usize {
    let depth = if more == 0 { backtrace::from_here().count() } else { deeper(more - 1, calls) };
    // After the call, so that it is not a tail call.
    calls.fetch_add(1, Ordering::Relaxed);
    depth
}

fn each_call(_: &TestCtx) -> Outcome {
    let calls = AtomicUsize::new(0);
    let depths = [0, 1, 2, 10].map(|more| deeper(more, &calls));
    expect_eq!(depths.map(|depth| depth - depths[0]), [0, 1, 2, 10]);
    expect_eq!(calls.load(Ordering::Relaxed), 4 + 13);
    Ok(())
}

fn callers(_: &TestCtx) -> Outcome {
    expect_that!(backtrace::from_here().all(image::is_text));
    expect_that!(backtrace::from_here().count() >= 2);
    Ok(())
}

fn outside(_: &TestCtx) -> Outcome {
    for frame in [0, 16, image::start(), image::boot_stack_slot(), usize::MAX & !15] {
        expect_eq!(backtrace::from_frame(frame as u64).count(), 0, "{frame:#x}");
    }
    Ok(())
}
