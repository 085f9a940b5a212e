// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file is the code that in-guest tests run at EL0. It is copied to a user page, so it is
// position independent; ktest/space.rs says what each entry does.

    .arch_extension memtag
    .arch_extension fp
    .arch_extension simd

    .macro  entry name
    .balign 8
    .globl  \name
\name:
    .endm

    .section .rodata.ktest_user_code, "a"
    .balign 8
    .globl  ktest_user_code
ktest_user_code:

    entry   ku_svc
1:  svc     #0
    b       1b

    entry   ku_count_registers
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
    add     x\n, x\n, #(\n + 1)
    .endr
    add     sp, sp, #16
    cmn     xzr, xzr                    // NZCV = 0100
    svc     #0

    entry   ku_load
    ldr     x0, [x1]
    svc     #0

    entry   ku_store
    str     x0, [x1]
    svc     #0

    entry   ku_store_unchecked
    msr     tco, #1
    str     x0, [x1]
    svc     #0

    entry   ku_store_tag
    stg     x1, [x1]
    svc     #0

    entry   ku_load_tag
    mov     x0, x1
    ldg     x0, [x1]
    svc     #0

    entry   ku_random_tag
    irg     x0, x1
    svc     #0

    entry   ku_jump
    br      x1

    entry   ku_undefined
    udf     #0

    entry   ku_breakpoint
    brk     #0x123

    entry   ku_privileged
    msr     vbar_el1, x0

    entry   ku_misaligned_sp
    mov     x2, sp
    add     x2, x2, #8
    mov     sp, x2
    ldr     x0, [sp]
    svc     #0

    entry   ku_spin
    b       .

    entry   ku_read_registers
    mrs     x0, cntvct_el0
    mrs     x1, ctr_el0
    mrs     x2, dczid_el0
    mrs     x3, cntfrq_el0
    svc     #0

    entry   ku_add_to_tls
    mrs     x1, tpidr_el0
    add     x1, x1, x0
    msr     tpidr_el0, x1
    svc     #0

    entry   ku_maintain_cache
    dc      zva, x1
    dc      cvau, x1
    dsb     ish
    ic      ivau, x1
    dsb     ish
    isb
    svc     #0

    entry   ku_add_doubles
    fadd    v0.2d, v0.2d, v1.2d
    svc     #0

    .globl  ktest_user_code_end
ktest_user_code_end:
