// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells a disk what nothing needs any more, if swapon asks for it: the whole area once,
//! and each cluster when its last slot becomes free.
//!
//! A cluster that became empty is *stale*: it is put on a list, and the background thread is woken.
//! That takes all of the cluster's slots, so that nobody uses one while it is discarded, discards,
//! and gives them back. A cluster in use again by then is left alone: it is stale once more when it
//! is empty the next time. The first cluster, which has the header, and a last one that the disk cuts
//! short are never wholly free, so they are not discarded.

use alloc::vec::Vec;

use base::Order;
use base::lock_level::ClusterLists;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, Ordering};
use hal::block_dev::SECTORS_PER_PAGE;
use hal::{BlockOp, DiskId, IoError, Machine};

use super::area::{ClusterLock, SwapArea};
use super::area_ref::AreaRef;
use crate::run_map::BLOCK_UNITS;
use crate::system::System;

/// Most sectors discarded with one request: 1 GiB.
const MAX_SECTORS: u64 = 1 << 21;

/// The stale clusters of an area.
pub(super) struct Discards {
    /// Clusters are discarded. Not any more when the disk has refused it.
    is_on: AtomicBool,
    /// Has room for all clusters: one is put on it with a page's last slot freed, where nothing may be
    /// allocated.
    stale: SpinLock<Vec<u32>, ClusterLists>,
}

impl Discards {
    pub fn new(is_on: bool, nr_clusters: u32) -> Self {
        let room = if is_on { nr_clusters as usize } else { 0 };
        Self { is_on: AtomicBool::new(is_on), stale: SpinLock::new(Vec::with_capacity(room)) }
    }
}

impl<M: Machine> ClusterLock<'_, M> {
    /// Notes that the cluster, whose last slot becomes free, is to be discarded.
    pub(super) fn note_stale(&mut self) {
        let discards = &self.area.discards;
        if self.tables.is_stale || !discards.is_on.load(Ordering::Relaxed) {
            return;
        }
        self.tables.is_stale = true;
        discards.stale.lock().push(self.index);
        self.system().wake_kswapd();
    }
}

impl<M: Machine> System<M> {
    /// Discards the clusters that nothing needs.
    pub(crate) fn discard_stale_clusters(&self) {
        let mut tried = None;
        while let Some(area) = self.area_after(tried) {
            tried = Some(area.rank());
            while let Some(index) = self.take_stale_cluster(&area) {
                let (first, nr) = (index * BLOCK_UNITS, u64::from(BLOCK_UNITS));
                let sectors = area.sector(first)..area.sector(first) + nr * SECTORS_PER_PAGE;
                let discarded = self.discard(area.disk, sectors);
                area.return_run(first, Order::BLOCK);
                if let Err(why) = discarded {
                    log::warn!("swap: area {:?} is discarded no more: {why:?}", area.id);
                    area.discards.is_on.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Takes a stale cluster off the list, and its slots, if they are free still.
    fn take_stale_cluster(&self, area: &AreaRef<'_, M>) -> Option<u32> {
        loop {
            let index = area.discards.stale.lock().pop()?;
            area.lock_cluster(self, index * BLOCK_UNITS).tables.is_stale = false;
            if area.take_cluster(index) {
                return Some(index);
            }
        }
    }

    /// Discards all slots of an area that is about to go into service.
    pub(super) fn discard_whole_area(&self, area: &SwapArea) {
        // Not the header.
        let sectors = area.sector(1)..area.sector(area.nr_slots);
        if let Err(why) = self.discard(area.disk, sectors) {
            log::warn!("swap: area {:?} is not discarded: {why:?}", area.id);
        }
    }

    fn discard(&self, disk: DiskId, sectors: core::ops::Range<u64>) -> Result<(), IoError> {
        let mut at = sectors.start;
        while at < sectors.end {
            let nr_sectors = (sectors.end - at).min(MAX_SECTORS) as u32;
            self.machine().transfer(disk, BlockOp::Discard { nr_sectors }, at, &[])?;
            at += u64::from(nr_sectors);
        }
        Ok(())
    }
}
