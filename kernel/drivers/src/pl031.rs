// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the PL031 real-time clock (Arm DDI 0224).

#![expect(unsafe_code, reason = "device registers")]

use core::ptr::NonNull;

use tock_registers::interfaces::Readable;
use tock_registers::register_structs;
use tock_registers::registers::ReadOnly;

register_structs! {
    /// Registers of a PL031.
    #[allow(non_snake_case, missing_docs)]
    pub Registers {
        (0x00 => DR: ReadOnly<u32>),
        (0x04 => @END),
    }
}

/// Returns seconds since the Unix epoch.
///
/// # Safety
///
/// `registers` is a mapping of a PL031, as device memory.
pub unsafe fn read_seconds(registers: NonNull<Registers>) -> u32 {
    // SAFETY: the caller's promise.
    let registers = unsafe { registers.as_ref() };
    registers.DR.get()
}
