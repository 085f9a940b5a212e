// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings a swapped page back for the program that touches it.
//!
//! All swap-in goes through the swap cache, so two faults on one slot meet in one folio, and its
//! lock decides who restores the tags. The order matters: content read, tags restored, and only
//! then the slot's count lowered and the entry written, both under the table's lock. The slot and
//! its tags live until the folio leaves the cache, which takes the folio lock held here.

use core::ops::Range;

use base::sync::stop_point;
use base::{Order, Pfn, Vpn};
use hal::{Access, Machine, PteSlot, PteTable};
use pgtable::{Entry, MemType, NonPresent, Pte, SwapEntry, index_of};

use super::read_ahead::Neighbours;
use super::swap_window::{Window, swapped};
use super::{FaultError, Site};
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::AllocMode;
use crate::lab::Fault;
use crate::mm::{Mapped, Mm, PageTableLock, Resident, name_neighbours};
use crate::swap::{AreaRef, SwapInError};
use crate::thp::ThpStat;
use crate::vma::Area;

impl<M: Machine> Mm<M> {
    /// Maps the swapped page at `page` as a load would, whatever the area's rights; the mmap lock is
    /// held.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when there is no memory for it, or it cannot be read.
    pub(crate) fn fault_in_swapped(&self, area: &Area<M>, page: Vpn) -> Result<(), FaultError> {
        let Some(Mapped::Table(table)) = self.mapped_at(page) else { return Ok(()) };
        let raw = self.machine().load(PteSlot::new(table, pgtable::index_of(page)));
        let Entry::NonPresent(NonPresent::Swap { entry, .. }) = Entry::decode(raw) else {
            return Ok(());
        };
        let site = Site { area, page, access: Access::Read };
        self.fault_swap(&site, table, entry, raw).map(|_| ())
    }

    pub(super) fn fault_swap(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        entry: SwapEntry,
        seen: u64,
    ) -> Result<bool, FaultError> {
        let system = self.system();
        stop_point("swap entry read");
        // Held to the end: the slot's count is lowered in it as well.
        let Some(area) = system.area_with(entry) else {
            return self.check_stale(site, table, seen, entry);
        };
        let mut neighbours = Neighbours::new();
        let found = self.find_or_read(site, table, &area, entry, &mut neighbours);
        let (folio, is_major) = match found {
            Ok(found) => found,
            // Somebody else has brought it back, or swapoff has: look again.
            Err(SwapInError::Stale | SwapInError::Unfit) => {
                drop(area);
                return self.check_stale(site, table, seen, entry);
            }
            Err(SwapInError::Unreadable) => return Err(FaultError::NoContent),
            Err(SwapInError::OutOfMemory) => return Err(FaultError::OutOfMemory),
        };
        stop_point("folio found");
        let folio = folio.lock();
        let Some((first, index)) = place_of(&folio, entry) else { return Ok(is_major) };
        if !folio.has(FolioFlags::UPTODATE) {
            return Err(FaultError::NoContent);
        }
        system.sync_code(&folio, site.read_only_pte(folio.head()));
        self.map_swapped_pages(site, table, &area, &folio, index, first)?;
        drop(folio);
        if !neighbours.is_empty() {
            self.map_neighbours(site.area, table, &area, &mut neighbours);
        }
        Ok(is_major)
    }

