// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file stops the machine.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

use arch::psci::Conduit;
use arch::{cpu, semihosting};
use hal::PowerAction;

use crate::command_line::CommandLine;
use crate::device_tree::Firmware;
use crate::println;

/// Boot option `exit=semihosting`: the emulator ends with the exit status.
static HAS_SEMIHOSTING: AtomicBool = AtomicBool::new(false);

/// How firmware is called: 0 not at all, 1 by HVC, 2 by SMC. A panic may ask before or while
/// anything else is set up.
static CONDUIT: AtomicU8 = AtomicU8::new(0);

/// Records how this machine is stopped.
pub fn init(command_line: &CommandLine<'_>, firmware: Option<Firmware>) {
    HAS_SEMIHOSTING.store(command_line.is("exit", "semihosting"), Relaxed);
    CONDUIT.store(firmware.map_or(0, |firmware| firmware as u8), Relaxed);
}

/// Returns how firmware is called.
pub fn conduit() -> Option<Conduit> {
    match CONDUIT.load(Relaxed) {
        0 => None,
        hvc if hvc == Firmware::Hvc as u8 => Some(Conduit::Hvc),
        _ => Some(Conduit::Smc),
    }
}

/// Stops the machine.
pub fn act(action: PowerAction) -> ! {
    match action {
        PowerAction::Off { status } => {
            println!("granule: power off, status {status}");
            exit(status)
        }
        PowerAction::Restart => {
            println!("granule: restart");
            if let Some(conduit) = conduit() {
                conduit.restart();
            }
            cpu::park()
        }
        PowerAction::Halt => {
            println!("granule: halt");
            cpu::park()
        }
    }
}

/// Leaves the emulator with `status` if boot options allow it, or powers off.
pub fn exit(status: u8) -> ! {
    if HAS_SEMIHOSTING.load(Relaxed) {
        // An emulator that does not offer it takes the call for an undefined instruction; the
        // panic that follows comes here again. Not a swap: boot::refuse_cpu has no atomics.
        HAS_SEMIHOSTING.store(false, Relaxed);
        semihosting::exit(status);
    }
    if let Some(conduit) = conduit() {
        conduit.power_off();
    }
    cpu::park()
}
