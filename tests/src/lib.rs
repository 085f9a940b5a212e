// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate is the host's side of the tests that need QEMU.
//!
//! The harnesses stand on it, each a `cargo test` program with a trial for every guest test:
//! `kernel.rs` (tests inside the kernel), `el0.rs` (programs of `tests/user`), `machine.rs`
//! (scenarios that need a special machine), `verbs.rs` (verbs of xtask), `gdb.rs` (commands of gdb). The
//! first two boot once for all trials of a CPU count ([`suite`]), with just the tests that were asked for.

#![forbid(unsafe_code)]

pub mod debugger;
pub mod decoding;
pub mod harness;
pub mod ktap;
pub mod lab;
pub mod programs;
pub mod suite;
pub mod verb;
