// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads pages that a program wants next together with the one that it wants now.
//!
//! The page table knows what was used: a program that goes up leaves young entries below the page that
//! it touches, one that goes down leaves them above. As many pages as were used in a row are read, in as
//! few requests as their slots allow, and mapped in the same fault. All but the one that was asked for are
//! mapped old. Those that are used become young, whether hardware or a fault sees to it; the first that is not
//! ends the row that the next fault counts. So a wrong guess is paid for once, a program that
//! touches pages in no order has no row, threads in different places do not disturb each other, and
//! nothing has to be remembered. (Linux keeps address, window and hits in the VMA, and leaves
//! what it read in the swap cache, where each page takes a fault: mm/swap_state.c, `swap_vma_readahead`.)
//!
//! Nothing waits for a guess: memory is not reclaimed for it, and a folio that somebody else has locked is
//! left alone. What is not mapped is in the swap cache, for the fault that wants it, or for reclaim.

use core::mem::replace;
use core::ops::Range;

use arrayvec::ArrayVec;

use base::sync::stop_point;
use base::{Order, Pfn, Vpn};
use hal::{Access, Machine, PteCell, PteTable};
use pgtable::{ENTRIES_PER_TABLE, Entry, NonPresent, Pte, SwapEntry, index_of};

use super::Site;
use super::swap_in::place_of;
use super::swap_window::Window;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::AllocMode;
use crate::lab::Refault;
use crate::mm::{Mapped, Mm};
use crate::swap::{AreaRef, InCache, MAX_PAGE_CLUSTER, ReadAhead, Request, SwapInError, Unread};
use crate::vma::Area;

/// Most pages that are read together.
const NR_WINDOW: usize = 1 << MAX_PAGE_CLUSTER;

/// Pages used in a row that make a guess: fewer may be neighbours by chance.
const NR_TO_GUESS: usize = 4;

/// Folios that were read with the one that was asked for, each with a page that its slots were read for.
pub(super) type Neighbours<'s, M> = ArrayVec<(Vpn, FolioRef<'s, M>), NR_WINDOW>;

impl<M: Machine> Mm<M> {
    /// Returns the entries of `table`, that of the fault first or last, whose pages are to be read.
    pub(super) fn window_to_read(&self, site: &Site<'_, M>, table: Pfn) -> Range<usize> {
        let at = index_of(site.page);
        let most = 1 << self.system().page_cluster();
        if most == 1 || self.system().refault() != Refault::default() {
            return at..at + 1;
        }
        let area = site.area.pages();
        let first = site.page.get() - at as u64;
        let start = area.start.get().saturating_sub(first) as usize;
        let end = (area.end.get() - first).min(ENTRIES_PER_TABLE as u64) as usize;
        let entries = self.machine().table(table);
        let below = match at {
            0 if area.start < site.page => self.nr_used_before(site, most),
            _ => nr_used_below(entries, start..at, most),
        };
        if below >= NR_TO_GUESS {
            return at..end.min(at + below);
        }
        match nr_used_above(entries, at + 1..end, most) {
            above if above >= NR_TO_GUESS => start.max((at + 1).saturating_sub(above))..at + 1,
            _ => at..at + 1,
        }
    }

    /// Does what [`nr_used_below`] does, for the table before the one that the fault's page is the first
    /// of.
    fn nr_used_before(&self, site: &Site<'_, M>, most: usize) -> usize {
        let nr = site.page.get() - site.area.pages().start.get();
        let start = ENTRIES_PER_TABLE - nr.min(ENTRIES_PER_TABLE as u64) as usize;
        match self.mapped_at(Vpn::new(site.page.get() - 1)) {
            Some(Mapped::Table(table)) => {
                nr_used_below(self.machine().table(table), start..ENTRIES_PER_TABLE, most)
            }
            Some(Mapped::Block(_)) | None => 0,
        }
    }

