// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file divides the kernel's half of the address space (TTBR1_EL1, 48 bits) into windows.
//!
//! | window | holds |
//! |---|---|
//! | [`LINEAR_BASE`] | all RAM, at its physical address plus a constant |
//! | [`IMAGE_BASE`] | the kernel image, wherever it was loaded |
//! | [`DEVICE_BASE`] | device registers, at their physical address plus a constant |
//! | [`STACK_BASE`] | kernel stacks, each in the upper half of a slot |
//! | [`DEVICE_TREE_BASE`] | the device tree, read-only |
//! | [`TAG_PROBE_BASE`] | one page, to try allocation tags on |

/// log2 of what the linear map and the device window can reach: 16 TiB, as far as a
/// [`base::Pfn`] does.
pub const PHYS_BITS: u32 = 44;

/// Start of the linear map.
pub const LINEAR_BASE: usize = 0xffff_0000_0000_0000;
/// Start of the kernel image, the address it is linked at.
pub const IMAGE_BASE: usize = 0xffff_8000_0000_0000;
/// Start of the device window.
pub const DEVICE_BASE: usize = 0xffff_9000_0000_0000;
/// Start of the stack window.
pub const STACK_BASE: usize = 0xffff_a000_0000_0000;
/// Start of the window for the device tree.
pub const DEVICE_TREE_BASE: usize = 0xffff_b000_0000_0000;

/// A page of the image once more, as tagged memory.
pub const TAG_PROBE_BASE: usize = 0xffff_b800_0000_0000;

/// Bytes of a kernel stack.
pub const STACK_SIZE: usize = 32 << 10;
/// Bytes of a stack's slot. Its lower half is never mapped, so that an overflow faults, and one
/// bit of SP tells whether SP is still inside a stack (vectors.S).
pub const STACK_SLOT_SIZE: usize = 2 * STACK_SIZE;
/// That bit's number.
pub const STACK_BIT: u32 = STACK_SIZE.trailing_zeros();

/// Bytes in one block of RAM that has one owner, and in one L2 block mapping.
pub const BLOCK_SIZE: usize = 2 << 20;

const _: () = assert!(STACK_SIZE.is_power_of_two());
const _: () = assert!(LINEAR_BASE + (1 << PHYS_BITS) <= IMAGE_BASE);
const _: () = assert!(DEVICE_BASE + (1 << PHYS_BITS) <= STACK_BASE);
