// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file loads and saves the FP/SIMD registers of user threads. The kernel itself computes with
//! general registers only; page copies put back the few vector registers they use (`page.rs`).

#![expect(unsafe_code, reason = "moves vector registers")]

use core::arch::asm;
use core::mem::offset_of;

use hal::FpState;

const _: () = assert!(offset_of!(FpState, v) == 0 && offset_of!(FpState, fpsr) == 512);
const _: () = assert!(offset_of!(FpState, fpcr) == 516);

/// Spells out one instruction for each pair of vector registers, at its offset in [`FpState`].
macro_rules! each_pair {
    ($operation:literal) => {
        each_pair!(@ $operation
            "q0, q1, [{at}]" "q2, q3, [{at}, #32]" "q4, q5, [{at}, #64]" "q6, q7, [{at}, #96]"
            "q8, q9, [{at}, #128]" "q10, q11, [{at}, #160]" "q12, q13, [{at}, #192]"
            "q14, q15, [{at}, #224]" "q16, q17, [{at}, #256]" "q18, q19, [{at}, #288]"
            "q20, q21, [{at}, #320]" "q22, q23, [{at}, #352]" "q24, q25, [{at}, #384]"
            "q26, q27, [{at}, #416]" "q28, q29, [{at}, #448]" "q30, q31, [{at}, #480]")
    };
    (@ $operation:literal $($operands:literal)*) => {
        concat!(".arch_extension fp\n.arch_extension simd\n",
            $($operation, " ", $operands, "\n"),*)
    };
}

/// Loads FP/SIMD registers.
pub fn load(fp: &FpState) {
    // SAFETY: reads the structure; compiled code uses no vector register on this target.
    unsafe {
        asm!(
            each_pair!("ldp"),
            "ldr {status:w}, [{at}, #512]",
            "ldr {control:w}, [{at}, #516]",
            "msr fpsr, {status}",
            "msr fpcr, {control}",
            at = in(reg) fp,
            status = out(reg) _,
            control = out(reg) _,
            options(nostack, readonly, preserves_flags)
        );
    }
}

/// Saves FP/SIMD registers.
pub fn save(fp: &mut FpState) {
    // SAFETY: writes the structure, whose layout is asserted above.
    unsafe {
        asm!(
            each_pair!("stp"),
            "mrs {status}, fpsr",
            "mrs {control}, fpcr",
            "str {status:w}, [{at}, #512]",
            "str {control:w}, [{at}, #516]",
            at = in(reg) fp,
            status = out(reg) _,
            control = out(reg) _,
            options(nostack, preserves_flags)
        );
    }
}
