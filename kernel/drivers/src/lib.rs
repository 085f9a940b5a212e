// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate drives the devices of the machine. It knows no addresses: whoever maps a device's
//! registers says where they are.

#![no_std]

pub mod pl011;
pub mod pl031;

#[cfg(target_os = "none")]
pub mod gicv3;
