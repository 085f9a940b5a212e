// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes one folio of 2 MiB of the pages that a range is mapped with: MADV_COLLAPSE.
//!
//! The steps are Linux's (mm/khugepaged.c):
//!
//! 1. With the mmap lock shared: may the area have a block, and is there a table of single pages?
//! 2. With no lock: a folio of 2 MiB. With the mmap lock shared again: what is in swap comes back.
//! 3. With the mmap lock alone, so that nobody faults, forks or unmaps: the area is looked at again. Every
//!    folio is locked, and nobody but mappings may refer to it; so reclaim and migration, which come
//!    by the reverse map, stay away. Up to here nothing has changed, and whoever says no is obeyed.
//! 4. The entries go, then the table with them: break. When no TLB has any of it (rule 3 of `tlb/`), nobody can
//!    store to the pages. They are copied, tags included, and the block takes the table's place: make.
//!    The table is set aside for the block, so nothing is allocated that could fail.
//!
//! Pages that others map as well are copied too, and stay theirs. What is in a device's memory, or what a
//! device has for itself, is left alone, and with it the whole 2 MiB.

use alloc::vec::Vec;

use base::{Order, PageRange, Pfn, Vpn};
use hal::{Machine, TraceKind};
use pgtable::{Entry, MemType, NonPresent};

use super::ThpDisable;
use super::policy::SINGLE_PAGES;
use crate::events::MmEvent;
use crate::fault::FaultError;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::{AllocMode, MteState};
use crate::mm::{Mapped, Mm, Run, SpareTable};
use crate::system::System;
use crate::tlb::TlbGather;
use crate::vma::{Area, Backing};

/// Pages of a block.
const NR_PAGES: u32 = Order::BLOCK.nr_pages();

/// How often pages are brought back that reclaim takes away meanwhile.
const ATTEMPTS: usize = 3;

/// Why a range is not collapsed, or not all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CollapseError {
    /// Part of the range is not mapped; the rest was done.
    NotMapped,
    /// The range has no 2 MiB that may be a block, or nothing was ever mapped there.
    Unfit,
    /// There is no run of frames, or no memory to bring pages back.
    OutOfMemory,
    /// Somebody has a page pinned, locked, or in use otherwise.
    Busy,
}

/// What a block is made of.
struct Sources<'m, M: Machine> {
    /// Each folio once, locked.
    folios: Vec<FolioLock<'m, M>>,
    /// Runs: index in the block, first frame, how many.
    runs: Vec<(u32, Pfn, u32)>,
}

impl<M: Machine> Mm<M> {
    /// Makes folios of 2 MiB of whatever maps `pages`, of each aligned 2 MiB in them.
    ///
    /// # Errors
    ///
    /// [`CollapseError`]. What could be collapsed is.
    pub fn collapse(&self, pages: PageRange) -> Result<(), CollapseError> {
        let (mut left, mut has_hole) = (pages, false);
        while !left.is_empty() {
            let Some(part) = self.next_collapsible(left)? else {
                has_hole = true;
                break;
            };
            has_hole |= part.start != left.start;
            left.start = part.end;
            self.collapse_part(part)?;
        }
        if has_hole { Err(CollapseError::NotMapped) } else { Ok(()) }
    }

    /// Returns what the first area in `pages` has of them.
    fn next_collapsible(&self, pages: PageRange) -> Result<Option<PageRange>, CollapseError> {
        let areas = self.read_areas();
        let Some(area) = areas.overlapping(pages).next() else { return Ok(None) };
        let first = area.pages().start.add(u64::from(NR_PAGES) - 1).align_down(NR_PAGES.into());
        let has_room = area.pages().covers(block_at(first));
        let part = area.pages().intersect(pages);
        if has_room && self.may_collapse(area) { Ok(Some(part)) } else { Err(CollapseError::Unfit) }
    }

    /// Tells whether an area may have blocks, whatever the settings are: who asks for a collapse wants
    /// them (Linux: `TVA_FORCED_COLLAPSE`).
    fn may_collapse(&self, area: &Area<M>) -> bool {
        matches!(area.backing, Backing::Anon)
            && !area.flags.intersects(SINGLE_PAGES)
            && self.thp_disable() != ThpDisable::All
    }

