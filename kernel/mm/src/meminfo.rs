// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file adds up memory for /proc/meminfo and sysinfo.

use hal::Machine;

use crate::reclaim::ListKind;
use crate::system::System;

/// Memory by use, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemInfo {
    /// Managed, the kernel's image and heap left out.
    pub total: u64,
    /// Free.
    pub free: u64,
    /// What could be had without swapping out what is in use: free and inactive.
    pub available: u64,
    /// On the active lists.
    pub active: u64,
    /// On the inactive lists.
    pub inactive: u64,
    /// Swap slots.
    pub swap_total: u64,
    /// Free swap slots.
    pub swap_free: u64,
    /// Anonymous pages that are mapped.
    pub anon: u64,
    /// Anonymous pages that are mapped by blocks, counted once per mapping.
    pub block_mapped: u64,
    /// Pages of shared-memory objects.
    pub shmem: u64,
    /// Mapped pages of shared-memory objects, counted once per mapping.
    pub mapped: u64,
    /// Table pages.
    pub tables: u64,
    /// Frames of swap slot words and of tags of swapped pages.
    pub swap_metadata: u64,
    /// Bytes of folio descriptors and reverse-map tables.
    pub folio_bytes: u64,
    /// Bytes of frame words.
    pub frame_word_bytes: u64,
}

impl<M: Machine> System<M> {
    /// Returns the number of frames that the memory manager was given.
    pub fn nr_managed_frames(&self) -> u64 {
        self.nr_frames()
    }

    /// Returns memory by use at this moment.
    pub fn meminfo(&self) -> MemInfo {
        let lru = self.lru();
        let free = self.front().nr_free() + self.front().nr_cached();
        let inactive = lru.nr_pages(ListKind::Inactive);
        let (swap_total, swap_free) = self.swap_slots();
        let mut info = MemInfo {
            total: self.nr_frames(),
            free,
            available: (free + inactive).saturating_sub(self.watermarks().low),
            active: lru.nr_pages(ListKind::Active),
            inactive,
            swap_total,
            swap_free,
            swap_metadata: self.swap_metadata_frames(),
            folio_bytes: (self.folios().bytes() + self.spill().bytes()) as u64,
            frame_word_bytes: (self.words().len() * 8) as u64,
            ..MemInfo::default()
        };
        let mut last = 0;
        while let Some(mm) = self.mms().next(last) {
            last = mm.id().get();
            let stats = mm.gauges().read(0);
            info.anon += stats.anon;
            info.block_mapped += stats.block_mapped;
            info.mapped += stats.shmem;
            info.tables += stats.tables;
        }
        let mut last = 0;
        while let Some(object) = self.shmems().next(last) {
            last = object.id();
            info.shmem += object.nr_pages().0;
        }
        info
    }

    /// Returns frames that could be had without swapping: what swapoff may count on.
    pub(crate) fn reclaimable_frames(&self) -> u64 {
        self.front().nr_free().saturating_sub(self.watermarks().min)
    }
}
