// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes on top of the memory manager.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod exec;