    /// Reads the pages of a window into the swap cache and returns the folio of the one that was asked
    /// for, and whether it was read; the others are put with `neighbours`.
    ///
    /// # Errors
    ///
    /// [`SwapInError`], of the page that was asked for.
    #[inline(never)]
    pub(super) fn read_window<'s>(
        &'s self,
        site: &Site<'_, M>,
        table: Pfn,
        area: &AreaRef<'s, M>,
        entry: SwapEntry,
        window: Range<usize>,
        neighbours: &mut Neighbours<'s, M>,
    ) -> Result<(FolioRef<'s, M>, bool), SwapInError> {
        let system = self.system();
        let prepare = |page, entry: SwapEntry, mode: Option<AllocMode>| {
            let site = Site { area: site.area, page, access: Access::Read };
            self.in_largest_order(&site, table, entry, |order, usual| {
                system.cached_or_unread(area, entry.slot, order, mode.unwrap_or(usual))
            })
        };
        // Before any folio is locked here: this one waits for memory.
        let asked = match prepare(site.page, entry, None) {
            Ok(InCache::Cached(folio)) => return Ok((folio, false)),
            Ok(InCache::Unread(unread)) => unread,
            // Somebody was faster while this one waited for memory: its folio is there.
            Err(SwapInError::Unfit) => return self.swap_in_largest(site, table, area, entry),
            Err(why) => return Err(why),
        };
        let asked_slots = asked.first..asked.end();
        let mut wanted = ArrayVec::<Unread<'s, M>, NR_WINDOW>::new();
        wanted.push(Unread { page: site.page, ..asked });
        let first = site.page.get() - index_of(site.page) as u64;
        let entries = self.machine().table(table);
        let mut next = window.start;
        // Without the table's lock: what is mapped is decided with it.
        for (at, cell) in window.clone().zip(entries.cells(window)) {
            let Entry::NonPresent(NonPresent::Swap { entry: named, .. }) =
                Entry::decode(cell.load())
            else {
                continue;
            };
            let is_of_area = named.area == entry.area && area.has_slot(named.slot);
            if at < next || !is_of_area || asked_slots.contains(&named.slot) {
                continue;
            }
            let page = Vpn::new(first + at as u64);
            match prepare(page, named, Some(AllocMode::NoReclaim)) {
                Ok(InCache::Unread(unread)) => {
                    let nr = (unread.end() - unread.first) as usize;
                    next = at - at % nr + nr;
                    wanted.push(Unread { page, ..unread });
                }
                Err(SwapInError::OutOfMemory) => break,
                Ok(InCache::Cached(_)) | Err(_) => {}
            }
        }
        stop_point("window chosen");
        let (mut read, mut nr_ahead) = (None, 0);
        let mut requests = ArrayVec::<Request, NR_WINDOW>::new();
        system.read_together(area, &mut wanted, &mut requests, |page, folio| {
            if page == site.page {
                read = Some(folio);
            } else {
                nr_ahead += u64::from(folio.order().nr_pages());
                neighbours.push((page, folio));
            }
        });
        system.count(MmEvent::SwapRa, nr_ahead);
        stop_point("window read");
        match read {
            Some(folio) => Ok((folio, true)),
            // The request may have failed for another page.
            None => self.swap_in_largest(site, table, area, entry),
        }
    }

    /// Maps pages that were read ahead, as far as their entries still name their slots and nobody has
    /// their folios locked.
    #[inline(never)]
    pub(super) fn map_neighbours(
        &self,
        vma: &Area<M>,
        table: Pfn,
        area: &AreaRef<'_, M>,
        neighbours: &mut Neighbours<'_, M>,
    ) {
        let system = self.system();
        let locked = neighbours
            .drain(..)
            .filter_map(|(page, folio)| folio.try_lock().ok().map(|folio| (page, folio)));
        let locked: ArrayVec<(Vpn, FolioLock<'_, M>), NR_WINDOW> = locked.collect();
        let (mut nr, mut unused) = (0, 0..0);
        let mut lock = self.lock_leaf_table(table);
        for &(page, ref folio) in &locked {
            let Entry::NonPresent(NonPresent::Swap { entry, .. }) = lock.entry(page) else {
                continue;
            };
            let Some((first, index)) = place_of(folio, entry) else { continue };
            // It may have gone out again, and elsewhere.
            if !folio.has(FolioFlags::UPTODATE) || first.area != area.id {
                continue;
            }
            let site = Site { area: vma, page, access: Access::Read };
            let window = Window::around(&site, folio.order(), index, first);
            let pte = site.read_only_pte(folio.head()).old();
            system.sync_code(folio, pte);
            // Neighbouring slots are given up together.
            let give_up = |slots: Range<u32>| match slots.start == unused.end {
                true => unused.end = slots.end,
                false => system.drop_slots_of(area, replace(&mut unused, slots)),
            };
            match self.map_window(&mut lock, folio, window, give_up, || pte) {
                Ok(mapped) => nr += mapped,
                // The reverse map has no room: the page is there all the same.
                Err(_) => break,
            }
        }
        system.drop_slots_of(area, unused);
        drop(lock);
        system.count(MmEvent::SwapRaMapped, nr.into());
        // Of one whose entry went away meanwhile, nobody may know any more.
        locked.into_iter().for_each(|(_, folio)| system.free_orphan(folio.unlock()));
    }

    /// Reads into the swap cache what is to be read ahead for `area`, whose pages share `table`; the mmap
    /// lock is held. Returns how many pages it went through before there was no memory for more.
    pub(crate) fn read_ahead(
        &self,
        area: &Area<M>,
        table: Pfn,
        ahead: &mut ReadAhead<'_, M>,
    ) -> usize {
        let reads = &mut ahead.reads;
        let mut read = |&(page, entry): &(Vpn, SwapEntry)| {
            let site = Site { area, page, access: Access::Read };
            let read = self
                .in_largest_order(&site, table, entry, |order, mode| reads.add(entry, order, mode));
            read != Err(SwapInError::OutOfMemory)
        };
        let nr = ahead.pages.iter().take_while(|page| read(page)).count();
        reads.finish();
        nr
    }
}

