// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file leaves the emulator with an exit status (Arm semihosting 2.0, IHI 0100).

#![expect(unsafe_code, reason = "HLT #0xf000")]

/// Operation SYS_EXIT_EXTENDED.
const SYS_EXIT_EXTENDED: usize = 0x20;
/// Reason ADP_Stopped_ApplicationExit.
const APPLICATION_EXIT: usize = 0x2_0026;

/// Ends the emulator with `status`. Only under an emulator that was told to offer semihosting:
/// elsewhere the instruction is undefined.
pub fn exit(status: u8) -> ! {
    let block = [APPLICATION_EXIT, status as usize];
    // SAFETY: the emulator reads the two words and does not return.
    unsafe {
        core::arch::asm!(
            "hlt #0xf000",
            in("x0") SYS_EXIT_EXTENDED,
            in("x1") &raw const block,
            options(nostack)
        );
    }
    crate::cpu::park()
}
