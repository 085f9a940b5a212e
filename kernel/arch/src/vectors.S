// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file holds the exception vectors (Arm ARM D1.4.1.1) and the door to user code.
//
// User code is a subroutine: user_enter saves the kernel's callee-saved registers, loads the user's
// and leaves by ERET; the next exception from EL0 stores the user's registers and *returns* from
// user_enter. Nothing else ever runs on behalf of an exception from EL0.
//
// Exceptions from EL1 are faults of user copies, which have a fixup, and bugs. Interrupts are
// masked at EL1 and polled (docs/adr/0002-interrupts-off-in-the-kernel.md).
//
// The kernel runs on SP_EL1, so SP_EL0 is free at EL1: user_enter loads it, and a vector may keep
// a register in it.

// What user_enter leaves on the kernel stack: x19 to x30, then the address of the UserRegs.
    .equ    KERNEL_FRAME, 112
    .equ    FRAME_REGS, 96

// arch::exception::ExceptionFrame: x0 to x30, sp, pc, pstate, esr, far.
    .equ    EXCEPTION_FRAME, 288

// Stores x4 to x29 into registers laid out as in hal::UserRegs.
    .macro  store_x4_to_x29 base
    stp     x4, x5, [\base, #32]
    stp     x6, x7, [\base, #48]
    stp     x8, x9, [\base, #64]
    stp     x10, x11, [\base, #80]
    stp     x12, x13, [\base, #96]
    stp     x14, x15, [\base, #112]
    stp     x16, x17, [\base, #128]
    stp     x18, x19, [\base, #144]
    stp     x20, x21, [\base, #160]
    stp     x22, x23, [\base, #176]
    stp     x24, x25, [\base, #192]
    stp     x26, x27, [\base, #208]
    stp     x28, x29, [\base, #224]
    .endm

// An exception from EL0. x0 and x1 go below the kernel frame until there is room.
    .macro  from_user kind
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\kind
    b       user_leave
    .endm

// An exception from EL1 on the kernel stack. One bit of SP tells whether the frame still fits:
// stacks are the upper halves of their slots (arch::layout::STACK_BIT).
    .macro  from_kernel kind
    .balign 128
    msr     sp_el0, x0
    sub     sp, sp, #EXCEPTION_FRAME
    mov     x0, sp
    tbz     x0, #{STACK_BIT}, stack_overflow
    stp     x2, x3, [sp, #16]
    mov     x2, #\kind
    b       kernel_exception
    .endm

// Never taken: the kernel does not use SP_EL0, and nothing runs in AArch32 state.
    .macro  unused
    .balign 128
    b       .
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .globl  exception_vectors
exception_vectors:
    unused
    unused
    unused
    unused
    from_kernel 0
    from_kernel 1
    from_kernel 2
    from_kernel 3
    from_user 0
    from_user 1
    from_user 2
    from_user 3
    unused
    unused
    unused
    unused

// fn user_enter(regs: &mut UserRegs) -> RawTrap (kind in x0, ESR_EL1 in x1)
    .globl  user_enter
user_enter:
    stp     x29, x30, [sp, #-KERNEL_FRAME]!
    stp     x27, x28, [sp, #16]
    stp     x25, x26, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x21, x22, [sp, #64]
    stp     x19, x20, [sp, #80]
    str     x0, [sp, #FRAME_REGS]
    ldp     x30, x1, [x0, #240]
    ldp     x2, x3, [x0, #256]
    msr     sp_el0, x1
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldp     x0, x1, [x0]
    eret

// The other half of user_enter. x1: kind; the user's x0 and x1 are on the stack.
user_leave:
    ldr     x0, [sp, #(16 + FRAME_REGS)]
    stp     x2, x3, [x0, #16]
    store_x4_to_x29 x0
    mrs     x4, sp_el0
    stp     x30, x4, [x0, #240]
    mrs     x5, elr_el1
    mrs     x6, spsr_el1
    stp     x5, x6, [x0, #256]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mov     x0, x1
    mrs     x1, esr_el1
    msr     daifclr, #4                 // SErrors of the kernel are not the user's
    ldp     x27, x28, [sp, #16]
    ldp     x25, x26, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #64]
    ldp     x19, x20, [sp, #80]
    ldp     x29, x30, [sp], #KERNEL_FRAME
    ret

// x0 is in sp_el0, x2 and x3 are in the frame, x2 holds the kind.
kernel_exception:
    mrs     x0, sp_el0
    stp     x0, x1, [sp]
    store_x4_to_x29 sp
    add     x4, sp, #EXCEPTION_FRAME
    stp     x30, x4, [sp, #240]
    mrs     x5, elr_el1
    mrs     x6, spsr_el1
    stp     x5, x6, [sp, #256]
    mrs     x7, esr_el1
    mrs     x8, far_el1
    stp     x7, x8, [sp, #272]
    mov     x0, sp
    mov     x1, x2
    bl      {kernel_exception}
    // It returns only to go on after a user copy's fault; x30 and the callee-saved registers hold
    // what the copy left in them.
    ldp     x5, x6, [sp, #256]
    msr     elr_el1, x5
    msr     spsr_el1, x6
    ldr     x30, [sp, #240]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    ldr     x18, [sp, #144]
    add     sp, sp, #EXCEPTION_FRAME
    eret

// SP has left its stack. The frame goes to this CPU's emergency stack. x0 is in sp_el0.
stack_overflow:
    add     sp, sp, #EXCEPTION_FRAME    // what SP was
    mov     x0, sp
    msr     tpidrro_el0, x0             // free too: user code can never read it again
    mrs     x0, tpidr_el1
    add     x0, x0, #1
    lsl     x0, x0, #{EMERGENCY_SHIFT}
    mov     sp, x0
    adrp    x0, {emergency_stacks}
    add     sp, sp, x0
    mov     x0, #EXCEPTION_FRAME
    sub     sp, sp, x0
    mrs     x0, sp_el0
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    store_x4_to_x29 sp
    mrs     x4, tpidrro_el0
    stp     x30, x4, [sp, #240]
    mrs     x5, elr_el1
    mrs     x6, spsr_el1
    stp     x5, x6, [sp, #256]
    mrs     x7, esr_el1
    mrs     x8, far_el1
    stp     x7, x8, [sp, #272]
    mov     x0, sp
    bl      {kernel_stack_overflow}
    b       .