/// Returns how many of the last entries of `indices`, about `most` at most, were used.
fn nr_used_below(entries: impl PteTable, indices: Range<usize>, most: usize) -> usize {
    let mut at = indices.end;
    while at > indices.start && indices.end - at < most {
        match used_together(entries, at - 1) {
            Some(used) => at = used.start,
            None => break,
        }
    }
    (indices.end - at.max(indices.start)).min(most)
}

/// Returns how many of the first entries of `indices`, about `most` at most, were used.
fn nr_used_above(entries: impl PteTable, indices: Range<usize>, most: usize) -> usize {
    let mut at = indices.start;
    while at < indices.end && at - indices.start < most {
        match used_together(entries, at) {
            Some(used) => at = used.end,
            None => break,
        }
    }
    (at.min(indices.end) - indices.start).min(most)
}

/// Returns the entries that have one access flag between them, entry `index` among them, if it is set:
/// of a contiguous run, hardware may set any (Arm ARM D8.7.1).
fn used_together(entries: impl PteTable, index: usize) -> Option<Range<usize>> {
    let is_used = |raw: u64| Pte::is_present(raw) && Pte::from_raw(raw).is_young();
    let raw = entries.load(index);
    if !(Pte::is_present(raw) && Pte::from_raw(raw).is_contiguous()) {
        return is_used(raw).then_some(index..index + 1);
    }
    let nr = Order::CONT.nr_pages() as usize;
    let run = index - index % nr..index - index % nr + nr;
    entries.cells(run.clone()).any(|cell| is_used(cell.load())).then_some(run)
}
