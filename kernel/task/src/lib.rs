// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate is still empty.

#![no_std]
#![forbid(unsafe_code)]
