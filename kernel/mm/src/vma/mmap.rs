// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file adds areas: mmap.

use alloc::sync::Arc;

use base::{Order, PageRange, Vpn};
use hal::Machine;

use super::area::{Area, AreaFlags, Backing};
use super::areas::{Areas, MMAP_MIN};
use crate::frame::OutOfMemory;
use crate::mm::Mm;
use crate::tlb::TlbGather;

/// Most areas of an address space: Linux's `vm.max_map_count`.
pub const MAX_AREAS: usize = 65_530;

/// Where a mapping goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// At this page if it is free and valid, else anywhere; `None` for anywhere.
    Hint(Option<Vpn>),
    /// At this page; what is there goes away.
    Fixed(Vpn),
    /// At this page, and nothing may be there.
    FixedNoReplace(Vpn),
}

/// A mapping to be made.
pub struct MapRequest<M: Machine> {
    /// Where.
    pub placement: Placement,
    /// How many pages; not 0.
    pub nr_pages: u64,
    /// Rights and kind.
    pub flags: AreaFlags,
    /// Content.
    pub backing: Backing<M>,
}

/// Why a mapping was not made. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No room in the address space, too many areas, or no memory for the structures.
    NoRoom,
    /// The fixed place reaches outside the user half of the address space, or is too low.
    BadPlace,
    /// Something is at the place that must not be replaced.
    Occupied,
}

impl From<OutOfMemory> for MapError {
    fn from(_: OutOfMemory) -> Self {
        MapError::NoRoom
    }
}

impl<M: Machine> Mm<M> {
    /// Adds an area and returns its first page. Nothing is mapped yet: faults do that.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn map(&self, request: MapRequest<M>) -> Result<Vpn, MapError> {
        self.system().reserve_kernel_heap(HEAP_BYTES)?;
        let mut areas = self.write_areas();
        let start = areas.place(request.placement, request.nr_pages, &request.backing)?;
        let pages = PageRange::of_len(start, request.nr_pages);
        if areas.nr_areas() + 2 > MAX_AREAS {
            return Err(MapError::NoRoom);
        }
        if matches!(request.placement, Placement::Fixed(_)) {
            self.unmap_locked(&mut areas, pages, &mut TlbGather::complete_at_finish(self));
        }
        areas.insert(Area::new(pages, request.flags, request.backing));
        Ok(start)
    }

    /// Sets where mappings without a wish go (downwards from `top`) and how far the stack may grow.
    pub fn set_layout(&self, top: Vpn, stack_limit_pages: u64) {
        let mut areas = self.write_areas();
        areas.mmap_top = top;
        areas.stack_limit = stack_limit_pages;
    }
}

/// Heap bytes that any one change of the areas may need: a few tree nodes.
pub(super) const HEAP_BYTES: usize = 16 << 10;

impl<M: Machine> Areas<M> {
    /// Decides where a mapping of `backing` goes.
    pub(super) fn place(
        &self,
        placement: Placement,
        nr_pages: u64,
        backing: &Backing<M>,
    ) -> Result<Vpn, MapError> {
        match placement {
            Placement::Hint(None) => self.place_like(Vpn::new(0), nr_pages, backing),
            Placement::Hint(Some(hint)) => {
                let is_usable = fits(hint, nr_pages).is_some_and(|pages| self.is_free(pages));
                match is_usable {
                    true => Ok(hint),
                    false => self.find_gap(nr_pages, 1).ok_or(MapError::NoRoom),
                }
            }
            Placement::Fixed(start) => match fits(start, nr_pages) {
                Some(_) => Ok(start),
                None => Err(MapError::BadPlace),
            },
            Placement::FixedNoReplace(start) => match fits(start, nr_pages) {
                Some(pages) if self.is_free(pages) => Ok(start),
                Some(_) => Err(MapError::Occupied),
                None => Err(MapError::BadPlace),
            },
        }
    }

    /// Decides where a mapping without a wish goes. Private memory of whole blocks lies in them as
    /// `old` does, if there is room: aligned when it is new, and the large folios of memory that
    /// moves stay aligned (Linux: `thp_get_unmapped_area`, with the old address as page offset).
    pub(super) fn place_like(
        &self,
        old: Vpn,
        nr_pages: u64,
        backing: &Backing<M>,
    ) -> Result<Vpn, MapError> {
        let block = Order::BLOCK.nr_pages() as u64;
        let is_blocks = matches!(backing, Backing::Anon) && nr_pages.is_multiple_of(block);
        let skew = old.get() % block;
        let aligned = is_blocks.then(|| self.find_gap(nr_pages + skew, block)).flatten();
        let start = aligned.map(|start| start.add(skew)).or_else(|| self.find_gap(nr_pages, 1));
        start.ok_or(MapError::NoRoom)
    }

    fn is_free(&self, pages: PageRange) -> bool {
        self.overlapping(pages).next().is_none()
    }
}

fn fits(start: Vpn, nr_pages: u64) -> Option<PageRange> {
    let end = start.get().checked_add(nr_pages)?;
    let inside = start >= MMAP_MIN && end <= Vpn::END.get();
    inside.then(|| PageRange::of_len(start, nr_pages))
}

impl<M: Machine> MapRequest<M> {
    /// Builds a request for private anonymous memory.
    pub fn anon(placement: Placement, nr_pages: u64, flags: AreaFlags) -> Self {
        Self { placement, nr_pages, flags, backing: Backing::Anon }
    }

    /// Builds a request for pages of a shared-memory object, from page `first` of it.
    pub fn shmem(
        placement: Placement,
        nr_pages: u64,
        flags: AreaFlags,
        object: Arc<crate::shmem::Shmem<M>>,
        first: u64,
    ) -> Self {
        Self { placement, nr_pages, flags, backing: Backing::Shmem { object, first } }
    }
}
