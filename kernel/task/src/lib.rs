// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate is Linux for user programs: processes, signals, files and system calls on top of `mm`.
//!
//! Generic over [`hal::Platform`], without unsafe code.
//!
//! | question | where |
//! |---|---|
//! | which thread runs, sleeping and waking | `sched/` |
//! | processes and threads: clone, exec, exit, wait | `process/` |
//! | the loop around user code | `process/run.rs` |
//! | what a trap from user code becomes | `process/trap.rs` |
//! | signals | `signal/` |
//! | system calls, by number | `syscall/` |
//! | copies from and to user memory | `user_copy.rs`, `user_io.rs` |
//! | the counters of all layers | `counters.rs` |
//! | magic keys | `sysrq.rs` |
//! | futexes | `futex/` |
//! | files | `fs/` |
//! | who dies when memory is used up | `process/oom.rs` |
//!
//! # Locks
//!
//! Spin locks of level `Task` are never nested: each guards one table for a few lines. Which table
//! holds what stands at its type.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

extern crate alloc;

mod counters;
pub mod exec;
pub mod fs;
mod futex;
mod kernel;
mod process;
mod sched;
mod signal;
mod syscall;
mod sysrq;
mod user_copy;
mod user_io;

pub use counters::CounterSource;
pub use kernel::Kernel;
pub use process::{Process, Thread};
pub use sched::{Scheduler, UserState, Woken};
