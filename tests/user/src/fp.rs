// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file fills registers with a pattern, has something happen, and looks at them.

#![expect(unsafe_code, reason = "all registers at once")]

use core::arch::asm;
use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicU32, Ordering};

/// What happens between filling the registers and looking at them.
#[derive(Clone, Copy, Debug)]
pub enum Between {
    /// A system call.
    Call {
        /// Its number.
        number: c_long,
        /// Its first two arguments; the others are zero.
        arguments: [usize; 2],
    },
    /// A load, which may fault.
    Load(usize),
    /// Rounds of a loop.
    Spin(usize),
}

/// V0 to V31.
const NR_VECTORS: usize = 32;

/// X9 to X15 and X20 to X28: X16 to X19 and X29 are the compiler's or the platform's.
const NR_GENERAL: usize = 16;

impl Between {
    /// Makes a system call.
    pub fn call(number: c_long, arguments: [usize; 2]) -> Self {
        Self::Call { number, arguments }
    }

    /// Returns X0, X1 and X8 for the call, the address to load from, and the rounds; a call with
    /// number -1 does nothing.
    fn registers(self) -> ([usize; 2], c_long, usize, usize) {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let nowhere = WORD.as_ptr().expose_provenance();
        match self {
            Self::Call { number, arguments } => (arguments, number, nowhere, 1),
            Self::Load(address) => ([0, 0], -1, address, 1),
            Self::Spin(rounds) => ([0, 0], -1, nowhere, rounds),
        }
    }
}

fn pattern(seed: u64, index: usize) -> u64 {
    ((seed << 32) + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Fills V0 to V31, has `between` happen, and expects them as they were.
///
/// # Panics
///
/// When one is not.
#[inline(never)]
pub fn assert_kept(seed: u64, between: Between) {
    let mut vectors = [0u64; 2 * NR_VECTORS];
    for (index, word) in vectors.iter_mut().enumerate() {
        *word = pattern(seed, index);
    }
    let ([x0, x1], number, load, rounds) = between.registers();
    // SAFETY: `vectors` has room for all registers; all that change are named. The call is one
    // that leaves memory alone, or the test's business.
    unsafe {
        asm!(
            "ldp q0, q1, [x9]", "ldp q2, q3, [x9, #32]",
            "ldp q4, q5, [x9, #64]", "ldp q6, q7, [x9, #96]",
            "ldp q8, q9, [x9, #128]", "ldp q10, q11, [x9, #160]",
            "ldp q12, q13, [x9, #192]", "ldp q14, q15, [x9, #224]",
            "ldp q16, q17, [x9, #256]", "ldp q18, q19, [x9, #288]",
            "ldp q20, q21, [x9, #320]", "ldp q22, q23, [x9, #352]",
            "ldp q24, q25, [x9, #384]", "ldp q26, q27, [x9, #416]",
            "ldp q28, q29, [x9, #448]", "ldp q30, q31, [x9, #480]",
            "ldr w12, [x10]",
            "2:", "subs x11, x11, #1", "b.ne 2b",
            "cmn x8, #1", "b.eq 3f", "svc #0", "3:",
            "stp q0, q1, [x9]", "stp q2, q3, [x9, #32]",
            "stp q4, q5, [x9, #64]", "stp q6, q7, [x9, #96]",
            "stp q8, q9, [x9, #128]", "stp q10, q11, [x9, #160]",
            "stp q12, q13, [x9, #192]", "stp q14, q15, [x9, #224]",
            "stp q16, q17, [x9, #256]", "stp q18, q19, [x9, #288]",
            "stp q20, q21, [x9, #320]", "stp q22, q23, [x9, #352]",
            "stp q24, q25, [x9, #384]", "stp q26, q27, [x9, #416]",
            "stp q28, q29, [x9, #448]", "stp q30, q31, [x9, #480]",
            inout("x0") x0 => _, in("x1") x1, in("x2") 0, in("x3") 0, in("x4") 0, in("x5") 0,
            in("x8") number, in("x9") vectors.as_mut_ptr(), in("x10") load,
            inout("x11") rounds => _, out("x12") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _,
            out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _,
            out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
    for (index, word) in vectors.into_iter().enumerate() {
        assert_eq!(word, pattern(seed, index), "half {} of V{}", index % 2, index / 2);
    }
}

/// As [`assert_kept`], for general registers.
///
/// # Panics
///
/// When one is not as it was.
#[inline(never)]
pub fn assert_general_kept(seed: u64, between: Between) {
    let mut words: [u64; NR_GENERAL] = core::array::from_fn(|index| pattern(seed, index));
    let ([x0, x1], number, load, rounds) = between.registers();
    // SAFETY: as for `assert_kept`.
    unsafe {
        asm!(
            "ldp x9, x10, [x2]", "ldp x11, x12, [x2, #16]", "ldp x13, x14, [x2, #32]",
            "ldp x15, x20, [x2, #48]", "ldp x21, x22, [x2, #64]", "ldp x23, x24, [x2, #80]",
            "ldp x25, x26, [x2, #96]", "ldp x27, x28, [x2, #112]",
            "ldr w6, [x3]",
            "2:", "subs x4, x4, #1", "b.ne 2b",
            "cmn x8, #1", "b.eq 3f", "svc #0", "3:",
            "stp x9, x10, [x2]", "stp x11, x12, [x2, #16]", "stp x13, x14, [x2, #32]",
            "stp x15, x20, [x2, #48]", "stp x21, x22, [x2, #64]", "stp x23, x24, [x2, #80]",
            "stp x25, x26, [x2, #96]", "stp x27, x28, [x2, #112]",
            inout("x0") x0 => _, in("x1") x1, in("x2") words.as_mut_ptr(), in("x3") load,
            inout("x4") rounds => _, in("x5") 0, out("x6") _, in("x8") number,
            out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
            out("x15") _, out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
            out("x25") _, out("x26") _, out("x27") _, out("x28") _,
            options(nostack),
        );
    }
    for (index, word) in words.into_iter().enumerate() {
        assert_eq!(word, pattern(seed, index), "register {index} of X9 to X28");
    }
}

static NR_DESTROYED: AtomicU32 = AtomicU32::new(0);

/// Handles a signal by destroying all vector registers.
pub fn handle_by_destroying(signal: c_int) {
    extern "C" fn destroy(_: c_int) {
        assert_kept(0xdead, Between::Spin(1));
        NR_DESTROYED.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler uses registers and an atomic.
    unsafe { libc::signal(signal, destroy as extern "C" fn(c_int) as usize) };
}

/// Returns how often the handler ran.
pub fn nr_destroyed() -> u32 {
    NR_DESTROYED.load(Ordering::Relaxed)
}

/// Returns FPCR.
pub fn control() -> u64 {
    let control;
    // SAFETY: the register is one that EL0 may read.
    unsafe { asm!("mrs {control}, fpcr", control = lateout(reg) control, options(nostack)) };
    control
}

/// Sets FPCR.
pub fn set_control(control: u64) {
    // SAFETY: changes how the thread's floating-point operations round.
    unsafe { asm!("msr fpcr, {control}", control = in(reg) control, options(nostack)) };
}

/// Returns FPSR.
pub fn status() -> u64 {
    let status;
    // SAFETY: the register is one that EL0 may read.
    unsafe { asm!("mrs {status}, fpsr", status = lateout(reg) status, options(nostack)) };
    status
}

/// Sets FPSR.
pub fn set_status(status: u64) {
    // SAFETY: the register holds flags that nothing here uses.
    unsafe { asm!("msr fpsr, {status}", status = in(reg) status, options(nostack)) };
}
