// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file packs a folio's flags, order and LRU shard into one atomic word.

use bitflags::bitflags;

use base::Order;
use base::percpu::CpuId;
use base::sync::atomic::Ordering;

use super::Folio;

bitflags! {
    /// State of a folio. Who may change a flag is said at each.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct FolioFlags: u32 {
        /// The folio lock is held. Changed by `lock.rs` only.
        const LOCKED = 1 << 0;
        /// Somebody sleeps for the folio lock, or for write-back to end.
        const WAITERS = 1 << 1;
        /// The reverse map is being read or changed: a spin bit. Changed by `rmap/` only.
        const RMAP_LOCKED = 1 << 2;
        /// The content is newer than its copy on disk, or has none. Any time.
        const DIRTY = 1 << 3;
        /// The frames hold the content; clear while a read is under way or after it failed. Set
        /// under the folio lock.
        const UPTODATE = 1 << 4;
        /// A write of the content is in flight. Changed under the folio lock, cleared at its end.
        const WRITEBACK = 1 << 5;
        /// On an LRU list. Changed under the shard's lock.
        const LRU = 1 << 6;
        /// On the active list, or bound for it. Changed under the shard's lock.
        const ACTIVE = 1 << 7;
        /// Seen accessed once on the inactive list. Any time.
        const REFERENCED = 1 << 8;
        /// Belongs to a shared-memory object, also while it is in the swap cache. Set before visible.
        const SHMEM = 1 << 9;
        /// MADV_FREE: the content may be dropped unless it was written since. Any time.
        const LAZYFREE = 1 << 10;
        /// Its swap slots cannot be written: they are retired when the folio leaves them. Under the
        /// folio lock.
        const BAD_SLOT = 1 << 11;
        /// Read back after it had been evicted: goes to the active list first. Set before visible.
        const WORKINGSET = 1 << 12;
        /// Instruction fetch sees the content on every CPU. Cleared by whoever has the kernel write
        /// to the frames; user code that writes instructions sees to that itself.
        const CODE_SYNCED = 1 << 13;
        /// On the queue of folios that are to be split. Changed under the queue's lock.
        const SPLIT_QUEUED = 1 << 14;
        /// Being split: `frozen_in` names the descriptor that counts its frozen entries. Changed under
        /// the folio lock.
        const FREEZING = 1 << 15;
        /// Counts frozen entries and has no frames of its own. Constant.
        const GHOST = 1 << 16;
        /// Its frames are a device's: on no LRU list, never in swap. Constant.
        const DEVICE = 1 << 17;
        /// The tags of all its pages were restored by a fault, in an experiment. Under the folio lock.
        #[cfg(feature = "lab")]
        const TAGS_RESTORED = 1 << 23;
    }
}

const ORDER_SHIFT: u32 = 24;
const ORDER: u32 = 0xf << ORDER_SHIFT;
const SHARD_SHIFT: u32 = 28;

pub(super) const fn order_of(word: u32) -> Order {
    Order::new(((word & ORDER) >> ORDER_SHIFT) as u8)
}

pub(super) const fn initial(order: Order, shard: CpuId, flags: FolioFlags) -> u32 {
    (order.get() as u32) << ORDER_SHIFT | (shard.get() as u32) << SHARD_SHIFT | flags.bits()
}

impl Folio {
    /// Tells whether the folio has more than one page.
    #[inline(always)]
    pub(crate) fn is_large(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & ORDER != 0
    }

    /// Changes the order; nobody else relies on it, because the folio is off the LRU lists.
    pub(super) fn set_order(&self, order: Order) {
        let change = self.order().get() ^ order.get();
        self.flags.fetch_xor((change as u32) << ORDER_SHIFT, Ordering::AcqRel);
    }

    /// Tells whether all of `flags` are set.
    #[inline(always)]
    pub(crate) fn has(&self, flags: FolioFlags) -> bool {
        self.flags.load(Ordering::Acquire) & flags.bits() == flags.bits()
    }

    /// Tells whether any of `flags` is set.
    #[inline(always)]
    pub(crate) fn has_any(&self, flags: FolioFlags) -> bool {
        self.flags.load(Ordering::Acquire) & flags.bits() != 0
    }

    /// Sets flags and returns all that were set before.
    #[inline(always)]
    pub(crate) fn set(&self, flags: FolioFlags) -> FolioFlags {
        let before = self.flags.fetch_or(flags.bits(), Ordering::AcqRel);
        FolioFlags::from_bits_truncate(before)
    }

    /// Clears flags and returns all that were set before.
    #[inline(always)]
    pub(crate) fn clear(&self, flags: FolioFlags) -> FolioFlags {
        let before = self.flags.fetch_and(!flags.bits(), Ordering::AcqRel);
        FolioFlags::from_bits_truncate(before)
    }

    /// Returns the CPU whose LRU shard the folio belongs to.
    pub(crate) fn shard(&self) -> CpuId {
        CpuId::new((self.flags.load(Ordering::Relaxed) >> SHARD_SHIFT) as usize)
    }
}
