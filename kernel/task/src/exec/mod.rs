// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder turns a file into a program that can start: `execve` without the process around it.
//!
//! | step | where |
//! |---|---|
//! | is it a script, and whose | `script.rs` |
//! | is it a program for this machine, and what does it consist of | `elf.rs` |
//! | where do image, heap, mappings and stack go | `place.rs` |
//! | map it | `load.rs` |
//! | arguments, environment, auxiliary vector | `start_stack.rs` |
//!
//! [`script::parse`], [`elf::Image::parse`] and [`start_stack::Strings`] come first and tell the
//! caller of `execve` what is wrong. After them the old program is given up, as on Linux: what
//! fails in [`load::load`] ends the process with SIGSEGV.

pub mod elf;
pub mod load;
pub mod place;
pub mod script;
pub mod start_stack;

#[cfg(test)]
mod tests;

/// Bytes at the start of a file that say what it is (Linux's BINPRM_BUF_SIZE).
pub const HEAD_SIZE: usize = 256;
