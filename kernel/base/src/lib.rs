// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate holds the words every other crate is written in: addresses, orders, locks, counters.
//!
//! It knows no policy and no machine. The two places where a machine shows through are the relax
//! step of [`sync`] and the CPU number that the lock-order check of [`lock_level`] files its
//! bookkeeping under; both go through safe functions of `aarch64-cpu`.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, not(target_os = "none")))]
extern crate std;

extern crate alloc;

pub mod addr;
pub mod counter;
pub mod lock_level;
pub mod order;
pub mod percpu;
pub mod sync;

pub use addr::{PAGE_SHIFT, PAGE_SIZE, PageRange, Pfn, PhysAddr, VirtAddr, Vpn};
pub use order::Order;
