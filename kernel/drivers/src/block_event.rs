// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names every event that is counted about disks.

base::events! {
    /// Events of the disks. Linux has these numbers in /proc/diskstats, without names.
    pub enum BlockEvent {
        /// Read requests started.
        Read = "blk_reads",
        /// Write requests started.
        Write = "blk_writes",
        /// Flush requests started.
        Flush = "blk_flushes",
        /// Discard requests started.
        Discard = "blk_discards",
        /// Sectors of read requests.
        SectorsRead = "blk_sectors_read",
        /// Sectors of write requests.
        SectorsWritten = "blk_sectors_written",
        /// Requests that were waited for: the others started are in flight.
        Retired = "blk_retired",
        /// Requests that failed in the device.
        Failed = "blk_errors",
        /// Interrupts of disks.
        Interrupt = "blk_interrupts",
    }
}
