// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts a swap area into service: it reads and checks the header that mkswap wrote.
//!
//! The header is Linux's `union swap_header` (include/linux/swap.h): page 0 of the disk, signature
//! in its last ten bytes, at byte 1024 a version, the number of the last page, and bad pages.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::sync::atomic::Ordering;
use base::{PAGE_SIZE, Pfn};
use hal::{BlockOp, DiskId, Machine, Segment};
use pgtable::AreaId;

use super::area::{AreaOptions, AreaRank, SwapArea};
use super::area_ref::AreaRef;
use super::device_tags::TagPages;
use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, BounceFrame, OutOfMemory};
use crate::system::System;

const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";
const VERSION: u32 = 1;
const INFO: usize = 1024;
const BAD_PAGES: usize = INFO + 512;
/// Entries of the bad-page list that fit between its start and the signature.
const MAX_BAD_PAGES: usize = (PAGE_SIZE - SIGNATURE.len() - BAD_PAGES) / 4;

/// Why an area was not put into service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapOnError {
    /// There is no such disk.
    NoDisk,
    /// The area is in service already.
    Busy,
    /// The header cannot be read.
    Unreadable,
    /// The header is not one: signature, version or sizes are wrong.
    BadHeader,
    /// The most areas are in service, or there is no memory for another.
    NoRoom,
}

impl From<OutOfMemory> for SwapOnError {
    fn from(_: OutOfMemory) -> Self {
        SwapOnError::NoRoom
    }
}

/// How an area is put into service.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SwapOn {
    /// Priority; without one it comes after all others.
    pub priority: Option<i16>,
    /// The disk is told first that it need not keep anything (`SWAP_FLAG_DISCARD_ONCE`).
    pub discards_all: bool,
    /// The disk is told which clusters become free (`SWAP_FLAG_DISCARD_PAGES`).
    pub discards_free: bool,
}

impl From<Option<i16>> for SwapOn {
    fn from(priority: Option<i16>) -> Self {
        Self { priority, ..Self::default() }
    }
}

/// What /proc/swaps tells of an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AreaInfo {
    /// The disk.
    pub disk: DiskId,
    /// Slots that can be used.
    pub nr_slots: u64,
    /// Slots in use.
    pub nr_used: u64,
    /// Priority: areas of higher priority are used first.
    pub priority: i16,
}

/// What the header says.
struct Header {
    nr_slots: u32,
    bad: Vec<u32>,
}

impl<M: Machine> System<M> {
    /// Puts the swap area on `disk` into service.
    ///
    /// # Errors
    ///
    /// [`SwapOnError`].
    pub fn swap_on(&self, disk: DiskId, how: impl Into<SwapOn>) -> Result<(), SwapOnError> {
        let how = how.into();
        let nr_sectors = self.machine().nr_sectors(disk);
        if nr_sectors == 0 {
            return Err(SwapOnError::NoDisk);
        }
        if self.area_on(disk).is_some() {
            return Err(SwapOnError::Busy);
        }
        let disk_pages = nr_sectors / hal::block_dev::SECTORS_PER_PAGE;
        let header = self.read_header(disk, disk_pages)?;
        // Cluster locks and the free map: about 130 bytes for 512 slots.
        self.reserve_kernel_heap(header.nr_slots as usize / 4 + (64 << 10))?;
        let keeps_tags = self.swap().has_tags_on_device.load(Ordering::Relaxed);
        let tag_frame = match keeps_tags && self.machine().has_tags() {
            true => Some(self.bounce_frame()?),
            false => None,
        };
        let tag_pages =
            tag_frame.as_ref().map(|frame| TagPages::at_end_of(header.nr_slots, frame.pfn()));
        if tag_pages.as_ref().is_some_and(|pages| pages.first() <= 1) {
            return Err(SwapOnError::BadHeader);
        }
        let options = AreaOptions {
            has_checksums: self.swap().has_checksums.load(Ordering::Relaxed),
            discards_free: how.discards_free,
            tag_pages,
        };
        let mut areas = self.swap().areas.write();
        if areas.iter().flatten().any(|area| area.disk == disk) {
            return Err(SwapOnError::Busy);
        }
        let lowest = areas.iter().flatten().map(|area| area.priority).min().unwrap_or(0);
        let priority = how.priority.unwrap_or(lowest.min(0) - 1);
        let free = areas.iter().position(Option::is_none).ok_or(SwapOnError::NoRoom)?;
        let id = AreaId::new(free).expect("areas has AreaId::MAX places");
        let nr_cpus = self.machine().nr_cpus();
        let (nr_slots, bad) = (header.nr_slots, &header.bad);
        let area = SwapArea::new(id, disk, priority, nr_slots, bad, nr_cpus, options);
        // Nobody gets a slot, and no other swapon the disk, while it is discarded.
        let area = Arc::new(area);
        let is_closed = how.discards_all && area.close();
        areas[free] = Some(Arc::clone(&area));
        self.swap().nr_places.fetch_max(free + 1, Ordering::Relaxed);
        drop(areas);
        // It is the area's until swapoff.
        tag_frame.map(BounceFrame::keep);
        let area = self.area_ref(area);
        if is_closed {
            self.discard_whole_area(&area);
            area.reopen();
        }
        Ok(())
    }

