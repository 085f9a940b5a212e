// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says which orders an area's folios may have, and how hard to try to get one.

use base::{Order, PageRange, Vpn};
use hal::Machine;

use super::{Defrag, OrderSet, Settings, ThpDisable};
use crate::frame::AllocMode;
use crate::mm::Mm;
use crate::vma::{Area, AreaFlags, AreaView, Backing};

/// What keeps an area from large folios whatever the settings are. Linux excludes a stack only while
/// exec builds it; here stacks, which grow and are barely used, do with single pages.
pub(super) const SINGLE_PAGES: AreaFlags = AreaFlags::NO_HUGE
    .union(AreaFlags::SHARED)
    .union(AreaFlags::SPECIAL)
    .union(AreaFlags::GROWS_DOWN)
    .union(AreaFlags::STACK);

impl Settings {
    /// Returns the orders that folios of an anonymous area may have (Linux:
    /// `thp_vma_allowable_orders`).
    #[inline]
    pub fn allowed_orders(&self, area: AreaFlags, process: ThpDisable) -> OrderSet {
        let wants = area.contains(AreaFlags::HUGE);
        let orders = self.orders(wants);
        if orders.is_empty() || area.intersects(SINGLE_PAGES) {
            return OrderSet::EMPTY;
        }
        match process {
            ThpDisable::No => orders,
            ThpDisable::ExceptAdvised if wants => orders,
            ThpDisable::ExceptAdvised | ThpDisable::All => OrderSet::EMPTY,
        }
    }

    /// Tells how hard to try for a large folio of an area (Linux: `vma_thp_gfp_mask`). The
    /// background thread wakes when frames are few, whoever allocates.
    #[inline]
    pub(crate) fn alloc_mode(&self, area: AreaFlags) -> AllocMode {
        let wants = area.contains(AreaFlags::HUGE);
        match self.defrag() {
            Defrag::Always => AllocMode::MayReclaim,
            Defrag::DeferOrMadvise | Defrag::Madvise if wants => AllocMode::MayReclaim,
            Defrag::Defer | Defrag::DeferOrMadvise => AllocMode::InBackground,
            Defrag::Madvise | Defrag::Never => AllocMode::NoReclaim,
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Returns the orders that folios of `area` may have.
    #[inline]
    pub(crate) fn allowed_orders(&self, area: &Area<M>) -> OrderSet {
        match area.backing {
            Backing::Anon => {
                let settings = self.system().thp().settings();
                settings.allowed_orders(area.flags, self.thp_disable())
            }
            Backing::Shmem { .. } => OrderSet::EMPTY,
        }
    }

    /// Tells whether a large folio may back some pages of an area: THPeligible of smaps.
    pub fn is_thp_eligible(&self, area: &AreaView<M>) -> bool {
        let settings = self.system().thp().settings();
        let fits = |order: Order| {
            let nr_pages = order.nr_pages() as u64;
            let first = area.pages.start.add(nr_pages - 1).align_down(nr_pages);
            area.pages.covers(PageRange::of_len(first, nr_pages))
        };
        area.object.is_none()
            && settings.allowed_orders(area.flags, self.thp_disable()).iter().any(fits)
    }
}

impl OrderSet {
    /// Returns the orders whose naturally aligned range around `page` lies in `area` (Linux:
    /// `thp_vma_suitable_orders`).
    #[must_use]
    pub fn fitting(self, page: Vpn, area: PageRange) -> Self {
        let fits = |order: &Order| {
            let nr_pages = order.nr_pages() as u64;
            area.covers(PageRange::of_len(page.align_down(nr_pages), nr_pages))
        };
        // Where a range lies in the area, the smaller ranges within it do.
        let highest = self.iter().find(fits);
        highest.map_or(Self::EMPTY, |order| self.intersect(Self::up_to(order)))
    }
}