    fn collapse_part(&self, part: PageRange) -> Result<(), CollapseError> {
        let nr = u64::from(NR_PAGES);
        let (start, end) = (part.start.add(nr - 1).align_down(nr), part.end.align_down(nr));
        if start > end {
            // As on Linux: a range within one block is refused, one that ends where it begins is not.
            return Err(CollapseError::Unfit);
        }
        let mut result = Ok(());
        for page in PageRange::new(start, end).pages().step_by(NR_PAGES as usize) {
            match self.collapse_block(page) {
                Ok(()) => {}
                Err(CollapseError::OutOfMemory) => return Err(CollapseError::OutOfMemory),
                // The others may do.
                Err(why) => result = Err(why),
            }
            self.machine().cond_resched();
        }
        result
    }

    /// Collapses the 2 MiB at `start`, unless a block maps them.
    fn collapse_block(&self, start: Vpn) -> Result<(), CollapseError> {
        let mut span = self.machine().span(TraceKind::Collapse, || [start.base().get(), 0]);
        match self.mapped_in(start)? {
            Mapped::Block(_) => return Ok(()),
            Mapped::Table(_) => {}
        }
        let room =
            NR_PAGES as usize * (size_of::<FolioLock<'_, M>>() + size_of::<(u32, Pfn, u32)>());
        let room = self.system().reserve_kernel_heap(room + crate::rmap::HEAP_RESERVE);
        room.map_err(|_| CollapseError::OutOfMemory)?;
        let (flags, mode) = (FolioFlags::UPTODATE | FolioFlags::DIRTY, AllocMode::MayReclaim);
        let folio = self.system().alloc_folio(Order::BLOCK, flags, MteState::Untagged, mode);
        let Ok(folio) = folio else {
            self.system().count(MmEvent::ThpCollapseAllocFailed, 1);
            return Err(CollapseError::OutOfMemory);
        };
        self.system().count(MmEvent::ThpCollapseAlloc, 1);
        self.system().count(MmEvent::PgAlloc, NR_PAGES.into());
        for _ in 0..ATTEMPTS {
            self.bring_in(start)?;
            base::sync::stop_point("swapped pages are back");
            if self.replace_by_block(start, &folio)? {
                span.set(|| NR_PAGES.into());
                return Ok(());
            }
        }
        Err(CollapseError::Busy)
    }

    /// Returns what maps the 2 MiB at `start`, which lie in an area that may have blocks.
    fn mapped_in(&self, start: Vpn) -> Result<Mapped, CollapseError> {
        let areas = self.read_areas();
        let area = areas.find(start).filter(|area| area.pages().covers(block_at(start)));
        area.filter(|area| self.may_collapse(area)).ok_or(CollapseError::Unfit)?;
        self.mapped_at(start).ok_or(CollapseError::Unfit)
    }

    /// Brings back what is in swap.
    fn bring_in(&self, start: Vpn) -> Result<(), CollapseError> {
        for page in block_at(start).pages() {
            let areas = self.read_areas();
            let area = areas.find(page).ok_or(CollapseError::Unfit)?;
            self.fault_in_swapped(area, page).map_err(|why| match why {
                FaultError::OutOfMemory => CollapseError::OutOfMemory,
                _ => CollapseError::Unfit,
            })?;
        }
        Ok(())
    }

    /// Moves what maps the 2 MiB at `start` into `folio` and maps it as a block. `false`: a page has gone
    /// to swap again.
    fn replace_by_block(&self, start: Vpn, folio: &FolioRef<'_, M>) -> Result<bool, CollapseError> {
        let areas = self.write_areas();
        let area = areas.find(start).filter(|area| area.pages().covers(block_at(start)));
        let area = area.filter(|area| self.may_collapse(area)).ok_or(CollapseError::Unfit)?;
        let table = match self.mapped_at(start).ok_or(CollapseError::Unfit)? {
            Mapped::Block(_) => return Ok(true),
            Mapped::Table(table) => table,
        };
        let mut sources = Sources::new()?;
        if !self.lock_sources(table, start, &mut sources)? {
            return Ok(false);
        }
        let mut gather = TlbGather::complete_at_finish(self);
        self.zap(area, block_at(start), &mut gather);
        let slot = self.take_out_leaf_table(start, &mut gather);
        self.system().copy_into(folio, &sources, area.flags.mem_type());
        self.map_collapsed((area, start), slot, folio.clone(), SpareTable::of(self, table));
        gather.finish();
        // What only this range had of a swap slot is nobody's now.
        sources.folios.iter().for_each(|old| _ = self.system().try_free_swap(old));
        Ok(true)
    }

    /// Locks the folios that the entries of a table map; `false` if one of the entries is in swap. The
    /// mmap lock is held alone.
    fn lock_sources<'m>(
        &'m self,
        table: Pfn,
        start: Vpn,
        sources: &mut Sources<'m, M>,
    ) -> Result<bool, CollapseError> {
        let lock = self.lock_leaf_table(table);
        let mut index = 0;
        while index < NR_PAGES {
            let page = start.add(index.into());
            let mut nr = 1;
            match lock.entry(page) {
                Entry::Empty => {}
                Entry::Present(pte) => {
                    // The page of zeroes is as good as a hole.
                    if let Some(run) = self.run_at(&lock, page, pte, NR_PAGES - index) {
                        nr = run.nr;
                        sources.add(self.system(), index, &run)?;
                    }
                }
                Entry::NonPresent(NonPresent::Swap { .. }) => return Ok(false),
                Entry::NonPresent(_) | Entry::Corrupt(_) => return Err(CollapseError::Unfit),
            }
            index += nr;
        }
        Ok(true)
    }
}

