// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the functions that the compiler calls to move values, against moving one byte at
//! a time.

use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;

use super::{Outcome, Test, TestCtx, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("memory::copies_are_exact", copies),
    ("memory::overlapping_moves_are_exact", moves),
    ("memory::fills_are_exact", fills),
];

const SIZE: usize = 256;

fn pattern() -> Vec<u8> {
    (0..SIZE).map(|at| at as u8 ^ 0x5a).collect()
}

/// Every start of these and every length that fits.
fn ranges() -> impl Iterator<Item = (usize, usize)> {
    [0, 1, 7, 8, 13, 100]
        .into_iter()
        .flat_map(|start| (0..=SIZE - start).map(move |len| (start, len)))
}

/// Copies one byte at a time, lowest first, in a way that the compiler does not see through.
fn copy_bytes(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = black_box(*from));
}

fn copies(_: &TestCtx) -> Outcome {
    let source = pattern();
    for (start, len) in ranges() {
        for to in [0, 3, 8] {
            let mut found = vec![0; SIZE + 8];
            let mut expected = vec![0; SIZE + 8];
            found[to..to + len].copy_from_slice(&source[start..start + black_box(len)]);
            copy_bytes(&mut expected[to..to + len], &source[start..start + len]);
            let is_same = found.iter().zip(&expected).all(|(a, b)| black_box(a) == b);
            expect_that!(is_same, "{len} bytes from {start} to {to}");
        }
    }
    Ok(())
}

fn moves(_: &TestCtx) -> Outcome {
    for (start, len) in ranges() {
        for to in [0, 1, 5, 16, 64, 99] {
            if to + len > SIZE {
                continue;
            }
            let mut found = pattern();
            found.copy_within(start..start + black_box(len), to);
            let mut expected = pattern();
            copy_bytes(&mut expected[to..to + len], &pattern()[start..start + len]);
            let is_same = found.iter().zip(&expected).all(|(a, b)| black_box(a) == b);
            expect_that!(is_same, "{len} bytes from {start} to {to}");
        }
    }
    Ok(())
}

fn fills(_: &TestCtx) -> Outcome {
    for (start, len) in ranges() {
        let mut found = pattern();
        found[start..start + black_box(len)].fill(black_box(0xc3));
        for (at, byte) in found.iter().enumerate() {
            let is_filled = (start..start + len).contains(&at);
            let expected = if is_filled { 0xc3 } else { at as u8 ^ 0x5a };
            expect_that!(black_box(*byte) == expected, "byte {at} of {len} from {start}");
        }
    }
    Ok(())
}
