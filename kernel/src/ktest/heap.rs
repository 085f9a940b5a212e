// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the kernel heap where the host's tests of its parts cannot: growth and refusal.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hal::PhysMem;

use super::{Outcome, Test, TestCtx, expect_eq, expect_that};
use crate::heap;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("heap::freed_memory_comes_back", freed_memory_comes_back),
    ("heap::exhausted_heap_refuses_and_recovers", refuses_and_recovers),
    ("heap::exhausted_heap_grows_by_a_block", grows_by_a_block),
];

fn freed_memory_comes_back(_: &TestCtx) -> Outcome {
    let before = heap::free_bytes();
    for size in [1, 16, 100, 4096, 16 << 10, 100 << 10] {
        let objects: Vec<Vec<u8>> = (0..6).map(|_| Vec::with_capacity(size)).collect();
        expect_eq!(objects.len(), 6);
    }
    expect_eq!(heap::free_bytes(), before);
    Ok(())
}

/// Room to remember pieces in while there is no memory.
fn pieces() -> Vec<Vec<u8>> {
    Vec::with_capacity(20_000)
}

/// Takes memory in pieces until the heap refuses. Returns `false` when it never did.
fn exhaust(pieces: &mut Vec<Vec<u8>>, len_bytes: usize) -> bool {
    while pieces.len() < pieces.capacity() {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(len_bytes).is_err() {
            return true;
        }
        pieces.push(piece);
    }
    false
}

fn refuses_and_recovers(_: &TestCtx) -> Outcome {
    let before = heap::free_bytes();
    let mut pieces = pieces();
    let refused = [256 << 10, 64 << 10, 17 << 10, 4096, 64].map(|size| exhaust(&mut pieces, size));
    let left = heap::free_bytes();
    drop(pieces);
    // Judged only now: the message of a failure needs memory.
    expect_eq!(refused, [true; 5]);
    // Gaps of less than 17 KiB, the least that is no slab's, between what the kernel keeps.
    expect_that!(left < 64 << 10, "{left} bytes were left");
    expect_eq!(heap::free_bytes(), before);
    Ok(())
}

fn grows_by_a_block(ctx: &TestCtx) -> Outcome {
    let (machine, block) = (ctx.machine, ctx.spare_block);
    let is_given = AtomicBool::new(false);
    heap::set_growth(Box::leak(Box::new(move || {
        !is_given.swap(true, Relaxed) && machine.adopt_block(block)
    })));
    let before = heap::free_bytes();
    let mut pieces = pieces();
    exhaust(&mut pieces, 256 << 10);
    let taken = pieces.len() * (256 << 10);
    drop(pieces);
    expect_that!(taken > before, "{taken} bytes of {before} and a block");
    expect_eq!(heap::free_bytes(), before + (2 << 20));
    Ok(())
}
