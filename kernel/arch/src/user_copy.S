// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file copies between user memory and kernel memory.
//
// User memory is reached by LDTR and STTR only: they take the permissions and the tag checks of
// EL0. Each of these instructions is named in a table with the place to go on when it faults; the
// exception handler then leaves the syndrome in x16 and the address in x17 (arch::exception).
//
// The routines first align the user address, so that no access straddles a page or a granule, then
// move 64 and 8 bytes at a time. A fault inside one of these groups goes on byte by byte from the
// group's start: the byte that faults then is the first one that cannot be reached, and the count
// of bytes done is exact.
//
// Register use, on entry and throughout:
//   x0  kernel address, advancing       x4  first user address
//   x1  user address, advancing         x5  end of the user range
//   x2  length                          x3  arch::user_copy::RawFault to fill
// Each returns the bytes done in x0; RawFault::esr is written only on a fault.

    .arch_extension lse
    .arch_extension pan

    .pushsection .rodata.user_access_fixups, "a"
    .balign 8
user_access_fixups:
    .popsection

// The instruction that follows may fault on user memory and then goes on at \fixup.
    .macro  user_access fixup
    .pushsection .rodata.user_access_fixups, "a"
    .quad   8888f, \fixup
    .popsection
8888:
    .endm

// Moves bytes until the user address is a multiple of eight or the range ends, then groups, then
// words, then the rest. \byte, \word and \group move one unit and leave x0 and x1 advanced. Their
// faults go on at 8, or at 10 when it was a byte that faulted.
    .macro  user_copy_body byte, word, group
    mov     x4, x1
    add     x5, x1, x2
    b       2f
1:  \byte
2:  cmp     x1, x5
    b.hs    9f
    tst     x1, #7
    b.ne    1b
    sub     x2, x5, x1
    b       4f
3:  \group
    sub     x2, x2, #64
4:  cmp     x2, #64
    b.hs    3b
    b       6f
5:  \word
    sub     x2, x2, #8
6:  cmp     x2, #8
    b.hs    5b
    b       8f
7:  \byte
8:  cmp     x1, x5
    b.lo    7b
9:  sub     x0, x1, x4
    ret
10: stp     x16, x17, [x3]
    b       9b
    .endm

    .macro  read_byte
    user_access 10f
    ldtrb   w6, [x1]
    strb    w6, [x0], #1
    add     x1, x1, #1
    .endm

    .macro  read_word
    user_access 8f
    ldtr    x6, [x1]
    str     x6, [x0], #8
    add     x1, x1, #8
    .endm

    .macro  read_group
    user_access 8f
    ldtr    x6, [x1]
    user_access 8f
    ldtr    x7, [x1, #8]
    user_access 8f
    ldtr    x8, [x1, #16]
    user_access 8f
    ldtr    x9, [x1, #24]
    user_access 8f
    ldtr    x10, [x1, #32]
    user_access 8f
    ldtr    x11, [x1, #40]
    user_access 8f
    ldtr    x12, [x1, #48]
    user_access 8f
    ldtr    x13, [x1, #56]
    stp     x6, x7, [x0], #64
    stp     x8, x9, [x0, #-48]
    stp     x10, x11, [x0, #-32]
    stp     x12, x13, [x0, #-16]
    add     x1, x1, #64
    .endm

    .macro  write_byte
    ldrb    w6, [x0]
    user_access 10f
    sttrb   w6, [x1]
    add     x0, x0, #1
    add     x1, x1, #1
    .endm

    .macro  write_word
    ldr     x6, [x0]
    user_access 8f
    sttr    x6, [x1]
    add     x0, x0, #8
    add     x1, x1, #8
    .endm

    .macro  write_group
    ldp     x6, x7, [x0]
    ldp     x8, x9, [x0, #16]
    ldp     x10, x11, [x0, #32]
    ldp     x12, x13, [x0, #48]
    user_access 8f
    sttr    x6, [x1]
    user_access 8f
    sttr    x7, [x1, #8]
    user_access 8f
    sttr    x8, [x1, #16]
    user_access 8f
    sttr    x9, [x1, #24]
    user_access 8f
    sttr    x10, [x1, #32]
    user_access 8f
    sttr    x11, [x1, #40]
    user_access 8f
    sttr    x12, [x1, #48]
    user_access 8f
    sttr    x13, [x1, #56]
    add     x0, x0, #64
    add     x1, x1, #64
    .endm

    .macro  zero_byte
    user_access 10f
    sttrb   wzr, [x1]
    add     x1, x1, #1
    .endm

    .macro  zero_word
    user_access 8f
    sttr    xzr, [x1]
    add     x1, x1, #8
    .endm

    .macro  zero_group
    user_access 8f
    sttr    xzr, [x1]
    user_access 8f
    sttr    xzr, [x1, #8]
    user_access 8f
    sttr    xzr, [x1, #16]
    user_access 8f
    sttr    xzr, [x1, #24]
    user_access 8f
    sttr    xzr, [x1, #32]
    user_access 8f
    sttr    xzr, [x1, #40]
    user_access 8f
    sttr    xzr, [x1, #48]
    user_access 8f
    sttr    xzr, [x1, #56]
    add     x1, x1, #64
    .endm

    .section .text.user_copy, "ax"

    .globl  user_copy_in
user_copy_in:
    user_copy_body read_byte, read_word, read_group

    .globl  user_copy_out
user_copy_out:
    user_copy_body write_byte, write_word, write_group

    .globl  user_fill_zero
user_fill_zero:
    user_copy_body zero_byte, zero_word, zero_group

// Loads the aligned word at x1 into [x0]. Returns the bytes done, 4 or 0.
    .globl  user_load_u32
user_load_u32:
    user_access 1f
    ldtr    w6, [x1]
    str     w6, [x0]
    mov     x0, #4
    ret
1:  stp     x16, x17, [x3]
    mov     x0, #0
    ret

// Replaces the aligned word at x1 by w2 if it is [x0], in one atomic step; leaves what it was in
// [x0]. Returns the bytes done, 4 or 0.
//
// There is no unprivileged compare-and-swap before FEAT_LSUI, so this one runs with the
// permissions of EL1, as Linux's does (arch/arm64/include/asm/futex.h). They are those of EL0 on
// every page that EL0 may write, and a page that EL0 may not write faults: entries of the user
// half that EL0 cannot access at all are never valid. The load before it takes the tag check.
    .globl  user_compare_exchange_u32
user_compare_exchange_u32:
    user_access 1f
    ldtr    wzr, [x1]
    ldr     w6, [x0]
    msr     pan, #0
    user_access 2f
    casal   w6, w2, [x1]
    msr     pan, #1
    str     w6, [x0]
    mov     x0, #4
    ret
2:  msr     pan, #1
1:  stp     x16, x17, [x3]
    mov     x0, #0
    ret

    .pushsection .rodata.user_access_fixups, "a"
user_access_fixups_end:
    .popsection
