// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file walks frame records (AAPCS64 6.4.6): `[x29]` holds the caller's x29, `[x29 + 8]` the
//! return address.
//!
//! A walk is safe however broken the stack is: a record must lie inside the one stack it started
//! in, and each must lie above the last, so the walk ends.

use core::ops::Range;

/// Walks the records that start at `frame`, inside the stack `bounds`, and yields return addresses,
/// innermost first. `read` loads a word of the stack.
pub fn walk(
    frame: u64,
    bounds: Range<u64>,
    read: impl Fn(u64) -> u64,
) -> impl Iterator<Item = u64> {
    let mut frame = frame;
    let mut lowest = bounds.start;
    core::iter::from_fn(move || {
        let is_record = frame.is_multiple_of(16) && frame >= lowest;
        // `end - 16` cannot wrap: a stack is larger than a record.
        if !is_record || frame > bounds.end - 16 {
            return None;
        }
        let return_address = read(frame + 8);
        lowest = frame + 16;
        frame = read(frame);
        (return_address != 0).then_some(return_address)
    })
}

#[cfg(target_os = "none")]
pub use machine::{from_frame, from_here};

#[cfg(target_os = "none")]
mod machine {
    #![expect(unsafe_code, reason = "reads a stack through addresses found on it")]

    use crate::kstack;

    /// Walks the stack that holds the frame record at `frame`; yields nothing when no stack does.
    pub fn from_frame(frame: u64) -> impl Iterator<Item = u64> {
        let bounds = kstack::bounds_of(frame as usize).unwrap_or(16..16);
        super::walk(frame, bounds.start as u64..bounds.end as u64, |address| {
            // SAFETY: `walk` reads words inside `bounds` only, which `bounds_of` found to be a
            // mapped stack; they are 8-byte aligned because records are 16-byte aligned.
            unsafe { core::ptr::without_provenance::<u64>(address as usize).read_volatile() }
        })
    }

    /// Walks the running stack from the caller's frame.
    #[inline(always)]
    pub fn from_here() -> impl Iterator<Item = u64> {
        let frame: u64;
        // SAFETY: reads a general register.
        unsafe {
            core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
        }
        from_frame(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A stack of words that starts at address 0x1000.
    fn walk_words(words: &[u64], frame: u64) -> Vec<u64> {
        let end = 0x1000 + 8 * words.len() as u64;
        walk(frame, 0x1000..end, |at| words[(at as usize - 0x1000) / 8]).collect()
    }

    #[test]
    fn walk_follows_records_to_the_outermost() {
        let words = [0x1020, 0xa, 0, 0, 0x1030, 0xb, 0, 0xc];
        assert_eq!(walk_words(&words, 0x1000), [0xa, 0xb, 0xc]);
    }

    #[test]
    fn walk_ends_at_a_record_that_points_down_or_at_itself() {
        assert_eq!(walk_words(&[0x1000, 0xa, 0, 0], 0x1000), [0xa]);
        assert_eq!(walk_words(&[0x1020, 0xa, 0, 0, 0x1000, 0xb], 0x1000), [0xa, 0xb]);
    }

    #[test]
    fn walk_never_reads_outside_the_stack() {
        let words = [0x9000, 0xa, 0x1008, 0xb];
        assert_eq!(walk_words(&words, 0x1000), [0xa], "next record above the stack");
        assert_eq!(walk_words(&words, 0x1010), [0xb], "next record misaligned");
        assert_eq!(walk_words(&words, 0x0ff0), [], "below");
        assert_eq!(walk_words(&words, 0x1020), [], "a record would end past the top");
        assert_eq!(walk_words(&words, !0xf), []);
    }
}
