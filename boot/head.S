// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file holds the Image header and the way from the loader to Rust: drop to EL1, build the
// early map (early_map.S), MMU on, stack, bss. Everything in .head.text runs at physical addresses,
// is position independent and fits one page.
//
// boot/README.md tells the register and memory state at each hand-over.
//
// Registers that live through the primary path:
//   x19  secondary: virtual address of its boot record
//   x21  primary: physical address of the device tree
//   x22  primary: exception level at entry
//   x24  physical address of the image
//   x26  physical address of the empty user table
//   x27  virtual address at which to go on when the MMU is on

    .arch_extension pan

    .section .head.text, "ax"
    .globl  _start
_start:
    // Linux Documentation/arch/arm64/booting.rst, "decompressed kernel image".
    b       primary_entry               // code0
    .long   0                           // code1
    .quad   0                           // text_offset: load at a multiple of 2 MiB
    .quad   _image_size                 // image_size, bss and boot stack included
    .quad   0xa                         // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0                     // res2..res4
    .ascii  "ARM\x64"                   // magic
    .long   0                           // res5: no PE header

primary_entry:
    mov     x21, x0
    mrs     x22, CurrentEL
    lsr     x22, x22, #2
    msr     daifset, #0xf
    bl      drop_to_el1
    bl      build_early_map
    ldr     x27, =primary_high
    b       enable_mmu

// PSCI CPU_ON starts a CPU here with its boot record's virtual address in x0.
    .globl  secondary_entry
secondary_entry:
    mov     x19, x0
    msr     daifset, #0xf
    bl      drop_to_el1
    ldr     x27, =secondary_high
    b       enable_mmu

// Switches the MMU on with the early tables and goes on at x27.
enable_mmu:
    adrp    x24, _start
    adrp    x26, empty_user_table
    adrp    x0, idmap_l0
    adrp    x1, kernel_l0
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x1
    ldr     x0, ={MAIR}
    msr     mair_el1, x0
    ldr     x0, ={TCR}
    // TCR_EL1.IPS: what the CPU has, but no more than the 48 bits that 4 KiB entries without
    // FEAT_LPA2 can hold (Arm ARM D24.2.196).
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf
    mov     x2, #5
    cmp     x1, x2
    csel    x1, x1, x2, lo
    bfi     x0, x1, #32, #3
    msr     tcr_el1, x0
    // Nothing from before may be used: neither translations nor instructions. The DSB completes
    // both invalidations, the ISB makes the register writes above effective.
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, ={SCTLR}
    msr     sctlr_el1, x0
    isb                                 // the next fetch is translated
    br      x27

// Leaves EL2 for EL1; does nothing at EL1. Clobbers x0 and x1.
drop_to_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.lo    1f
    b.hi    park                        // EL3: firmware's place, no loader leaves us there
    // EL1 is AArch64; pointer authentication and allocation tags are not trapped
    // (HCR_EL2.RW, APK, API, ATA; Arm ARM D24.2.48).
    ldr     x0, ={HCR_EL2}
    msr     hcr_el2, x0
    isb
    // EL1 reads the physical counter and owns the physical timer; no offset on the virtual one.
    mov     x0, #3
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    // EL1 reads the real identity registers.
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    msr     vttbr_el2, xzr
    // No trap of FP/SIMD (CPTR_EL2: RES1 bits only) nor of AArch32 system registers.
    mov     x0, #0x33ff
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    // All performance counters belong to EL1 (MDCR_EL2.HPMN = PMCR_EL0.N); no debug traps.
    mrs     x0, id_aa64dfr0_el1
    ubfx    x0, x0, #8, #4              // PMUVer: 0 none, 15 not architected
    cbz     x0, 2f
    cmp     x0, #0xf
    csel    x0, xzr, x0, eq
    cbz     x0, 2f
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5
2:  msr     mdcr_el2, x0
    // GICv3 system registers at EL1 (ICC_SRE_EL2: Enable, DIB, DFB, SRE), no virtual interrupts.
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4
    cbz     x0, 3f
    mov     x0, #0xf
    msr     S3_4_C12_C9_5, x0           // ICC_SRE_EL2
    isb                                 // SRE before the next GIC register
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
3:  // FEAT_HCX and FEAT_FGT: none of their traps.
    mrs     x0, id_aa64mmfr1_el1
    ubfx    x0, x0, #40, #4
    cbz     x0, 4f
    // HCRX_EL2.MSCEn (bit 11) where there is FEAT_MOPS: without it the kernel's copies are undefined.
    mrs     x0, S3_0_C0_C6_2            // ID_AA64ISAR2_EL1
    tst     x0, #(0xf << 16)
    mov     x0, #(1 << 11)
    csel    x0, x0, xzr, ne
    msr     S3_4_C1_C2_2, x0            // HCRX_EL2
4:  mrs     x0, id_aa64mmfr0_el1
    ubfx    x0, x0, #56, #4
    cbz     x0, 5f
    msr     S3_4_C1_C1_4, xzr           // HFGRTR_EL2
    msr     S3_4_C1_C1_5, xzr           // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr           // HFGITR_EL2
    msr     S3_4_C3_C1_4, xzr           // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr           // HDFGWTR_EL2
5:  // SCTLR_EL1 is unknown here: the running value without MMU and caches.
    ldr     x0, ={SCTLR_MMU_OFF}
    msr     sctlr_el1, x0
    mov     x0, #0x3c5                  // SPSR: EL1h, DAIF masked
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret
1:  ret

park:
    wfe
    b       park

    .ltorg

// From here on virtual addresses.
    .section .text.boot, "ax"

// Replaces the identity map by an empty user half and lets FP/SIMD instructions through.
// Clobbers x0.
    .macro  leave_identity_map
    msr     ttbr0_el1, x26
    isb                                 // no new walk of the identity map
    tlbi    vmalle1
    dsb     nsh                         // and no translation cached from it
    isb
    mov     x0, #(3 << 20)              // CPACR_EL1.FPEN
    msr     cpacr_el1, x0
    isb
    .endm

primary_high:
    leave_identity_map
    ldr     x0, =_boot_stack_top
    mov     sp, x0
    msr     tpidr_el1, xzr              // CPU 0
    ldr     x0, =exception_vectors
    msr     vbar_el1, x0
    isb
    ldr     x0, =_bss_start
    ldr     x1, =_bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  mov     x29, xzr                    // the outermost frame record
    mov     x30, xzr
    mov     x0, x21
    mov     x1, x24
    mov     x2, x22
    // Rust is compiled for FEAT_LSE (ID_AA64ISAR0_EL1.Atomic >= 2). An Armv8.1 CPU, it also has PAN.
    mrs     x3, id_aa64isar0_el1
    ubfx    x3, x3, #20, #4
    cmp     x3, #2
    b.hs    3f
    b       refuse_cpu                  // a conditional branch reaches 1 MiB only
3:  msr     pan, #1
    b       kernel_main

secondary_high:
    leave_identity_map
    ldp     x0, x1, [x19]               // smp::BootRecord: stack_top, cpu
    mov     sp, x0
    msr     tpidr_el1, x1
    ldr     x0, =exception_vectors
    msr     vbar_el1, x0
    isb
    msr     pan, #1
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    b       secondary_main

    .ltorg
