// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs the in-guest tests: those of what only the machine can judge.
//!
//! A test is a function that gets a [`TestCtx`] and returns an [`Outcome`]; each file lists its own
//! in a table. Results are KTAP (Linux Documentation/dev-tools/ktap.rst) on the console. Boot option
//! `ktest=all` runs every test, `ktest=A,B` those whose names contain A or B, and `ktest=list` prints
//! the names. A panic ends the boot; whoever reads the console reports the rest as not run.
//!
//! Tests free what they take: frames come from a block of their own and are taken back after each.

mod backtrace;
mod boot;
mod console;
mod context;
mod cost;
mod disk;
mod fp;
mod heap;
mod hw_dirty;
mod large_folio;
mod memory;
mod mm_fault;
mod mm_swap;
mod mte;
mod page;
mod program;
mod smp;
mod space;
mod swap_speed;
mod timer;
mod tlb;
mod user_copy;
mod user_run;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::Cell;
use core::ops::Range;

use base::percpu::CpuId;
use base::{Order, Pfn};
use hal::{Cpus, Interrupt, PhysMem, Threads};
use mm::System;

use crate::command_line::CommandLine;
use crate::machine::Granule;
use crate::{println, smp as cpus};

/// Why a test did not pass.
pub enum Failure {
    /// Something was not as expected.
    Failed(String),
    /// This machine lacks what the test is about.
    Skipped(String),
}

/// What a test returns.
pub type Outcome = Result<(), Failure>;

/// A test: its name, `file::subject_condition_outcome`, and its function.
pub type Test = (&'static str, fn(&TestCtx) -> Outcome);

/// All tests, by file.
const TABLES: &[&[Test]] = &[
    boot::TESTS,
    heap::TESTS,
    memory::TESTS,
    page::TESTS,
    tlb::TESTS,
    hw_dirty::TESTS,
    user_run::TESTS,
    user_copy::TESTS,
    mte::TESTS,
    mm_fault::TESTS,
    mm_swap::TESTS,
    swap_speed::TESTS,
    large_folio::TESTS,
    fp::TESTS,
    context::TESTS,
    timer::TESTS,
    smp::TESTS,
    console::TESTS,
    disk::TESTS,
    backtrace::TESTS,
    cost::TESTS,
];

/// Fails the test, with place and message, when a condition does not hold.
macro_rules! expect_that {
    ($condition:expr, $($arg:tt)+) => {
        if !$condition {
            return Err($crate::ktest::failed(file!(), line!(), format_args!($($arg)+)));
        }
    };
    ($condition:expr) => { $crate::ktest::expect_that!($condition, "{}", stringify!($condition)) };
}

/// Fails the test, with place and both values, when two values differ.
macro_rules! expect_eq {
    ($left:expr, $right:expr) => { $crate::ktest::expect_eq!($left, $right, "{}", stringify!($left)) };
    ($left:expr, $right:expr, $($arg:tt)+) => {{
        let (left, right) = (&$left, &$right);
        $crate::ktest::expect_that!(
            left == right,
            "{}: found {left:x?}, expected {right:x?}", format_args!($($arg)+)
        );
    }};
}

pub(crate) use {expect_eq, expect_that};

/// Builds the failure of an expectation.
pub fn failed(file: &str, line: u32, message: core::fmt::Arguments<'_>) -> Failure {
    Failure::Failed(format!("{file}:{line}: {message}"))
}

/// Builds the outcome of a test that this machine cannot run.
pub fn skip(reason: &str) -> Outcome {
    Err(Failure::Skipped(reason.into()))
}

/// What tests run with.
pub struct TestCtx {
    /// The machine.
    pub machine: &'static Granule,
    /// Its memory manager.
    pub system: &'static Arc<System<Granule>>,
    /// Frames of the tests' own that are still free.
    frames: Cell<Range<u32>>,
    /// A block that a test may give to the heap.
    pub spare_block: Pfn,
}

impl TestCtx {
    /// Takes a frame, zeroed with its tags, until the test ends.
    pub fn frame(&self) -> Pfn {
        let mut frames = self.frames.take();
        let pfn = Pfn::new(frames.next().expect("a test takes at most 512 frames"));
        self.frames.set(frames);
        match self.machine.features.has_tags() {
            true => hal::TagMem::zero_frame_and_tags(self.machine, pfn),
            false => self.machine.zero_frame(pfn),
        }
        pfn
    }

    /// Returns a CPU other than the one that runs the tests.
    pub fn other_cpu(&self) -> Result<CpuId, Failure> {
        let own = self.machine.cpu();
        let other = cpus::online().find(|cpu| *cpu != own);
        other.ok_or_else(|| Failure::Skipped("needs two CPUs".into()))
    }
}

/// Idles until there is an interrupt, and takes it. WFI may end for no reason.
pub fn next_interrupt(machine: &Granule) -> Interrupt {
    loop {
        machine.wait_for_interrupt();
        if let Some(interrupt) = machine.take_interrupt() {
            return interrupt;
        }
    }
}

/// The two blocks that tests keep from the memory manager: frames, and one to give away.
#[derive(Clone, Copy)]
pub struct Reserved {
    frames: Pfn,
    spare: Pfn,
}

/// Takes two blocks out of what the memory manager will get, when this boot runs tests.
///
/// # Panics
///
/// When the machine has fewer.
pub fn reserve(machine: &mut Granule, command_line: &CommandLine<'_>) -> Option<Reserved> {
    command_line.value("ktest")?;
    let mut take = || {
        let run = machine.managed.iter_mut().rfind(|run| !run.is_empty()).expect("two free blocks");
        run.end = Pfn::new(run.end.get() - Order::BLOCK.nr_pages());
        run.end
    };
    Some(Reserved { frames: take(), spare: take() })
}

/// Runs the tests that boot option `ktest` names. Returns how many failed.
pub fn run(system: &'static Arc<System<Granule>>, reserved: Reserved, filter: &str) -> usize {
    let machine = system.machine();
    let tests = || TABLES.iter().copied().flatten().filter(|(name, _)| is_chosen(filter, name));
    if filter == "list" {
        tests().for_each(|(name, _)| println!("{name}"));
        return 0;
    }
    println!("KTAP version 1");
    println!("1..{}", tests().count());
    println!("# cpus: {}", cpus::online().count());
    let first = reserved.frames.get();
    let ctx = TestCtx { machine, system, frames: Cell::default(), spare_block: reserved.spare };
    let mut nr_failed = 0;
    for (number, (name, test)) in (1..).zip(tests()) {
        ctx.frames.set(first..first + Order::BLOCK.nr_pages());
        match test(&ctx) {
            Ok(()) => println!("ok {number} {name}"),
            Err(Failure::Skipped(reason)) => println!("ok {number} {name} # SKIP {reason}"),
            Err(Failure::Failed(message)) => {
                nr_failed += 1;
                println!("# {message}");
                println!("not ok {number} {name}");
            }
        }
    }
    nr_failed
}

fn is_chosen(filter: &str, name: &str) -> bool {
    matches!(filter, "all" | "list") || filter.split(',').any(|part| name.contains(part))
}
