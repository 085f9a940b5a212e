// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to time.

/// Time since the machine started.
pub trait Clock {
    /// Returns nanoseconds since an arbitrary point before the kernel started; never goes back.
    fn now_ns(&self) -> u64;
}
