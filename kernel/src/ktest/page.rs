// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests zeroing, copying and scanning of frames.

use alloc::vec;
use alloc::vec::Vec;

use base::{PAGE_SIZE, Pfn};
use hal::PhysMem;

use super::{Outcome, Test, TestCtx, expect_eq, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("page::zero_and_copy_touch_one_frame", zero_and_copy_touch_one_frame),
    ("page::zeroing_a_run_touches_its_frames_only", zeroing_a_run_touches_its_frames_only),
    ("page::is_zero_sees_every_byte", is_zero_sees_every_byte),
    ("page::bytes_move_at_every_offset_and_length", bytes_move),
];

/// Fills a frame with bytes that tell their place and the frame.
fn fill(ctx: &TestCtx, frame: Pfn, mark: u8) -> Vec<u8> {
    let bytes: Vec<u8> = (0..PAGE_SIZE).map(|at| (at / 256) as u8 ^ at as u8 ^ mark).collect();
    ctx.machine.write_bytes(frame.base(), &bytes);
    bytes
}

fn contents(ctx: &TestCtx, frame: Pfn) -> Vec<u8> {
    let mut bytes = vec![0; PAGE_SIZE];
    ctx.machine.read_bytes(frame.base(), &mut bytes);
    bytes
}

fn zero_and_copy_touch_one_frame(ctx: &TestCtx) -> Outcome {
    // Frames of the arena are neighbours.
    let frames = [ctx.frame(), ctx.frame(), ctx.frame()];
    expect_eq!(frames[2].get(), frames[0].get() + 2);
    let [below, _, above] = [1, 2, 3].map(|mark| fill(ctx, frames[usize::from(mark) - 1], mark));
    ctx.machine.zero_frame(frames[1]);
    expect_that!(contents(ctx, frames[1]).iter().all(|byte| *byte == 0), "zeroed");
    expect_that!(contents(ctx, frames[0]) == below, "frame below a zeroed one");
    expect_that!(contents(ctx, frames[2]) == above, "frame above a zeroed one");
    ctx.machine.copy_frame(frames[1], frames[0]);
    expect_that!(contents(ctx, frames[1]) == below, "copied");
    expect_that!(contents(ctx, frames[0]) == below, "source of a copy");
    expect_that!(contents(ctx, frames[2]) == above, "frame above a copy");
    Ok(())
}

fn zeroing_a_run_touches_its_frames_only(ctx: &TestCtx) -> Outcome {
    const NR_FRAMES: usize = 16;
    let frames: [Pfn; NR_FRAMES + 2] = core::array::from_fn(|_| ctx.frame());
    let before = frames.map(|frame| fill(ctx, frame, frame.get() as u8));
    ctx.machine.zero_frames(frames[1], NR_FRAMES as u32);
    for frame in &frames[1..=NR_FRAMES] {
        expect_that!(ctx.machine.is_zero_frame(*frame), "{frame:?} of the run");
    }
    for at in [0, NR_FRAMES + 1] {
        expect_that!(contents(ctx, frames[at]) == before[at], "beside the run");
    }
    Ok(())
}

fn is_zero_sees_every_byte(ctx: &TestCtx) -> Outcome {
    let frame = ctx.frame();
    expect_that!(ctx.machine.is_zero_frame(frame), "a zeroed frame");
    for at in 0..PAGE_SIZE {
        ctx.machine.write_bytes(frame.at(at), &[0x80]);
        expect_that!(!ctx.machine.is_zero_frame(frame), "byte {at} is not zero");
        ctx.machine.write_bytes(frame.at(at), &[0]);
    }
    expect_that!(ctx.machine.is_zero_frame(frame), "zero again");
    Ok(())
}

fn bytes_move(ctx: &TestCtx) -> Outcome {
    let frame = ctx.frame();
    let expected = fill(ctx, frame, 0x5a);
    for offset in (0..20).chain(PAGE_SIZE - 140..PAGE_SIZE) {
        for len in (0..140).filter(|len| offset + len <= PAGE_SIZE) {
            let mut buf = [0; 140];
            ctx.machine.read_bytes(frame.at(offset), &mut buf[..len]);
            expect_that!(buf[..len] == expected[offset..offset + len], "{len} bytes at {offset}");
            expect_that!(buf[len..].iter().all(|byte| *byte == 0), "past {len} bytes at {offset}");
            ctx.machine.write_bytes(frame.at(offset), &buf[..len]);
        }
    }
    expect_that!(contents(ctx, frame) == expected, "what was written back");
    Ok(())
}
