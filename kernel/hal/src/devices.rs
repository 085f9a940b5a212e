// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to the small devices: console, power, entropy.

/// How the machine stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerAction {
    /// Powers off; the emulator exits with this status where it can.
    Off {
        /// Exit status of the emulator.
        status: u8,
    },
    /// Starts again.
    Restart,
    /// Stops all CPUs for ever.
    Halt,
}

/// Console, power, entropy.
pub trait Devices {
    /// Writes bytes to the console, whole: lines of two CPUs do not mix within one call.
    fn console_write(&self, bytes: &[u8]);

    /// Takes bytes that arrived at the console; returns how many.
    fn console_read(&self, buf: &mut [u8]) -> usize;

    /// Stops the machine.
    fn power(&self, action: PowerAction) -> !;

    /// Fills `buf` with random bytes (RNDR where the CPU has it).
    fn entropy(&self, buf: &mut [u8]);

    /// Returns nanoseconds between the Unix epoch and the zero of
    /// [`Clock::now_ns`](crate::Clock::now_ns), 0 when the machine has no wall clock.
    fn epoch_offset_ns(&self) -> u64;
}
