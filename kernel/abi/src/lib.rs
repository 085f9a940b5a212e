// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate holds what user programs of Linux/arm64 see: numbers, structs, error values.
//!
//! Facts only, no behaviour. Each file names the header of Linux that it restates.

#![no_std]
#![forbid(unsafe_code)]

pub mod errno;

pub use errno::Errno;
