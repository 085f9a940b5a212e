// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file zeroes, copies and scans page frames.
//!
//! All of it is assembly: user programs and devices may write to a frame at the same time, which
//! no Rust access may meet. `memory.S`, included here, is for the kernel's own values.

#![expect(unsafe_code, reason = "assembly on page frames")]

use core::arch::{asm, global_asm};

use base::{PAGE_SIZE, PhysAddr};

use crate::linear_map::{Frame, FrameRun, LinearMap};
use crate::sysreg;

global_asm!(include_str!("memory.S"));

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
}

/// DCZID_EL0.DZP: DC ZVA is not permitted.
const ZVA_PROHIBITED: u64 = 1 << 4;

/// Returns how many bytes DC ZVA (and DC GZVA) zeroes, or `None` when it may not be used or eight
/// of them do not divide a page. (BS is log2 of the block in words, 2 KiB at most, Arm ARM
/// D24.2.34; known cores have 64 bytes, later versions of QEMU 512.)
pub(crate) fn zva_block() -> Option<usize> {
    let dczid = sysreg::dczid_el0();
    let block = 4 << (dczid & 0xf);
    (dczid & ZVA_PROHIBITED == 0 && block <= PAGE_SIZE / 8).then_some(block)
}

/// Fills frames with zero bytes. `has_mops`: the CPU has FEAT_MOPS, three instructions for it.
#[inline]
pub fn zero(frames: FrameRun<'_>, has_mops: bool) {
    let (start, len_bytes) = (frames.as_ptr(), frames.len_bytes());
    if has_mops {
        // SAFETY: the three together write exactly the frames' bytes (Arm ARM C6.2, SETP). They
        // run on one CPU: the kernel is not interrupted.
        unsafe {
            asm!(
                ".arch_extension mops",
                "setp [{at}]!, {left}!, xzr",
                "setm [{at}]!, {left}!, xzr",
                "sete [{at}]!, {left}!, xzr",
                at = inout(reg) start => _,
                left = inout(reg) len_bytes => _,
                options(nostack)
            );
        }
        return;
    }
    let end = start.wrapping_add(len_bytes);
    match zva_block() {
        // SAFETY: a block divides the page, so exactly the frames' bytes are written.
        Some(block) => unsafe {
            asm!(
                "2:",
                ".rept 8",
                "dc zva, {at}",
                "add {at}, {at}, {block}",
                ".endr",
                "cmp {at}, {end}",
                "b.ne 2b",
                at = inout(reg) start => _,
                end = in(reg) end,
                block = in(reg) block,
                options(nostack)
            );
        },
        // SAFETY: writes 16 bytes at a time from the frames' start to their end.
        None => unsafe {
            asm!(
                "2:",
                "stp xzr, xzr, [{at}], #16",
                "cmp {at}, {end}",
                "b.ne 2b",
                at = inout(reg) start => _,
                end = in(reg) end,
                options(nostack)
            );
        },
    }
}

/// Copies all bytes of frame `src` to frame `dst`, through eight vector registers: less than half
/// the instructions of general registers, and QEMU is as much faster.
///
/// The vector registers belong to the user thread that ran last, so they are put back. Nothing
/// else can use them meanwhile: the kernel is not interrupted.
///
/// `has_mops`: the CPU has FEAT_MOPS, which takes three instructions and no vector register.
pub fn copy(dst: Frame<'_>, src: Frame<'_>, has_mops: bool) {
    if has_mops {
        // SAFETY: the three together read and write exactly the two frames (Arm ARM C6.2,
        // CPYFP). They run on one CPU: the kernel is not interrupted.
        unsafe {
            asm!(
                ".arch_extension mops",
                "cpyfp [{dst}]!, [{src}]!, {left}!",
                "cpyfm [{dst}]!, [{src}]!, {left}!",
                "cpyfe [{dst}]!, [{src}]!, {left}!",
                src = inout(reg) src.as_ptr() => _,
                dst = inout(reg) dst.as_ptr() => _,
                left = inout(reg) PAGE_SIZE => _,
                options(nostack)
            );
        }
        return;
    }
    // SAFETY: reads and writes exactly the two frames, 128 bytes at a time, and its own 128 bytes
    // of stack, which it gives back. The compiler itself uses no vector register on this target.
    unsafe {
        asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "sub sp, sp, #128",
            "stp q0, q1, [sp]",
            "stp q2, q3, [sp, #32]",
            "stp q4, q5, [sp, #64]",
            "stp q6, q7, [sp, #96]",
            "2:",
            "ldp q0, q1, [{src}], #32",
            "ldp q2, q3, [{src}], #32",
            "ldp q4, q5, [{src}], #32",
            "ldp q6, q7, [{src}], #32",
            "stp q0, q1, [{dst}], #32",
            "stp q2, q3, [{dst}], #32",
            "stp q4, q5, [{dst}], #32",
            "stp q6, q7, [{dst}], #32",
            "cmp {src}, {end}",
            "b.ne 2b",
            "ldp q0, q1, [sp]",
            "ldp q2, q3, [sp, #32]",
            "ldp q4, q5, [sp, #64]",
            "ldp q6, q7, [sp, #96]",
            "add sp, sp, #128",
            src = inout(reg) src.as_ptr() => _,
            dst = inout(reg) dst.as_ptr() => _,
            end = in(reg) src.as_ptr().wrapping_add(PAGE_SIZE),
        );
    }
}

/// Tells whether every byte of a frame is zero. Looks at 64 bytes before it decides to go on.
pub fn is_zero(frame: Frame<'_>) -> bool {
    let found: u64;
    // SAFETY: reads the frame from its start to its end, 64 bytes at a time.
    unsafe {
        asm!(
            "2:",
            "ldp {found}, {a}, [{at}]",
            "ldp {b}, {c}, [{at}, #16]",
            "orr {found}, {found}, {a}",
            "orr {b}, {b}, {c}",
            "ldp {a}, {c}, [{at}, #32]",
            "orr {found}, {found}, {b}",
            "orr {a}, {a}, {c}",
            "ldp {b}, {c}, [{at}, #48]",
            "orr {found}, {found}, {a}",
            "orr {b}, {b}, {c}",
            "orr {found}, {found}, {b}",
            "cbnz {found}, 3f",
            "add {at}, {at}, #64",
            "cmp {at}, {end}",
            "b.ne 2b",
            "3:",
            at = inout(reg) frame.as_ptr() => _,
            end = in(reg) frame.as_ptr().wrapping_add(PAGE_SIZE),
            found = out(reg) found,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            options(nostack, readonly)
        );
    }
    found == 0
}

/// Copies bytes out of one frame.
///
/// # Panics
///
/// When the range leaves the frame, or the memory manager does not own it.
pub fn read_bytes(map: &LinearMap, from: PhysAddr, buf: &mut [u8]) {
    let from = map.bytes(from, buf.len());
    // SAFETY: (1) `from` is valid for the buffer's length: `bytes` checked it. (2) `buf` is a
    // mutable slice.
    unsafe { memcpy(buf.as_mut_ptr(), from, buf.len()) };
}

/// Copies bytes into one frame.
///
/// # Panics
///
/// When the range leaves the frame, or the memory manager does not own it.
pub fn write_bytes(map: &LinearMap, to: PhysAddr, buf: &[u8]) {
    let to = map.bytes(to, buf.len());
    // SAFETY: (1) `to` is valid for the buffer's length: `bytes` checked it. (2) `buf` is a slice.
    unsafe { memcpy(to, buf.as_ptr(), buf.len()) };
}
