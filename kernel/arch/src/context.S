// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file switches between kernel stacks.

    .section .text.context, "ax"

// fn context_switch(from_sp: *mut usize, to_sp: usize, from_state: *const AtomicU32, saved: u32)
//
// Saves the callee-saved registers (AAPCS64 6.1.1) on the running stack and SP in *from_sp, goes on
// with the stack whose SP is to_sp, and only then stores `saved` to *from_state: from that store
// on, another CPU may run on the stack just left. It is a release, so that CPU sees all of it.
    .globl  context_switch
context_switch:
    stp     x29, x30, [sp, #-96]!
    stp     x27, x28, [sp, #16]
    stp     x25, x26, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x21, x22, [sp, #64]
    stp     x19, x20, [sp, #80]
    mov     x29, sp
    str     x29, [x0]
    mov     sp, x1
    stlr    w3, [x2]
    ldp     x27, x28, [sp, #16]
    ldp     x25, x26, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #64]
    ldp     x19, x20, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

// Where a new context starts: x19 holds its entry. The frame record says that nobody called.
    .globl  context_start
context_start:
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    bl      {start}
    b       .
