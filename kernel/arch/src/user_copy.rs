// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file copies between user memory and the kernel, and stops where user memory faults.
//!
//! The copies themselves are in `user_copy.S`. An access that faults raises an exception at EL1,
//! whose handler finds the instruction in the fixup table ([`fixup_for`]) and goes on at the place
//! named there; the copy then returns how far it came, and why it stopped.

#![expect(unsafe_code, reason = "calls user_copy.S")]

use base::addr::USER_TOP;
use base::{PhysAddr, VirtAddr};
use hal::{Access, FaultCause, MemFault, UserFault};

use crate::linear_map::LinearMap;
use crate::syndrome;

core::arch::global_asm!(include_str!("user_copy.S"));

/// Syndrome and address of the fault that stopped a copy. An ESR_EL1 of 0 stands for no fault: every
/// abort has a class.
#[derive(Default)]
#[repr(C)]
struct RawFault {
    esr: u64,
    far: u64,
}

/// An instruction that may fault on user memory, and where to go on then.
#[repr(C)]
struct Fixup {
    instruction: u64,
    resume: u64,
}

unsafe extern "C" {
    static user_access_fixups: Fixup;
    static user_access_fixups_end: Fixup;

    fn user_copy_in(to: *mut u8, from: u64, len: usize, fault: &mut RawFault) -> usize;
    fn user_copy_out(from: *const u8, to: u64, len: usize, fault: &mut RawFault) -> usize;
    fn user_fill_zero(unused: u64, at: u64, len: usize, fault: &mut RawFault) -> usize;
    fn user_load_u32(value: &mut u32, at: u64, unused: u64, fault: &mut RawFault) -> usize;
    fn user_compare_exchange_u32(value: &mut u32, at: u64, new: u32, fault: &mut RawFault)
    -> usize;
}

/// Returns where to go on after the instruction at `pc` faulted on user memory, if it may.
pub(crate) fn fixup_for(pc: u64) -> Option<u64> {
    let start = &raw const user_access_fixups;
    let len = (&raw const user_access_fixups_end).addr() - start.addr();
    // SAFETY: user_copy.S lays the table out between its two symbols; it is constant.
    let table = unsafe { core::slice::from_raw_parts(start, len / size_of::<Fixup>()) };
    table.iter().find(|fixup| fixup.instruction == pc).map(|fixup| fixup.resume)
}

/// Copies from user memory of the active address space.
///
/// # Errors
///
/// At the first byte that cannot be read.
pub fn read(has_tags: bool, from: VirtAddr, buf: &mut [u8]) -> Result<(), UserFault> {
    let to = buf.as_mut_ptr();
    bounded(has_tags, from, buf.len(), Access::Read, |len, fault| {
        // SAFETY: writes at most `len` bytes, which is at most the buffer's length.
        unsafe { user_copy_in(to, from.get(), len, fault) }
    })
}

/// Copies to user memory of the active address space.
///
/// # Errors
///
/// At the first byte that cannot be written.
pub fn write(has_tags: bool, to: VirtAddr, buf: &[u8]) -> Result<(), UserFault> {
    bounded(has_tags, to, buf.len(), Access::Write, |len, fault| {
        // SAFETY: reads at most `len` bytes, which is at most the slice's length. Stores reach
        // memory that EL0 may write, where no Rust object lives.
        unsafe { user_copy_out(buf.as_ptr(), to.get(), len, fault) }
    })
}

/// Copies from user memory to part of one frame.
///
/// # Errors
///
/// At the first byte that cannot be read.
///
/// # Panics
///
/// When the bytes leave the frame, or the memory manager does not own it.
pub fn read_to_frame(
    has_tags: bool,
    map: &LinearMap,
    from: VirtAddr,
    to: PhysAddr,
    len_bytes: usize,
) -> Result<(), UserFault> {
    let to = map.bytes(to, len_bytes);
    bounded(has_tags, from, len_bytes, Access::Read, |len, fault| {
        // SAFETY: writes at most `len_bytes` bytes at `to`, which `bytes` checked.
        unsafe { user_copy_in(to, from.get(), len, fault) }
    })
}

/// Copies part of one frame to user memory.
///
/// # Errors
///
/// At the first byte that cannot be written.
///
/// # Panics
///
/// When the bytes leave the frame, or the memory manager does not own it.
pub fn write_from_frame(
    has_tags: bool,
    map: &LinearMap,
    to: VirtAddr,
    from: PhysAddr,
    len_bytes: usize,
) -> Result<(), UserFault> {
    let from = map.bytes(from, len_bytes);
    bounded(has_tags, to, len_bytes, Access::Write, |len, fault| {
        // SAFETY: reads at most `len_bytes` bytes at `from`, which `bytes` checked.
        unsafe { user_copy_out(from, to.get(), len, fault) }
    })
}

