// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads, writes and clears the allocation tags of page frames (FEAT_MTE2, Arm ARM D10).
//!
//! Tags are moved in bulk: LDGM and STGM take a block of GMID_EL1.BS bytes an instruction, 256 on
//! QEMU and as many cores: sixteen 4-bit tags in one 64-bit register. A smaller block uses only
//! its own bits of that register, at the place that the address gives them (Arm ARM C6.2.140), so
//! the tags of 256 bytes always make the same word.
//!
//! Only called on a machine that has tags; elsewhere these instructions are undefined.

#![expect(unsafe_code, reason = "tag instructions")]

use core::arch::asm;
use core::sync::atomic::AtomicU8;

use base::PAGE_SIZE;
use base::addr::GRANULE_SIZE;
use hal::PageTags;

use crate::descriptor::{MemoryType, Protection};
use crate::image;
use crate::kernel_map::{self, Mapping};
use crate::layout::TAG_PROBE_BASE;
use crate::linear_map::{Frame, FrameRun};
use crate::page;
use crate::sysreg;

/// Bytes whose tags make one word of [`PageTags`].
const WORD_BYTES: usize = PAGE_SIZE / PageTags::WORDS;

/// Bytes whose tags one LDGM or STGM moves.
fn tag_block() -> usize {
    4 << (sysreg::gmid_el1() & 0xf)
}

/// Reads the tags of a frame.
pub fn read_tags(frame: Frame<'_>) -> PageTags {
    let block = tag_block();
    let mut tags = PageTags::ZERO;
    for (word, tags) in tags.0.iter_mut().enumerate() {
        let at = frame.as_ptr().wrapping_add(word * WORD_BYTES);
        // SAFETY: `at` is inside the frame: sixteen words of 256 bytes.
        *tags = unsafe { ldgm(at) };
        if block < WORD_BYTES {
            for part in (block..WORD_BYTES).step_by(block) {
                // SAFETY: `part` is below 256, so still inside the frame.
                *tags |= unsafe { ldgm(at.wrapping_add(part)) };
            }
        }
    }
    tags
}

/// Writes the tags of a frame and leaves its bytes alone.
pub fn write_tags(frame: Frame<'_>, tags: &PageTags) {
    let block = tag_block();
    for (word, tags) in tags.0.iter().enumerate() {
        let at = frame.as_ptr().wrapping_add(word * WORD_BYTES);
        // SAFETY: `at` is inside the frame: sixteen words of 256 bytes.
        unsafe { stgm(at, *tags) };
        if block < WORD_BYTES {
            for part in (block..WORD_BYTES).step_by(block) {
                // SAFETY: `part` is below 256, so still inside the frame.
                unsafe { stgm(at.wrapping_add(part), *tags) };
            }
        }
    }
}

/// Sets every tag of a frame to zero and leaves its bytes alone.
pub fn zero_tags(frame: Frame<'_>) {
    write_tags(frame, &PageTags::ZERO);
}

/// Fills frames with zero bytes and zero tags in one pass. `has_mops`: the CPU has FEAT_MOPS.
#[inline]
pub fn zero_frames_and_tags(frames: FrameRun<'_>, has_mops: bool) {
    // Tag-storing instructions take the tag from bits 59:56 of the address, which are ones in a
    // kernel address. TCR_EL1.TBI1 lets them be zeros as well.
    let start = frames.as_ptr().map_addr(|at| at & !(0xf << 56));
    let len_bytes = frames.len_bytes();
    if has_mops {
        // SAFETY: the three together write exactly the frames' bytes and tags (Arm ARM C6.2,
        // SETGP). They run on one CPU: the kernel is not interrupted.
        unsafe {
            asm!(
                ".arch_extension memtag",
                ".arch_extension mops",
                "setgp [{at}]!, {left}!, xzr",
                "setgm [{at}]!, {left}!, xzr",
                "setge [{at}]!, {left}!, xzr",
                at = inout(reg) start => _,
                left = inout(reg) len_bytes => _,
                options(nostack)
            );
        }
        return;
    }
    let end = start.wrapping_add(len_bytes);
    match page::zva_block() {
        // SAFETY: a block divides the page, so exactly the frames' bytes and tags are written.
        Some(block) => unsafe {
            asm!(
                ".arch_extension memtag",
                "2:",
                ".rept 8",
                "dc gzva, {at}",
                "add {at}, {at}, {block}",
                ".endr",
                "cmp {at}, {end}",
                "b.ne 2b",
                at = inout(reg) start => _,
                end = in(reg) end,
                block = in(reg) block,
                options(nostack)
            );
        },
        // SAFETY: writes two granules at a time from the frames' start to their end.
        None => unsafe {
            asm!(
                ".arch_extension memtag",
                "2:",
                "stz2g {at}, [{at}], #32",
                "cmp {at}, {end}",
                "b.ne 2b",
                at = inout(reg) start => _,
                end = in(reg) end,
                options(nostack)
            );
        },
    }
}

/// A page to try tags on.
#[repr(C, align(4096))]
struct ProbePage([AtomicU8; PAGE_SIZE]);

static PROBE_PAGE: ProbePage = ProbePage([const { AtomicU8::new(0) }; PAGE_SIZE]);

/// Tells whether each granule of a page has a tag of its own. Called once, at boot, with tag access
/// switched on.
///
/// QEMU 7.2 drops the offset in the page when it looks a tag up, so that all even granules of a page
/// share one tag and all odd ones another; version 10.0.2 is right. On such a machine no program
/// gets its tags back, with any kernel.
pub fn granules_have_their_own_tags() -> bool {
    let mapping = Mapping {
        at: TAG_PROBE_BASE,
        to: image::phys(core::ptr::from_ref(&PROBE_PAGE).addr()),
        len_bytes: PAGE_SIZE,
        protection: Protection::ReadWrite,
        memory_type: MemoryType::NormalTagged,
    };
    if kernel_map::map(&mapping).is_err() {
        return false;
    }
    let page: *mut u8 = core::ptr::with_exposed_provenance_mut(TAG_PROBE_BASE);
    let at = |word: usize| page.wrapping_add(word * WORD_BYTES);
    let marks = [0x0123_4567_89ab_cdef_u64, 0xfedc_ba98_7654_3210];
    for (word, mark) in marks.into_iter().enumerate() {
        // SAFETY: in the page just mapped, whose tags nobody uses.
        unsafe { stgm(at(word), mark) };
    }
    marks.into_iter().enumerate().all(|(word, mark)| {
        // SAFETY: as above.
        let found = unsafe { ldgm(at(word)) };
        // A block smaller than a word has its own bits only.
        let own = u64::MAX >> (64 - tag_block() / GRANULE_SIZE * 4);
        found & own == mark & own
    })
}

/// Loads the tags of the block at `at`.
///
/// # Safety
///
/// `at` is mapped, and the CPU has FEAT_MTE2.
#[inline(always)]
unsafe fn ldgm(at: *const u8) -> u64 {
    let tags;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".arch_extension memtag",
            "ldgm {tags}, [{at}]",
            tags = out(reg) tags,
            at = in(reg) at,
            options(nostack, readonly, preserves_flags)
        );
    }
    tags
}

/// Stores the tags of the block at `at`.
///
/// # Safety
///
/// `at` is in a page frame, and the CPU has FEAT_MTE2.
#[inline(always)]
unsafe fn stgm(at: *mut u8, tags: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".arch_extension memtag",
            "stgm {tags}, [{at}]",
            tags = in(reg) tags,
            at = in(reg) at,
            options(nostack, preserves_flags)
        );
    }
}
