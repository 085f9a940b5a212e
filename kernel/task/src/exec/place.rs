// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file decides where image, heap, mappings and stack of a new program go (Linux: mm/util.c,
//! `mmap_base`; arch/arm64/include/asm/elf.h).
//!
//! ```text
//! 2^48  stack top, minus up to 1 GiB
//!       the stack, and room for it to grow
//!       mappings, downwards
//! 2/3   relocatable programs, upwards; behind them the heap
//!       fixed programs; behind them the heap
//! ```

use base::addr::USER_TOP;
use base::{PAGE_SHIFT, PAGE_SIZE, Vpn};

use super::elf::{Image, Kind};

/// Bits of randomness of mappings and relocatable programs, in pages (arm64's least).
const MMAP_BITS: u32 = 18;
/// Bits of randomness of the stack, in pages: 1 GiB.
const STACK_BITS: u32 = 18;
/// Bits of randomness of the heap, in pages: 1 GiB.
const HEAP_BITS: u32 = 18;
/// Where relocatable programs go.
const RELOCATABLE_BASE: u64 = USER_TOP.get() / 3 * 2;
/// The room kept for the stack is not less than this, nor more than 5/6 of everything.
const MIN_STACK_ROOM: u64 = 128 << 20;
const MAX_STACK_ROOM: u64 = USER_TOP.get() / 6 * 5;
/// Pages that are always free below the stack (`stack_guard_gap`).
const STACK_GUARD_PAGES: u64 = 256;

/// How far things are from their places, so that an attacker cannot know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offsets {
    stack_pages: u64,
    mmap_pages: u64,
    image_pages: u64,
    heap_pages: u64,
    sp_bytes: u64,
}

impl Offsets {
    /// Everything at its place: ADDR_NO_RANDOMIZE.
    pub const NONE: Self =
        Self { stack_pages: 0, mmap_pages: 0, image_pages: 0, heap_pages: 0, sp_bytes: 0 };

    /// Draws offsets; `random` fills a buffer.
    pub fn draw(random: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = [0; 40];
        random(&mut bytes);
        let words = <[u64; 5] as abi::Layout>::get(&bytes);
        let bits = |index: usize, nr_bits: u32| words[index] & ((1 << nr_bits) - 1);
        Self {
            stack_pages: bits(0, STACK_BITS),
            mmap_pages: bits(1, MMAP_BITS),
            image_pages: bits(2, MMAP_BITS),
            heap_pages: bits(3, HEAP_BITS),
            sp_bytes: bits(4, 13) & !15,
        }
    }

    /// Returns the end of the stack.
    pub fn stack_top(&self) -> Vpn {
        USER_TOP.page().sub(self.stack_pages)
    }

    /// Returns where mappings begin, downwards, with a stack that may have `stack_limit` bytes.
    pub fn mmap_top(&self, stack_limit: u64) -> Vpn {
        let slack = (STACK_GUARD_PAGES + (1 << STACK_BITS)) << PAGE_SHIFT;
        let room = stack_limit.saturating_add(slack).clamp(MIN_STACK_ROOM, MAX_STACK_ROOM);
        Vpn::new((USER_TOP.get() - room) >> PAGE_SHIFT).sub(self.mmap_pages)
    }

    /// Returns what is added to the addresses of a program, or `None` when it does not fit. Moving
    /// a program below its own addresses wraps around, which is meant.
    pub fn image_bias(&self, image: &Image) -> Option<u64> {
        if image.kind == Kind::Fixed {
            return Some(0);
        }
        let (low, high) = image.span();
        let wish = RELOCATABLE_BASE + (self.image_pages << PAGE_SHIFT);
        let start = wish & !(image.align - 1);
        let len = high - page_down(low);
        (start != 0 && len <= USER_TOP.get() - start).then(|| start.wrapping_sub(page_down(low)))
    }

    /// Returns where the heap begins behind a program that ends at `end`.
    pub fn heap_start(&self, end: u64) -> u64 {
        page_up(end) + (self.heap_pages << PAGE_SHIFT)
    }

    /// Returns the bytes kept free between the strings on the stack and what is below.
    pub fn sp_bytes(&self) -> u64 {
        self.sp_bytes
    }
}

/// Rounds down to the start of a page.
pub(super) fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE as u64 - 1)
}

/// Rounds up to the start of a page.
pub(super) fn page_up(addr: u64) -> u64 {
    page_down(addr + PAGE_SIZE as u64 - 1)
}
