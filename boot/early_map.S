// SPDX-License-Identifier: MIT OR Apache-2.0
//
// This file builds the kernel's translation tables for its image, and the identity map that lives
// while a CPU switches its MMU on.
//
// The image is mapped page by page with its final permissions: no page is ever both writable and
// executable. These tables stay; Rust adds the linear map, devices and stacks (arch::kernel_map).
//
// Runs with MMU and data cache off. Clobbers x0 to x6 and x28; x24 is set.

    .section .head.text, "ax"
build_early_map:
    mov     x28, x30
    adrp    x24, _start
    // A cache may hold lines of the tables from before; written back later, they would overwrite
    // what is stored here past the cache (Linux booting.rst promises a clean image, not clean bss).
    bl      discard_cached_tables
    adrp    x0, _boot_tables_start
    adrp    x1, _boot_tables_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // Identity map of this one page: L0 -> L1 -> L2 -> L3, read-only and executable.
    adrp    x0, idmap_l0
    adrp    x1, idmap_l1
    ubfx    x2, x24, #39, #9
    bl      link_table
    adrp    x0, idmap_l1
    adrp    x1, idmap_l2
    ubfx    x2, x24, #30, #9
    bl      link_table
    adrp    x0, idmap_l2
    adrp    x1, idmap_l3
    ubfx    x2, x24, #21, #9
    bl      link_table
    adrp    x0, idmap_l3
    ubfx    x2, x24, #12, #9
    ldr     x3, ={TEXT_PAGE}
    orr     x3, x3, x24
    str     x3, [x0, x2, lsl #3]

    // The image window: one L1, one L2, four L3 tables side by side.
    ldr     x4, =_image_start
    adrp    x0, kernel_l0
    adrp    x1, image_l1
    ubfx    x2, x4, #39, #9
    bl      link_table
    adrp    x0, image_l1
    adrp    x1, image_l2
    ubfx    x2, x4, #30, #9
    bl      link_table
    adrp    x0, image_l2
    ubfx    x2, x4, #21, #9
    adrp    x1, image_l3
    adrp    x5, image_l3_end
2:  bl      link_table
    add     x1, x1, #4096
    add     x2, x2, #1
    cmp     x1, x5
    b.lo    2b

    adrp    x5, image_l3
    adrp    x0, _start
    adrp    x1, _text_end
    ldr     x2, ={TEXT_PAGE}
    bl      map_pages
    adrp    x0, _text_end
    adrp    x1, _rodata_end
    ldr     x2, ={RODATA_PAGE}
    bl      map_pages
    adrp    x0, _rodata_end
    adrp    x1, _boot_stack_guard
    ldr     x2, ={DATA_PAGE}
    bl      map_pages
    adrp    x0, _boot_stack_bottom
    adrp    x1, _image_end
    ldr     x2, ={DATA_PAGE}
    bl      map_pages

    // Lines fetched meanwhile, by speculation, hold what was there before the stores.
    bl      discard_cached_tables
    ret     x28

// Stores a table descriptor for the table at x1 in entry x2 of the table at x0. Clobbers x3.
link_table:
    orr     x3, x1, #3                  // bits 1:0 = 0b11, table (Arm ARM D8.3.1)
    str     x3, [x0, x2, lsl #3]
    ret

// Maps the pages from physical x0 up to x1 with descriptor bits x2, in the L3 tables at x5.
// Clobbers x0, x3, x6.
map_pages:
    cmp     x0, x1
    b.hs    1f
    sub     x3, x0, x24                 // offset in the image; eight bytes of table a page
    orr     x6, x0, x2
    lsr     x3, x3, #9
    str     x6, [x5, x3]
    add     x0, x0, #4096
    b       map_pages
1:  ret

// Invalidates the tables' cache lines to the point of coherency. Clobbers x0 to x3.
discard_cached_tables:
    dmb     sy                          // stores made past the cache come first
    adrp    x0, _boot_tables_start
    adrp    x1, _boot_tables_end
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4             // DminLine: log2 of words in the smallest line
    mov     x3, #4
    lsl     x3, x3, x2
1:  dc      ivac, x0
    add     x0, x0, x3
    cmp     x0, x1
    b.lo    1b
    dsb     sy                          // complete before the walker or a later store looks
    ret

    .section .boot_tables, "aw", %nobits
    .balign 4096
idmap_l0:       .skip 4096
idmap_l1:       .skip 4096
idmap_l2:       .skip 4096
idmap_l3:       .skip 4096
image_l1:       .skip 4096
image_l2:       .skip 4096
image_l3:       .skip 4 * 4096
image_l3_end:
    .globl  kernel_l0
kernel_l0:      .skip 4096
// What TTBR0_EL1 points to while no address space is active.
    .globl  empty_user_table
empty_user_table: .skip 4096