impl<'m, M: Machine> Sources<'m, M> {
    fn new() -> Result<Self, CollapseError> {
        let (mut folios, mut runs) = (Vec::new(), Vec::new());
        folios.try_reserve_exact(NR_PAGES as usize).map_err(|_| CollapseError::OutOfMemory)?;
        runs.try_reserve_exact(NR_PAGES as usize).map_err(|_| CollapseError::OutOfMemory)?;
        Ok(Self { folios, runs })
    }

    /// Adds a run, if nobody but mappings and the swap cache refers to its folio.
    fn add(
        &mut self,
        system: &'m System<M>,
        index: u32,
        run: &Run<'m>,
    ) -> Result<(), CollapseError> {
        if run.pte.is_on_device() || run.pte.is_device_exclusive() {
            return Err(CollapseError::Unfit);
        }
        if run.pte.is_frozen() {
            return Err(CollapseError::Busy);
        }
        // A folio with a hole is met again, and is the last one mostly.
        if !self.folios.iter().rev().any(|folio| folio.id() == run.id) {
            let folio = system.get_folio(run.id).try_lock().map_err(|_| CollapseError::Busy)?;
            let is_busy = folio.is_pinned()
                || folio.has_any(FolioFlags::WRITEBACK | FolioFlags::BAD_SLOT)
                || !folio.has(FolioFlags::UPTODATE)
                || !folio.has_no_other_reference(1);
            if is_busy {
                return Err(CollapseError::Busy);
            }
            self.folios.push(folio);
        }
        self.runs.push((index, run.pte.pfn(), run.nr));
        Ok(())
    }
}

impl<M: Machine> System<M> {
    /// Fills a new folio with what the sources have, and with zeroes where they have nothing.
    fn copy_into(&self, folio: &FolioRef<'_, M>, sources: &Sources<'_, M>, mem: MemType) {
        let (head, mut at) = (folio.head(), 0);
        for &(index, from, nr) in &sources.runs {
            self.zero_part(head.add(at), index - at);
            (0..nr).for_each(|n| self.copy_with_tags(head.add(index + n), from.add(n)));
            at = index + nr;
        }
        self.zero_part(head.add(at), NR_PAGES - at);
        if mem == MemType::Tagged {
            // Those that have none yet.
            folio.frames().for_each(|pfn| self.make_page_tagged(pfn));
        }
    }

    fn zero_part(&self, first: Pfn, nr: u32) {
        if nr != 0 {
            self.machine().zero_frames(first, nr);
        }
    }

    /// Copies a page to a frame whose tags mean nothing yet; its tags too, if it has any.
    fn copy_with_tags(&self, to: Pfn, from: Pfn) {
        self.machine().copy_frame(to, from);
        if self.words().mte_state(from) == MteState::Tagged {
            let tags = self.machine().read_tags(from);
            self.words().make_tagged(to, || self.machine().write_tags(to, &tags));
            self.count(MmEvent::MteTagsCopied, 1);
        }
    }
}

const fn block_at(start: Vpn) -> PageRange {
    PageRange::of_len(start, NR_PAGES as u64)
}
