// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate holds what EL0 programs need: system calls, memory, tags, faults caught.
//!
//! A program ends with a kselftest exit code: 0 for pass, 4 for skip, anything else for failure.
//! An `assert!` that fails aborts, which `runner` reports as a failure too. The same programs run
//! on Linux, whose answer is the right one.
//!
//! Functions that touch memory by address are safe here. A test gives the kernel and the processor
//! addresses that are wrong on purpose; what it protects is its process, and a process that it
//! wrecks is a failed test.

pub mod boot_clock;
pub mod dice;
pub mod dmirror;
pub mod fault;
pub mod files;
pub mod folios;
pub mod fp;
pub mod meminfo;
pub mod memory;
pub mod pageout;
pub mod pmu;
pub mod process;
pub mod signal;
pub mod swap;
pub mod sys;
pub mod tags;
pub mod thp;
pub mod trial;
pub mod vmstat;

/// The kselftest exit code of a test that could not be made here (`KSFT_SKIP`).
pub const SKIP: u8 = 4;
