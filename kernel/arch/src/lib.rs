// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate is the machine code of the kernel: everything that needs an arm64 instruction which
//! Rust has no word for.
//!
//! | file | what |
//! |---|---|
//! | `layout`, `descriptor`, `control` | the kernel's address space; entries; control registers, as values |
//! | `features`, `hwcaps` | what the CPU has, for the kernel and for user programs |
//! | `cpu`, `sysreg` | setting up a CPU; registers that `aarch64-cpu` lacks |
//! | `image`, `kernel_map`, `linear_map`, `kstack` | the kernel's mappings; who may touch which frame |
//! | `page`, `mte`, `cache` | frames: zero, copy, tags, instruction fetch |
//! | `tlbi`, `tlbi_range` | invalidation, address-space switch |
//! | `exception`, `syndrome`, `vectors.S` | exceptions and what they mean |
//! | `user_run`, `user_copy`, `fp` | running EL0, its memory, its vector registers |
//! | `context`, `backtrace` | kernel threads; who called |
//! | `pmu` | instructions counted, for user programs |
//! | `timer`, `psci`, `semihosting`, `entropy` | time, CPUs and power, exit status, random bytes |
//!
//! What is pure arithmetic compiles and is tested on the host; the rest exists on the machine only.

#![no_std]

#[cfg(test)]
extern crate std;

pub mod backtrace;
pub mod control;
pub mod descriptor;
pub mod entropy;
pub mod features;
pub mod hwcaps;
pub mod layout;
pub mod syndrome;
pub mod tlbi_range;

#[cfg(target_os = "none")]
pub mod cache;
#[cfg(target_os = "none")]
pub mod context;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod exception;
#[cfg(target_os = "none")]
pub mod fp;
#[cfg(target_os = "none")]
pub mod image;
#[cfg(target_os = "none")]
pub mod kernel_map;
#[cfg(target_os = "none")]
pub mod kstack;
#[cfg(target_os = "none")]
pub mod linear_map;
#[cfg(target_os = "none")]
pub mod mte;
#[cfg(target_os = "none")]
pub mod page;
#[cfg(target_os = "none")]
pub mod pmu;
#[cfg(target_os = "none")]
pub mod psci;
#[cfg(target_os = "none")]
pub mod semihosting;
#[cfg(target_os = "none")]
pub mod sysreg;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod tlbi;
#[cfg(target_os = "none")]
pub mod user_copy;
#[cfg(target_os = "none")]
pub mod user_run;
