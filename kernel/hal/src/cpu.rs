// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the port to the CPUs of the machine.

use base::percpu::CpuId;

/// The machine's CPUs.
pub trait Cpus {
    /// Returns the CPU that runs the caller. It stays the same until the caller sleeps.
    fn cpu(&self) -> CpuId;

    /// Returns how many CPUs the machine has, whether or not they are up yet.
    fn nr_cpus(&self) -> usize;
}
