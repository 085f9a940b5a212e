// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the answer of sysinfo (include/uapi/linux/sysinfo.h).

use crate::layout::layouts;

layouts! {
    /// `struct sysinfo`. Sizes are in units of `mem_unit` bytes.
    pub struct Sysinfo [112] {
        /// Seconds since boot.
        uptime: i64 = 0,
        /// Load averages of 1, 5 and 15 minutes, times 65536.
        loads: [u64; 3] = 8,
        /// Memory.
        totalram: u64 = 32,
        /// Free memory.
        freeram: u64 = 40,
        /// Memory of tmpfs and shared mappings.
        sharedram: u64 = 48,
        /// Memory of block buffers.
        bufferram: u64 = 56,
        /// Swap space.
        totalswap: u64 = 64,
        /// Free swap space.
        freeswap: u64 = 72,
        /// Threads.
        procs: u16 = 80,
        /// High memory.
        totalhigh: u64 = 88,
        /// Free high memory.
        freehigh: u64 = 96,
        /// Bytes of a unit.
        mem_unit: u32 = 104,
    }
}
