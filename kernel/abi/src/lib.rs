// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate holds what user programs of Linux/arm64 see: numbers, structs, error values.
//!
//! Facts only, no behaviour. Each file names the header of Linux that it restates.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod auxv;
pub mod clone;
pub mod dirent;
pub mod elf;
pub mod errno;
pub mod futex;
pub mod hmm;
pub mod ioctl;
pub mod layout;
pub mod mman;
pub mod number;
pub mod open;
pub mod poll;
pub mod prctl;
pub mod reboot;
pub mod rlimit;
pub mod sched;
pub mod sigframe;
pub mod siginfo;
pub mod signal;
pub mod stat;
pub mod swap;
pub mod sysinfo;
pub mod time;
pub mod utsname;
pub mod wait;

pub use errno::Errno;
pub use layout::Layout;
pub use signal::{SigSet, Signal};
