// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file holds memcpy, memmove and memset, which the compiler calls to move values. The ones that
// come with Rust take four times the instructions. They use general registers only: the vector
// registers are the user's.
//
// All accesses may be misaligned (SCTLR_EL1.A is clear, the memory is Normal).

    .section .text.memory, "ax"

// void *memcpy(void *to, const void *from, size_t len)
    .globl  memcpy
memcpy:
    mov     x3, x0
    cmp     x2, #16
    b.lo    copy_small
    // 64 bytes, then 16 bytes at a time; then the last 16, which may overlap what was copied.
    add     x4, x1, x2
    add     x5, x0, x2
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x6, x7, [x1]
    ldp     x8, x9, [x1, #16]
    ldp     x10, x11, [x1, #32]
    ldp     x12, x13, [x1, #48]
    add     x1, x1, #64
    stp     x6, x7, [x3]
    stp     x8, x9, [x3, #16]
    stp     x10, x11, [x3, #32]
    stp     x12, x13, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  adds    x2, x2, #48                 // what is left, less 16
    b.mi    4f
3:  ldp     x6, x7, [x1], #16
    stp     x6, x7, [x3], #16
    subs    x2, x2, #16
    b.pl    3b
4:  cmn     x2, #16
    b.eq    5f
    ldp     x6, x7, [x4, #-16]
    stp     x6, x7, [x5, #-16]
5:  ret

// Less than 16 bytes, without overlap of loads and stores: each bit of the length is one move.
copy_small:
    tbz     x2, #3, 1f
    ldr     x6, [x1], #8
    str     x6, [x3], #8
1:  tbz     x2, #2, 2f
    ldr     w6, [x1], #4
    str     w6, [x3], #4
2:  tbz     x2, #1, 3f
    ldrh    w6, [x1], #2
    strh    w6, [x3], #2
3:  tbz     x2, #0, 4f
    ldrb    w6, [x1]
    strb    w6, [x3]
4:  ret

// void *memmove(void *to, const void *from, size_t len)
    .globl  memmove
memmove:
    sub     x3, x0, x1
    cmp     x3, x2
    b.lo    1f                          // the target starts inside the source
    sub     x3, x1, x0
    cmp     x3, x2
    b.hs    memcpy                      // they do not overlap at all
    // The source starts inside the target: upwards, each unit read before it is overwritten.
    mov     x3, x0
    b       3f
2:  ldp     x6, x7, [x1], #16
    stp     x6, x7, [x3], #16
    sub     x2, x2, #16
3:  cmp     x2, #16
    b.hs    2b
    b       copy_small
    // Downwards.
1:  add     x4, x1, x2
    add     x5, x0, x2
    b       5f
4:  ldp     x6, x7, [x4, #-16]!
    stp     x6, x7, [x5, #-16]!
    sub     x2, x2, #16
5:  cmp     x2, #16
    b.hs    4b
    tbz     x2, #3, 6f
    ldr     x6, [x4, #-8]!
    str     x6, [x5, #-8]!
6:  tbz     x2, #2, 7f
    ldr     w6, [x4, #-4]!
    str     w6, [x5, #-4]!
7:  tbz     x2, #1, 8f
    ldrh    w6, [x4, #-2]!
    strh    w6, [x5, #-2]!
8:  tbz     x2, #0, 9f
    ldrb    w6, [x4, #-1]
    strb    w6, [x5, #-1]
9:  ret

// void *memset(void *at, int byte, size_t len)
    .globl  memset
memset:
    and     x1, x1, #0xff
    orr     x1, x1, x1, lsl #8
    orr     x1, x1, x1, lsl #16
    orr     x1, x1, x1, lsl #32
    mov     x3, x0
    cmp     x2, #16
    b.lo    5f
    add     x5, x0, x2
    subs    x2, x2, #64
    b.lo    2f
1:  stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    stp     x1, x1, [x3, #32]
    stp     x1, x1, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  adds    x2, x2, #48                 // what is left, less 16
    b.mi    4f
3:  stp     x1, x1, [x3], #16
    subs    x2, x2, #16
    b.pl    3b
4:  stp     x1, x1, [x5, #-16]
    ret
5:  tbz     x2, #3, 6f
    str     x1, [x3], #8
6:  tbz     x2, #2, 7f
    str     w1, [x3], #4
7:  tbz     x2, #1, 8f
    strh    w1, [x3], #2
8:  tbz     x2, #0, 9f
    strb    w1, [x3]
9:  ret
