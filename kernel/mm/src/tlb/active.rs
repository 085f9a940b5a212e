// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps what each CPU translates user addresses with, for a rollover of ASIDs and for whoever
//! wants it to forget. Linux: `active_asids` in arch/arm64/mm/context.c.
//!
//! A CPU changes its own place without a lock:
//!
//! 1. it *announces* what it is about to use;
//! 2. after a full barrier it looks whether it may: the generation is the same, and nobody has made it
//!    forget the address space;
//! 3. it writes TTBR0, says that this is what it uses now, and takes the announcement back.
//!
//! Whoever takes something away (who holds the lock of the ASIDs) does so first, and after a full
//! barrier looks at all places. One of the two sees the other: either the CPU sees that it may not, and
//! goes the slow way, or it is counted among those that use it. From announcement to TTBR0 both the old
//! and the new ASID are found there. In Linux one word is exchanged before TTBR0 is written, and each CPU
//! flushes its TLB after a rollover for what it walked with in between.

use base::sync::atomic::{AtomicU64, Ordering, fence};

use super::asid::AsidContext;

/// What one CPU translates with. Written by that CPU.
pub(super) struct Active {
    using: AtomicU64,
    announced: AtomicU64,
}

impl Active {
    pub(super) fn new() -> Self {
        let none = || AtomicU64::new(AsidContext::NOBODY.raw());
        Self { using: none(), announced: none() }
    }

    /// Returns what the running CPU, whose place this is, translates with.
    #[inline(always)]
    pub(super) fn own(&self) -> AsidContext {
        AsidContext::from_raw(self.using.load(Ordering::Relaxed))
    }

    /// Announces what the running CPU is about to use. What permits it is read afterwards.
    #[inline(always)]
    pub(super) fn announce(&self, next: AsidContext) {
        self.announced.store(next.raw(), Ordering::Relaxed);
        // Before the reads of the caller: step 2 above.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    #[inline(always)]
    pub(super) fn withdraw(&self) {
        // Release: who does not find it any more finds what has come of it.
        self.announced.store(AsidContext::NOBODY.raw(), Ordering::Release);
    }

    /// Notes what the running CPU uses from here on; TTBR0 says so already.
    #[inline(always)]
    pub(super) fn set(&self, now: AsidContext) {
        self.using.store(now.raw(), Ordering::Release);
    }

    /// Returns what the CPU is about to use, and what it uses. The caller holds the lock of the ASIDs, and
    /// has had a full barrier since it took away what it looks for.
    pub(super) fn both(&self) -> [AsidContext; 2] {
        // In this order: what moves on from the first to the second meanwhile is found there.
        [&self.announced, &self.using]
            .map(|word| AsidContext::from_raw(word.load(Ordering::Acquire)))
    }
}