    /// Returns the areas in service.
    pub fn swap_areas(&self) -> Vec<AreaInfo> {
        let areas = self.swap().areas.read();
        let info = |area: &Arc<SwapArea>| AreaInfo {
            disk: area.disk,
            nr_slots: area.nr_usable(),
            nr_used: area.nr_in_use(),
            priority: area.priority,
        };
        areas.iter().flatten().map(info).collect()
    }

    pub(super) fn area_on(&self, disk: DiskId) -> Option<AreaRef<'_, M>> {
        let areas = self.swap().areas.read();
        let found = areas.iter().flatten().find(|area| area.disk == disk).cloned();
        drop(areas);
        found.map(|area| self.area_ref(area))
    }

    /// Returns the area that is to be tried after the one of rank `tried`, the first for `None`.
    pub(super) fn area_after(&self, tried: Option<AreaRank>) -> Option<AreaRef<'_, M>> {
        let areas = self.swap().areas.read();
        let places = &areas[..self.swap().nr_places.load(Ordering::Relaxed)];
        let left = places.iter().flatten().filter(|area| Some(area.rank()) > tried);
        let next = left.min_by_key(|area| area.rank()).cloned();
        drop(areas);
        next.map(|area| self.area_ref(area))
    }

    pub(super) fn remove_area(&self, area: &SwapArea) {
        self.swap().areas.write()[area.id.get()] = None;
    }

    fn read_header(&self, disk: DiskId, disk_pages: u64) -> Result<Header, SwapOnError> {
        let frame = self.alloc_frame_as(FrameKind::SwapTable, AllocMode::MayReclaim)?;
        let read = self.machine().transfer(disk, BlockOp::Read, 0, &[Segment::one(frame)]);
        let header = match read {
            Ok(()) => self.parse_header(frame, disk_pages),
            Err(_) => Err(SwapOnError::Unreadable),
        };
        self.free_frame(frame);
        header
    }

    fn parse_header(&self, frame: Pfn, disk_pages: u64) -> Result<Header, SwapOnError> {
        let mut signature = [0; SIGNATURE.len()];
        self.machine().read_bytes(frame.at(PAGE_SIZE - SIGNATURE.len()), &mut signature);
        let word = |offset| {
            let mut bytes = [0; 4];
            self.machine().read_bytes(frame.at(offset), &mut bytes);
            u32::from_le_bytes(bytes)
        };
        // Made on a machine of the other byte order: Linux takes it too (read_swap_header()).
        let is_foreign = word(INFO) == VERSION.swap_bytes();
        let word = |offset| if is_foreign { word(offset).swap_bytes() } else { word(offset) };
        let (version, last_page, nr_bad) = (word(INFO), word(INFO + 4), word(INFO + 8));
        let is_sane = signature == *SIGNATURE
            && version == VERSION
            && last_page != 0
            && (last_page as u64) < disk_pages
            && nr_bad as usize <= MAX_BAD_PAGES;
        if !is_sane {
            return Err(SwapOnError::BadHeader);
        }
        let bad: Vec<u32> = (0..nr_bad as usize).map(|n| word(BAD_PAGES + 4 * n)).collect();
        let has_slots = bad.len() < last_page as usize;
        if !has_slots || bad.iter().any(|page| *page == 0 || *page > last_page) {
            return Err(SwapOnError::BadHeader);
        }
        Ok(Header { nr_slots: last_page + 1, bad })
    }
}
