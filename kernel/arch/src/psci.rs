// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file calls the firmware to start CPUs and to stop the machine (PSCI, Arm DEN 0022).

use smccc::{Hvc, Smc, psci};

use base::PhysAddr;

/// How firmware is called; the device tree says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// HVC: a hypervisor plays firmware, as QEMU does when it has no EL2.
    Hvc,
    /// SMC.
    Smc,
}

/// Why firmware did not start a CPU.
pub use smccc::psci::error::Error;

impl Conduit {
    /// Starts the CPU with the given affinity at physical `entry`, with `context` in x0.
    ///
    /// # Errors
    ///
    /// What firmware answers.
    pub fn start_cpu(self, affinity: u64, entry: PhysAddr, context: u64) -> Result<(), Error> {
        match self {
            Conduit::Hvc => psci::cpu_on::<Hvc>(affinity, entry.get(), context),
            Conduit::Smc => psci::cpu_on::<Smc>(affinity, entry.get(), context),
        }
    }

    /// Powers the machine off. Returns only when firmware refuses.
    pub fn power_off(self) {
        let _refused = match self {
            Conduit::Hvc => psci::system_off::<Hvc>(),
            Conduit::Smc => psci::system_off::<Smc>(),
        };
    }

    /// Starts the machine again. Returns only when firmware refuses.
    pub fn restart(self) {
        let _refused = match self {
            Conduit::Hvc => psci::system_reset::<Hvc>(),
            Conduit::Smc => psci::system_reset::<Smc>(),
        };
    }
}
