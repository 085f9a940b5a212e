// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the state that boot leaves the machine in.

use alloc::vec::Vec;
use core::ops::Range;

use arch::descriptor::{self, PRIVILEGED_NO_EXECUTE, READ_ONLY, USER, USER_NO_EXECUTE};
use arch::kernel_map::{self, Leaf};
use arch::layout::STACK_SIZE;
use arch::{cpu, image, kstack, linear_map};
use base::{PAGE_SIZE, PhysAddr};

use super::{Outcome, Test, TestCtx, expect_eq, expect_that};
use crate::println;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("boot::kernel_runs_at_el1_masked_and_without_user_access", running_state),
    ("boot::no_byte_is_writable_and_executable", write_xor_execute),
    ("boot::kernel_mappings_are_closed_to_el0", closed_to_el0),
    ("boot::ram_is_mapped_in_blocks", ram_in_blocks),
    ("boot::stack_guards_are_unmapped", stack_guards),
    ("boot::stacks_have_room_left", stacks_have_room),
];

fn running_state(_: &TestCtx) -> Outcome {
    expect_eq!(cpu::exception_level(), 1);
    let state = cpu::pstate();
    expect_that!(state.irq_masked && state.fiq_masked, "{state:?}");
    expect_that!(!state.serror_masked, "SErrors are reported where they happen: {state:?}");
    expect_that!(state.user_access_denied, "PAN: {state:?}");
    Ok(())
}

fn leaves() -> Vec<Leaf> {
    let mut leaves = Vec::new();
    kernel_map::for_each_leaf(&mut |leaf| leaves.push(leaf));
    leaves
}

fn is_executable(leaf: &Leaf) -> bool {
    leaf.descriptor & PRIVILEGED_NO_EXECUTE == 0
}

fn output(leaf: &Leaf) -> Range<u64> {
    let start = descriptor::output(leaf.descriptor).get();
    start..start + leaf.len_bytes as u64
}

fn write_xor_execute(_: &TestCtx) -> Outcome {
    let leaves = leaves();
    let executable: Vec<_> = leaves.iter().filter(|leaf| is_executable(leaf)).map(output).collect();
    let text = image::phys(image::start()).get()..image::phys(image::text_end()).get();
    expect_eq!(executable.first().map(|range| range.start), Some(text.start));
    expect_eq!(executable.last().map(|range| range.end), Some(text.end));
    let total: u64 = executable.iter().map(|range| range.end - range.start).sum();
    expect_eq!(total, text.end - text.start, "executable bytes are those of the code, once");
    for leaf in leaves.iter().filter(|leaf| leaf.descriptor & READ_ONLY == 0) {
        let written = output(leaf);
        expect_that!(
            written.end <= text.start || text.end <= written.start,
            "code is writable at {:#x}",
            leaf.va
        );
    }
    Ok(())
}

fn closed_to_el0(_: &TestCtx) -> Outcome {
    for leaf in leaves() {
        expect_eq!(leaf.descriptor & USER, 0, "{:#x}", leaf.va);
        expect_that!(leaf.descriptor & USER_NO_EXECUTE != 0, "{:#x}", leaf.va);
    }
    Ok(())
}

fn ram_in_blocks(ctx: &TestCtx) -> Outcome {
    let leaves = leaves();
    for run in &ctx.machine.managed {
        let range = linear_map::virt_range(&(run.start.base()..run.end.base()));
        let inside = leaves.iter().filter(|leaf| range.contains(&leaf.va));
        let (count, bytes) =
            inside.fold((0, 0), |(n, bytes), leaf| (n + 1, bytes + leaf.len_bytes));
        expect_eq!(bytes, range.len());
        expect_eq!(count, range.len() >> 21, "2 MiB blocks of {run:?}");
    }
    Ok(())
}

fn stack_guards(_: &TestCtx) -> Outcome {
    let stack = kstack::KernelStack::new();
    expect_that!(stack.is_ok(), "no memory");
    let boot_top = image::boot_stack_top();
    let boot = boot_top - arch::layout::STACK_SIZE..boot_top;
    for bounds in stack.iter().map(|stack| stack.bounds()).chain([boot]) {
        expect_that!(cpu::translate(bounds.start).is_some(), "lowest byte of {bounds:x?}");
        expect_that!(cpu::translate(bounds.end - 1).is_some(), "highest byte of {bounds:x?}");
        expect_eq!(cpu::translate(bounds.start - 1), None, "guard of {bounds:x?}");
        expect_eq!(cpu::translate(bounds.start - bounds.len()), None, "guard of {bounds:x?}");
    }
    let code = cpu::translate(image::start()).map(PhysAddr::get);
    expect_eq!(code, Some(image::phys(image::start()).get()), "translate() itself");
    Ok(())
}

/// The least of a stack that nobody may ever have used: a page. This kernel has the deepest frames, with
/// every assertion; of the boot stack 7,792 bytes were left when this was written.
const MIN_HEADROOM: usize = PAGE_SIZE;

fn stacks_have_room(_: &TestCtx) -> Outcome {
    let (boot, others) = kstack::headroom();
    println!("# headroom of stacks: boot {boot}, others {others} bytes of {STACK_SIZE}");
    expect_that!(boot >= MIN_HEADROOM, "{boot} bytes of the boot stack were never used");
    expect_that!(others >= MIN_HEADROOM, "{others} bytes of some stack were never used");
    Ok(())
}
