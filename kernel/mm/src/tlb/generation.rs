// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells whether an invalidation of an address space is issued but not complete.
//!
//! Linux keeps the same knowledge in `mm->tlb_flush_batched`, two 15-bit counters that need care
//! when they wrap; 64 bits do not.

use base::sync::atomic::{AtomicU64, Ordering};

/// Batches of one address space that have issued invalidations, and those that have completed them.
pub(crate) struct Tickets {
    opened: AtomicU64,
    closed: AtomicU64,
}

impl Tickets {
    pub(crate) const fn new() -> Self {
        Self { opened: AtomicU64::new(0), closed: AtomicU64::new(0) }
    }

    /// Announces a batch; the lock of the table whose entry it has just cleared is still held.
    pub(super) fn open(&self) {
        self.opened.fetch_add(1, Ordering::Release);
    }

    /// Ends a batch: its invalidations are complete.
    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Release);
    }

    /// Tells whether some batch is open. Asked with, or after, a table's lock held: every entry
    /// seen cleared under that lock belongs to a batch that had been announced before.
    ///
    /// `closed` is read first: with `opened` never below it, finding them equal means that nothing
    /// was open when `closed` was read.
    pub(super) fn is_open(&self) -> bool {
        let closed = self.closed.load(Ordering::Acquire);
        self.opened.load(Ordering::Acquire) != closed
    }
}
