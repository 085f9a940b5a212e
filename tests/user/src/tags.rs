// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sets and reads allocation tags, and says how they are checked.

#![expect(unsafe_code, reason = "the instructions of FEAT_MTE2")]

use core::arch::asm;

use crate::meminfo;
use crate::memory::{Mapping, PAGE};
use crate::sys::{self, Errno};
use crate::trial::Skip;

/// Bytes that share a tag.
pub const GRANULE: usize = 16;

/// Granules of a page.
pub const GRANULES_PER_PAGE: usize = PAGE / GRANULE;

/// `HWCAP2_MTE` (asm/hwcap.h).
const HWCAP2_MTE: u64 = 1 << 18;

/// `HWCAP2_MTE3` (asm/hwcap.h): asymmetric checking.
const HWCAP2_MTE3: u64 = 1 << 22;

/// Where the tag is in a pointer.
const TAG_SHIFT: u32 = 56;

/// `PR_SET_TAGGED_ADDR_CTRL` (linux/prctl.h).
pub const PR_SET_TAGGED_ADDR_CTRL: usize = 55;

/// `PR_GET_TAGGED_ADDR_CTRL` (linux/prctl.h).
pub const PR_GET_TAGGED_ADDR_CTRL: usize = 56;

/// `PR_TAGGED_ADDR_ENABLE` (linux/prctl.h).
pub const TAGGED_ADDR_ENABLE: usize = 1;

/// `PR_MTE_TCF_SYNC`: a wrong tag faults at once.
pub const TCF_SYNC: usize = 1 << 1;

/// `PR_MTE_TCF_ASYNC`: a wrong tag is reported at the next kernel entry.
pub const TCF_ASYNC: usize = 1 << 2;

/// The shift of the tags that IRG may choose (`PR_MTE_TAG_SHIFT`).
pub const INCLUDE_SHIFT: u32 = 3;

/// All tags but 0, for IRG.
pub const ALL_BUT_ZERO: usize = 0xfffe << INCLUDE_SHIFT;

/// Returns whether this machine has memory with tags.
pub fn has_mte() -> bool {
    hwcap2() & HWCAP2_MTE != 0
}

/// Goes on only where there is memory with tags.
///
/// # Errors
///
/// Elsewhere.
pub fn needed() -> Result<(), Skip> {
    if has_mte() { Ok(()) } else { Err(Skip("no MTE (HWCAP2_MTE)")) }
}

/// Returns whether this machine can check loads at once and stores later.
pub fn has_asymmetric_checks() -> bool {
    hwcap2() & HWCAP2_MTE3 != 0
}

fn hwcap2() -> u64 {
    // SAFETY: the call reads the auxiliary vector, which the C library checked at start.
    unsafe { libc::getauxval(libc::AT_HWCAP2) }
}

/// Sets how this thread's tags are checked (`PR_SET_TAGGED_ADDR_CTRL`).
///
/// # Errors
///
/// The call's.
pub fn set_control(control: usize) -> Result<(), Errno> {
    sys::call(libc::SYS_prctl, [PR_SET_TAGGED_ADDR_CTRL, control]).map(drop)
}

/// Returns how this thread's tags are checked (`PR_GET_TAGGED_ADDR_CTRL`).
///
/// # Errors
///
/// The call's.
pub fn control() -> Result<usize, Errno> {
    sys::call(libc::SYS_prctl, [PR_GET_TAGGED_ADDR_CTRL])
}

/// Has wrong tags fault at once, in this thread.
///
/// # Panics
///
/// When the machine has no tags.
pub fn check_at_once() {
    set_control(TAGGED_ADDR_ENABLE | TCF_SYNC | ALL_BUT_ZERO).expect("PR_SET_TAGGED_ADDR_CTRL");
}

/// Returns `address` with `tag` in place of its own.
#[inline]
pub fn with_tag(address: usize, tag: u8) -> usize {
    address & !(0xf << TAG_SHIFT) | usize::from(tag & 0xf) << TAG_SHIFT
}

/// Returns the tag of a pointer.
#[inline]
pub fn of_pointer(address: usize) -> u8 {
    (address >> TAG_SHIFT) as u8 & 0xf
}

/// Gives the granule at `address` the tag of the pointer (STG).
#[inline]
pub fn store(address: usize) {
    // SAFETY: no byte changes; the granule is in a mapping that the test made for this.
    unsafe {
        asm!(".arch_extension memtag", "stg {address}, [{address}]", address = in(reg) address,
            options(nostack));
    }
}

/// Returns the tag of the granule at `address` (LDG); 0 where memory has none.
#[inline]
pub fn load(address: usize) -> u8 {
    let pointer: usize;
    // SAFETY: a load of a tag changes nothing.
    unsafe {
        asm!(".arch_extension memtag", "ldg {pointer}, [{address}]", address = in(reg) address,
            pointer = inlateout(reg) 0usize => pointer, options(nostack, readonly));
    }
    of_pointer(pointer)
}

/// Returns `address` with a tag that the processor chose (IRG).
pub fn insert_random(address: usize) -> usize {
    let tagged;
    // SAFETY: IRG computes.
    unsafe {
        asm!(".arch_extension memtag", "irg {tagged}, {address}", address = in(reg) address,
            tagged = lateout(reg) tagged, options(nomem, nostack));
    }
    tagged
}

/// Gives all granules of the page at `address` tags made from `seed`.
pub fn fill_page(address: usize, seed: u64) {
    for granule in 0..GRANULES_PER_PAGE {
        store(with_tag(address + granule * GRANULE, pseudo_random(seed, granule)));
    }
}

/// Returns the first granule of the page at `address` whose tag is not what [`fill_page`] gave it.
pub fn first_difference(address: usize, seed: u64) -> Option<usize> {
    (0..GRANULES_PER_PAGE)
        .find(|granule| load(address + granule * GRANULE) != pseudo_random(seed, *granule))
}

/// Returns whether all granules of the page at `address` have `tag`.
pub fn page_is(address: usize, tag: u8) -> bool {
    (0..GRANULES_PER_PAGE).all(|granule| load(address + granule * GRANULE) == tag)
}

/// Returns the tag that belongs to a granule in a pattern.
#[inline]
pub fn pseudo_random(seed: u64, granule: usize) -> u8 {
    let mixed = (granule as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29) >> 60) as u8
}

/// Returns whether each granule has a tag of its own. QEMU 7.2 keeps two for a page, one for its
/// even granules and one for its odd ones.
pub fn are_per_granule() -> bool {
    let page = Mapping::tagged(PAGE);
    fill_page(page.start(), 0);
    first_difference(page.start(), 0).is_none()
}

/// Returns how many bytes are used for swapped pages: slots and tags, if this kernel says so.
pub fn stored_bytes() -> Option<u64> {
    meminfo::read("SwapMetadata")
}

/// Goes on only where each granule has a tag of its own.
///
/// # Errors
///
/// Elsewhere.
pub fn needed_per_granule() -> Result<(), Skip> {
    needed()?;
    if are_per_granule() { Ok(()) } else { Err(Skip("granules share tags on this emulator")) }
}
