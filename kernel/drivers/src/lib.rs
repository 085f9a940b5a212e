// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate drives the devices of the machine. It knows no addresses: whoever maps a device's
//! registers says where they are.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod block_event;
pub mod pci;
pub mod pl011;
pub mod pl031;
pub mod virtio;

#[cfg(target_os = "none")]
pub mod gicv3;

pub use block_event::BlockEvent;
