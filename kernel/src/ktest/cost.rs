// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts instructions of the hot paths, where the emulator makes time the same as
//! instructions: `-icount shift=0`, one a nanosecond.
//!
//! Each path runs a thousand times, so that the 16 ns of a tick do not show. A bound is what the path
//! took when it was last looked at, the loop around it included: a path that grows fails.

use core::arch::asm;
use core::hint::black_box;

use arch::timer;
use base::{PageRange, VirtAddr};
use hal::{Clock, Invalidate, PageTags, PhysMem, Reach, RunUser, TagMem, Tlb, UserMem};

use super::space::{self, DATA, READ_WRITE, Space, regs_at};
use super::{Outcome, Test, TestCtx, expect_that, skip};
use crate::println;

/// The tests of this file.
pub const TESTS: &[Test] = &[("cost::hot_paths_take_no_more_instructions_than_known", hot_paths)];

const ROUNDS: u64 = 1000;

/// Returns the nanoseconds that all rounds take.
fn measure<T>(ctx: &TestCtx, mut path: impl FnMut() -> T) -> u64 {
    let start = ctx.machine.now_ns();
    for _ in 0..ROUNDS {
        black_box(path());
    }
    ctx.machine.now_ns() - start
}

/// Prints what a path takes and compares it with its bound.
fn check<T>(ctx: &TestCtx, name: &str, bound: u64, path: impl FnMut() -> T) -> Outcome {
    let found = measure(ctx, path) / ROUNDS;
    println!("# cost {name} {found}");
    expect_that!(
        found <= bound || cfg!(debug_assertions),
        "{name}: {found} instructions, bound {bound}"
    );
    Ok(())
}

#[expect(unsafe_code, reason = "an instruction count that is known")]
fn ten_nops() {
    // SAFETY: does nothing.
    unsafe { asm!(".rept 10", "nop", ".endr", options(nomem, nostack, preserves_flags)) };
}

fn hot_paths(ctx: &TestCtx) -> Outcome {
    // Real time never gives the same answer five times, to a tick of 16 ns.
    let times = [(); 5].map(|()| measure(ctx, ten_nops));
    let is_exact = times.iter().all(|time| time.abs_diff(times[0]) <= 16);
    if !is_exact || times[0] / ROUNDS >= 20 {
        return skip("needs -icount shift=0");
    }
    let machine = ctx.machine;
    let space = Space::new(ctx);
    space.map_data(READ_WRITE);
    let (a, b) = (ctx.frame(), ctx.frame());
    let mut regs = regs_at(space::svc());
    let mut buf = [0; 4096];
    let at = VirtAddr::new(DATA);
    let pages = PageRange::of_len(at.page(), 16);
    check(ctx, "null_syscall", 90, || machine.run_user(&mut regs))?;
    check(ctx, "now_ns", 20, timer::ticks)?;
    check(ctx, "zero_frame", 165, || machine.zero_frame(a))?;
    check(ctx, "copy_frame", 352, || machine.copy_frame(a, b))?;
    check(ctx, "is_zero_frame", 980, || machine.is_zero_frame(b))?;
    check(ctx, "read_user_4096", 1080, || machine.read_user(at, &mut buf))?;
    check(ctx, "write_user_4096", 1145, || machine.write_user(at, &buf))?;
    check(ctx, "load_user_u32", 58, || machine.load_user_u32(at))?;
    check(ctx, "invalidate_16_pages", 70, || {
        machine.before();
        machine.invalidate(
            Invalidate::Leaves { asid: space.asid, pages, level: hal::LeafLevel::Pages },
            Reach::Broadcast,
        );
        machine.complete(Reach::Broadcast);
    })?;
    if machine.has_tags() {
        let mut tags = PageTags::ZERO;
        check(ctx, "read_tags", 115, || tags = machine.read_tags(a))?;
        check(ctx, "write_tags", 80, || machine.write_tags(a, &tags))?;
        check(ctx, "zero_frame_and_tags", 165, || machine.zero_frame_and_tags(a))?;
    }
    Ok(())
}