/// Fills user memory with zero bytes.
///
/// # Errors
///
/// At the first byte that cannot be written.
pub fn zero(has_tags: bool, at: VirtAddr, len_bytes: usize) -> Result<(), UserFault> {
    bounded(has_tags, at, len_bytes, Access::Write, |len, fault| {
        // SAFETY: stores reach memory that EL0 may write only.
        unsafe { user_fill_zero(0, at.get(), len, fault) }
    })
}

/// Loads a 32-bit word in one atomic step.
///
/// # Errors
///
/// When it cannot be read; a misaligned address is [`FaultCause::Alignment`].
pub fn load_u32(has_tags: bool, at: VirtAddr) -> Result<u32, UserFault> {
    check_aligned(at, Access::Read)?;
    let mut value = 0;
    bounded(has_tags, at, 4, Access::Read, |_, fault| {
        // SAFETY: the word is aligned, so it is in the user half as a whole, as `bounded` found.
        unsafe { user_load_u32(&mut value, at.get(), 0, fault) }
    })?;
    Ok(value)
}

/// Replaces a 32-bit word if it is `current`, in one atomic step, and returns what it was.
///
/// # Errors
///
/// When it cannot be written; a misaligned address is [`FaultCause::Alignment`].
pub fn compare_exchange_u32(
    has_tags: bool,
    at: VirtAddr,
    current: u32,
    new: u32,
) -> Result<u32, UserFault> {
    check_aligned(at, Access::Write)?;
    let mut value = current;
    bounded(has_tags, at, 4, Access::Write, |_, fault| {
        // SAFETY: the word is aligned, so it is in the user half as a whole, as `bounded` found.
        unsafe { user_compare_exchange_u32(&mut value, at.get(), new, fault) }
    })?;
    Ok(value)
}

/// Runs `copy` on as much of a range as lies in the user half, and turns what it says into the
/// result of the whole range.
#[inline(always)]
fn bounded(
    has_tags: bool,
    at: VirtAddr,
    len_bytes: usize,
    access: Access,
    copy: impl FnOnce(usize, &mut RawFault) -> usize,
) -> Result<(), UserFault> {
    // An address above the user half leaves no room; the tag is no part of the address.
    let room = USER_TOP.get().saturating_sub(at.untagged().get()) as usize;
    let len = len_bytes.min(room);
    if has_tags {
        clear_tag_check_override();
    }
    let mut raw = RawFault::default();
    let done = if len == 0 { 0 } else { copy(len, &mut raw) };
    if done == len_bytes {
        return Ok(());
    }
    let fault = if done < len {
        // What the exchange reads first it also writes: one access, and it is a write.
        MemFault { access, ..syndrome::decode_fault(raw.esr, raw.far) }
    } else {
        beyond_user_half(at.wrapping_add(done as u64), access)
    };
    Err(UserFault { done, fault })
}

/// Lets the tags of user memory be checked as the thread has set it: taking an exception sets
/// PSTATE.TCO, which overrides all checks (Arm ARM D1.3.5). The kernel's own accesses stay
/// unchecked by SCTLR_EL1.TCF. Linux does the same on every kernel entry.
#[inline(always)]
fn clear_tag_check_override() {
    // SAFETY: permits checks that can only fault in the copies of this file, which have fixups.
    unsafe {
        core::arch::asm!(
            ".arch_extension memtag",
            "msr tco, #0",
            options(nostack, preserves_flags)
        );
    }
}

#[cold]
fn beyond_user_half(addr: VirtAddr, access: Access) -> MemFault {
    let write = if access == Access::Write { 1 << 6 } else { 0 };
    let esr = syndrome::class::DATA_ABORT_EL0 << 26 | 1 << 25 | write | 0x04;
    MemFault { addr, access, cause: FaultCause::Translation, esr }
}

fn check_aligned(at: VirtAddr, access: Access) -> Result<(), UserFault> {
    if at.get().is_multiple_of(4) {
        return Ok(());
    }
    let fault = MemFault { cause: FaultCause::Alignment, ..beyond_user_half(at, access) };
    Err(UserFault { done: 0, fault: MemFault { esr: fault.esr & !0x3f | 0x21, ..fault } })
}
