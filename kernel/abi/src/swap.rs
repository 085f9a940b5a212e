// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the flags of swapon (include/linux/swap.h).

/// The lowest 15 bits of the flags are a priority.
pub const SWAP_FLAG_PREFER: u64 = 0x8000;
/// Mask of the priority.
pub const SWAP_FLAG_PRIO_MASK: u64 = 0x7fff;
/// Free slots are discarded.
pub const SWAP_FLAG_DISCARD: u64 = 0x1_0000;
/// The whole area is discarded at swapon.
pub const SWAP_FLAG_DISCARD_ONCE: u64 = 0x2_0000;
/// Clusters are discarded as they become free.
pub const SWAP_FLAG_DISCARD_PAGES: u64 = 0x4_0000;
/// All flags that swapon takes.
pub const SWAP_FLAGS_VALID: u64 = SWAP_FLAG_PRIO_MASK
    | SWAP_FLAG_PREFER
    | SWAP_FLAG_DISCARD
    | SWAP_FLAG_DISCARD_ONCE
    | SWAP_FLAG_DISCARD_PAGES;