    /// Returns the folio that caches the slot, or reads it, and what is wanted next.
    fn find_or_read<'s>(
        &'s self,
        site: &Site<'_, M>,
        table: Pfn,
        area: &AreaRef<'s, M>,
        entry: SwapEntry,
        neighbours: &mut Neighbours<'s, M>,
    ) -> Result<(FolioRef<'s, M>, bool), SwapInError> {
        if let Some(folio) = self.system().find_cached(area, entry.slot) {
            return Ok((folio, false));
        }
        let window = self.window_to_read(site, table);
        match window.len() {
            1 => self.swap_in_largest(site, table, area, entry),
            _ => self.read_window(site, table, area, entry, window, neighbours),
        }
    }

    /// Returns the folio that caches the slot, or reads the largest that the area may have here and
    /// whose pages' entries name the slots of one aligned run.
    pub(super) fn swap_in_largest(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        area: &AreaRef<'_, M>,
        entry: SwapEntry,
    ) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        let system = self.system();
        self.in_largest_order(site, table, entry, |order, mode| match order {
            Order::PAGE => system.swap_in_from(area, entry.slot),
            _ => system.swap_in_order(area, entry.slot, order, mode),
        })
    }

    /// Calls `read` with the largest order that the area may have here, and for which the entries around
    /// name the slots of one aligned run; as long as it does not succeed, with smaller ones.
    pub(super) fn in_largest_order<T>(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        entry: SwapEntry,
        mut read: impl FnMut(Order, AllocMode) -> Result<T, SwapInError>,
    ) -> Result<T, SwapInError> {
        let system = self.system();
        for order in self.allowed_orders(site.area).fitting(site.page, site.area.pages()).iter() {
            if !self.names_aligned_run(site.page, table, entry, order) {
                continue;
            }
            match read(order, self.system().thp().settings().alloc_mode(site.area.flags)) {
                Err(SwapInError::Unfit) if system.commits(Fault::OrderInsistedOn) => {
                    return Err(SwapInError::Unfit);
                }
                // The page itself may be readable.
                Err(SwapInError::Unfit | SwapInError::Unreadable) => {}
                Err(SwapInError::OutOfMemory) => {
                    system.count_thp(ThpStat::SwpinFallback, order, 1);
                }
                result => return result,
            }
        }
        read(Order::PAGE, AllocMode::MayReclaim)
    }

    /// Tells whether the entries of the aligned 2^`order` pages around `page`, whose own names `entry`,
    /// name an aligned run of slots. Looked at without the lock: what is mapped is decided with it.
    fn names_aligned_run(&self, page: Vpn, table: Pfn, entry: SwapEntry, order: Order) -> bool {
        let nr = order.nr_pages();
        let within = page.get() as u32 & (nr - 1);
        if entry.slot & (nr - 1) != within {
            return false;
        }
        let first = SwapEntry { slot: entry.slot - within, ..entry };
        let index = index_of(page) - within as usize;
        let cells = self.machine().table(table).cells(index..index + nr as usize);
        name_neighbours(cells, swapped(first))
    }

    /// Maps the page `index` of a cached folio, whose first slot is `first`, and with it all others
    /// that the area and the table have here and whose entries still name their slots.
    fn map_swapped_pages(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        area: &AreaRef<'_, M>,
        folio: &FolioLock<'_, M>,
        index: u32,
        first: SwapEntry,
    ) -> Result<(), FaultError> {
        let system = self.system();
        let mut window = Window::around(site, folio.order(), index, first);
        if system.refault().maps_one_page {
            window.indices = index..index + 1;
        }
        let mut lock = self.lock_leaf_table(table);
        if !window.names(&lock, index) {
            return Ok(());
        }
        #[cfg(feature = "lab")]
        system.restore_at_fault(folio, window.indices.clone().filter(|n| window.names(&lock, *n)));
        let give_up = |slots| system.drop_slots_of(area, slots);
        let pte = || self.swapped_pte(site, folio);
        let result = self.map_window(&mut lock, folio, window, give_up, pte);
        drop(lock);
        system.lru().mark_accessed(system, folio.id());
        result.map(|_| ())
    }

    /// Maps the pages of a window whose entries still name their slots: that of `origin` does. Returns
    /// how many there are. `give_up` lowers the counts of slots, while the table is locked; `pte` says
    /// then how to map, as of the folio's first page.
    #[inline(always)]
    pub(super) fn map_window(
        &self,
        lock: &mut PageTableLock<'_, M>,
        folio: &FolioLock<'_, M>,
        mut window: Window,
        mut give_up: impl FnMut(Range<u32>),
        pte: impl FnOnce() -> Pte,
    ) -> Result<u32, FaultError> {
        let system = self.system();
        let (page, index) = window.origin;
        let mut result = Ok(());
        // Mostly there is one run: it need not be looked for again.
        let (mut mapped, mut only) = (0, None);
        let mut at = window.indices.start;
        while let Some((run, nr)) = window.next_run(lock, at) {
            let base = lock.place(page, index);
            if let Err(why) = system.map_folio(folio, self.id(), base, nr) {
                window.indices.end = run;
                if run <= index {
                    result = Err(why.into());
                }
                break;
            }
            give_up(window.first.add(run).slots(nr));
            only = (mapped == 0).then_some((run, nr));
            mapped += nr;
            at = run + nr;
        }
        let pte = pte();
        let mut at = window.indices.start;
        while let Some((run, nr)) = only.take().or_else(|| window.next_run(lock, at)) {
            if pte.mem_type() == MemType::Tagged {
                // The slots' tags were restored with the content; a page that never had any gets
                // zeroes.
                let pages = run..run + nr;
                pages.for_each(|n| system.make_page_tagged(folio.head().add(n)));
            }
            lock.fill_run(window.page(run), nr, pte.advanced(run));
            at = run + nr;
        }
        self.gauges().add_resident(Resident::of(folio), mapped.into());
        self.gauges().add_swap(-i64::from(mapped));
        result.map(|()| mapped)
    }

    /// Chooses the rights of pages that come back, as of the folio's first: writable at once for a
    /// store if nobody else can see them, so that the store does not fault again.
    fn swapped_pte(&self, site: &Site<'_, M>, folio: &FolioLock<'_, M>) -> Pte {
        let pte = site.read_only_pte(folio.head());
        let may_write = site.area.flags.prot().contains(pgtable::Prot::WRITE);
        let alone = may_write
            && site.is_write()
            && self.system().is_mapped_only_by(folio, self.id())
            && self.system().try_free_swap(folio)
            && folio.has_no_other_reference(1);
        if alone { pte.writable().dirty() } else { pte }
    }

    /// Decides about an entry whose slot is in nobody's use.
    fn check_stale(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        seen: u64,
        entry: SwapEntry,
    ) -> Result<bool, FaultError> {
        if self.lock_leaf_table(table).load(site.page) != seen {
            return Ok(false);
        }
        // An entry keeps its slot in use: this one was not written by this kernel, or its area is
        // wrong. Linux complains and sends SIGBUS as well.
        log::error!("{:?}: {:?} names slot {entry:?}, which is not in use", self.id(), site.page);
        Err(FaultError::NoContent)
    }
}

/// Returns the first slot that a folio caches, and which of its pages `entry` names, if it does.
pub(super) fn place_of<M: Machine>(
    folio: &FolioLock<'_, M>,
    entry: SwapEntry,
) -> Option<(SwapEntry, u32)> {
    let first = folio.swap_entry().filter(|first| first.area == entry.area)?;
    let index = entry.slot.wrapping_sub(first.slot);
    (index < folio.order().nr_pages()).then_some((first, index))
}
