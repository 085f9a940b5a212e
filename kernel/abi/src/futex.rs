// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds operations and words of futexes (include/uapi/linux/futex.h).

use crate::layout::layouts;

macro_rules! constants {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u32 = $number;)*
    };
}

constants! {
    FUTEX_WAIT = 0, "Sleep if the word has the value; the time is relative.";
    FUTEX_WAKE = 1, "Wake some.";
    FUTEX_FD = 2, "Gone.";
    FUTEX_REQUEUE = 3, "Wake some, move others to another word.";
    FUTEX_CMP_REQUEUE = 4, "The same if the word has the value.";
    FUTEX_WAKE_OP = 5, "Change another word, wake by what it was.";
    FUTEX_LOCK_PI = 6, "Lock with priority inheritance.";
    FUTEX_UNLOCK_PI = 7, "Unlock with priority inheritance.";
    FUTEX_TRYLOCK_PI = 8, "Try to lock with priority inheritance.";
    FUTEX_WAIT_BITSET = 9, "Sleep with a mask; the time is absolute.";
    FUTEX_WAKE_BITSET = 10, "Wake those whose mask fits.";
    FUTEX_WAIT_REQUEUE_PI = 11, "Sleep, to be moved to a lock with priority inheritance.";
    FUTEX_CMP_REQUEUE_PI = 12, "Move to a lock with priority inheritance.";
    FUTEX_LOCK_PI2 = 13, "FUTEX_LOCK_PI with a choice of clocks.";
    FUTEX_PRIVATE_FLAG = 128, "The word is not shared between processes.";
    FUTEX_CLOCK_REALTIME = 256, "The time is of CLOCK_REALTIME.";
    FUTEX_CMD_MASK = 0xffff_fe7f, "All but the two flags.";
    FUTEX_BITSET_MATCH_ANY = 0xffff_ffff, "Fits every mask.";
    FUTEX_WAITERS = 0x8000_0000, "Robust and PI words: somebody sleeps.";
    FUTEX_OWNER_DIED = 0x4000_0000, "Robust and PI words: the owner ended.";
    FUTEX_TID_MASK = 0x3fff_ffff, "Robust and PI words: the owner.";
    FUTEX_OP_SET = 0, "FUTEX_WAKE_OP: the argument.";
    FUTEX_OP_ADD = 1, "FUTEX_WAKE_OP: plus the argument.";
    FUTEX_OP_OR = 2, "FUTEX_WAKE_OP: or the argument.";
    FUTEX_OP_ANDN = 3, "FUTEX_WAKE_OP: and not the argument.";
    FUTEX_OP_XOR = 4, "FUTEX_WAKE_OP: exclusive or the argument.";
    FUTEX_OP_OPARG_SHIFT = 8, "FUTEX_WAKE_OP: 1 << argument is meant.";
    FUTEX_OP_CMP_EQ = 0, "FUTEX_WAKE_OP: it was equal.";
    FUTEX_OP_CMP_NE = 1, "FUTEX_WAKE_OP: it was not equal.";
    FUTEX_OP_CMP_LT = 2, "FUTEX_WAKE_OP: it was less.";
    FUTEX_OP_CMP_LE = 3, "FUTEX_WAKE_OP: it was not greater.";
    FUTEX_OP_CMP_GT = 4, "FUTEX_WAKE_OP: it was greater.";
    FUTEX_OP_CMP_GE = 5, "FUTEX_WAKE_OP: it was not less.";
}

/// Entries of a robust list that are looked at.
pub const ROBUST_LIST_LIMIT: usize = 2048;

layouts! {
    /// `struct robust_list_head`. Bit 0 of an entry's address says that it is a PI futex.
    pub struct RobustListHead [24] {
        /// First entry; the head itself when there is none.
        next: u64 = 0,
        /// From an entry to its futex word.
        futex_offset: i64 = 8,
        /// The entry that is being added or removed.
        pending: u64 = 16,
    }
}
