// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes advice: madvise.

use base::{PageRange, Pfn, Vpn};
use hal::{Access, FaultCause, Machine, MemFault, PteSlot};
use pgtable::{Entry, Level, NonPresent};

use super::area::{Area, AreaFlags, Backing};
use super::mmap::HEAP_BYTES;
use crate::fault::FaultError;
use crate::folio::{Folio, FolioFlags, FolioRef};
use crate::frame::OutOfMemory;
use crate::mm::{Mapped, Mm, PageTableLock, Run};
use crate::swap::SlotDrops;
use crate::tlb::TlbGather;

/// What a program says about a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Drop the content now: private pages read as zero next.
    DontNeed,
    /// The content may be dropped when memory is short, unless it is written again.
    Free,
    /// Not used soon: first in line for reclaim.
    Cold,
    /// Reclaim now.
    PageOut,
    /// Children do not get it (`true`), or get it again.
    DontFork(bool),
    /// Children get it empty (`true`), or as it is again.
    WipeOnFork(bool),
    /// Large folios are wanted (`true`) or not.
    Huge(bool),
}

/// Why advice was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdviceError {
    /// Part of the range is not mapped; the rest was done.
    NotMapped,
    /// The advice does not fit the memory: free or wipe of something that is not private anonymous.
    Unfit,
    /// No memory for the structures.
    NoRoom,
}

impl<M: Machine> Mm<M> {
    /// Takes advice about `pages`.
    ///
    /// # Errors
    ///
    /// [`AdviceError`].
    pub fn advise(&self, pages: PageRange, advice: Advice) -> Result<(), AdviceError> {
        match advice {
            Advice::DontFork(on) => self.flag(pages, AreaFlags::DONT_FORK, on, |_| true),
            Advice::WipeOnFork(on) => {
                self.flag(pages, AreaFlags::WIPE_ON_FORK, on, |area| is_private_anon(area) || !on)
            }
            Advice::Huge(on) => {
                let (set, clear) = if on {
                    (AreaFlags::HUGE, AreaFlags::NO_HUGE)
                } else {
                    (AreaFlags::NO_HUGE, AreaFlags::HUGE)
                };
                self.flag(pages, clear, false, |_| true)?;
                self.flag(pages, set, true, |_| true)
            }
            Advice::DontNeed | Advice::Free | Advice::Cold | Advice::PageOut => {
                self.advise_entries(pages, advice)
            }
        }
    }

    /// Sets or clears a flag of the areas in `pages`.
    fn flag(
        &self,
        pages: PageRange,
        flag: AreaFlags,
        on: bool,
        fits: impl Fn(&Area<M>) -> bool,
    ) -> Result<(), AdviceError> {
        let room = self.system().reserve_kernel_heap(HEAP_BYTES);
        room.map_err(|OutOfMemory| AdviceError::NoRoom)?;
        let mut areas = self.write_areas();
        let is_covered = areas.covers(pages);
        if !areas.overlapping(pages).all(fits) {
            return Err(AdviceError::Unfit);
        }
        for mut area in areas.take(pages) {
            area.flags.set(flag, on);
            areas.insert(area);
        }
        if is_covered { Ok(()) } else { Err(AdviceError::NotMapped) }
    }

    fn advise_entries(&self, pages: PageRange, advice: Advice) -> Result<(), AdviceError> {
        let areas = self.read_areas();
        let mut gather = TlbGather::complete_at_unlock(self);
        for area in areas.overlapping(pages) {
            let part = area.pages().intersect(pages);
            match advice {
                _ if area.flags.contains(AreaFlags::SPECIAL) => return Err(AdviceError::Unfit),
                Advice::DontNeed => self.zap(area, part, &mut gather),
                Advice::Free if !is_private_anon(area) => return Err(AdviceError::Unfit),
                Advice::Free => self.give_up(part, &mut gather),
                Advice::Cold => self.page_out_range(area, part, false),
                _ => self.page_out_range(area, part, true),
            }
        }
        gather.finish();
        if areas.covers(pages) { Ok(()) } else { Err(AdviceError::NotMapped) }
    }

    /// Marks the pages clean and their content as not needed.
    fn give_up(&self, pages: PageRange, gather: &mut TlbGather<'_, M>) {
        let mut left = pages;
        while let Some((part, mapped)) = self.next_mapped(left) {
            match mapped {
                Mapped::Table(table) => {
                    left.start = self.give_up_in_table(table, part, gather);
                    continue;
                }
                Mapped::Block(slot) => {
                    if !self.give_up_block(slot, part, gather) {
                        self.split_block(slot, part.start);
                        continue;
                    }
                }
            }
            left.start = part.end;
            self.machine().cond_resched();
        }
    }

    /// Gives a whole block up, or leaves it to others that use it; `false` if it must be split.
    fn give_up_block(&self, slot: PteSlot, part: PageRange, gather: &mut TlbGather<'_, M>) -> bool {
        let Some(mut block) = self.lock_block(slot) else { return false };
        // Zeroes need not be given up, nor taken apart for it.
        let Some(run) = self.run_of_block(part.start, block.pte()) else { return true };
        if part.nr_pages() != Level::L2.span_pages() {
            return false;
        }
        if self.may_give_up(&run) {
            let (old, new) = block.update(|pte| pte.clean().old());
            gather.note_block(part, old, new);
            mark_lazy_free(run.folio);
        }
        gather.unlock_block(block);
        true
    }

    /// Gives pages up and returns where it stopped: at a folio that lies in `pages` in part only, which
    /// it has split, or behind one that cannot be split.
    fn give_up_in_table(&self, table: Pfn, pages: PageRange, gather: &mut TlbGather<'_, M>) -> Vpn {
        let mut slots = SlotDrops::new(self.system());
        let mut lock = self.lock_leaf_table(table);
        self.unfold_edges(&mut lock, pages);
        let (page, partial) = self.give_up_entries(&mut lock, pages, gather, &mut slots);
        gather.unlock(lock);
        slots.finish();
        let Some((folio, nr)) = partial else { return page };
        if self.system().try_split(folio) { page } else { page.add(nr.into()) }
    }

    fn give_up_entries(
        &self,
        lock: &mut PageTableLock<'_, M>,
        pages: PageRange,
        gather: &mut TlbGather<'_, M>,
        slots: &mut SlotDrops<'_, M>,
    ) -> (Vpn, Option<(FolioRef<'_, M>, u32)>) {
        let mut page = pages.start;
        while page < pages.end {
            let mut nr = 1;
            let raw = lock.load(page);
            match Entry::decode(raw) {
                Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                    nr = lock.swap_run_len(page, raw, (pages.end.get() - page.get()) as u32);
                    lock.empty_swap_run(page, nr);
                    self.gauges().add_swap(-i64::from(nr));
                    slots.add(entry, nr);
                }
                Entry::Present(pte) => {
                    let most = (pages.end.get() - page.get()) as u32;
                    if let Some(run) = self.run_at(lock, page, pte, most) {
                        nr = run.nr;
                        if self.is_alone_with_part(&run) {
                            return (page, Some((self.system().get_folio(run.id), nr)));
                        }
                        self.give_up_run(&run, lock, gather);
                    }
                }
                _ => {}
            }
            page = page.add(nr.into());
        }
        (page, None)
    }

    fn give_up_run(
        &self,
        run: &Run<'_>,
        lock: &mut PageTableLock<'_, M>,
        gather: &mut TlbGather<'_, M>,
    ) {
        if self.may_give_up(run) {
            let old = lock.update_run(run.page, run.nr, |pte| pte.clean().old());
            gather.note_run(run.pages(), old.raw(), old.clean().old().raw());
            mark_lazy_free(run.folio);
        }
    }

    /// Tells whether the content of a run's folio is this program's to give up: all of its pages are
    /// in the run, no swap slot keeps the content, and nobody else maps or holds it.
    fn may_give_up(&self, run: &Run<'_>) -> bool {
        run.is_whole()
            && !run.pte.is_on_device()
            && run.folio.swap_entry().is_none()
            && self.system().is_mapped_only_by(run.folio, self.id())
            && run.folio.has_no_other_reference(0)
    }

    /// Faults every page in, as a load or a store by user code would.
    ///
    /// # Errors
    ///
    /// The first fault that cannot be resolved, with its page.
    pub fn populate(&self, pages: PageRange, access: Access) -> Result<(), (Vpn, FaultError)> {
        for page in pages.pages() {
            let fault =
                MemFault { addr: page.base(), access, cause: FaultCause::Translation, esr: 0 };
            self.fault(&fault).map_err(|why| (page, why))?;
            self.machine().cond_resched();
        }
        Ok(())
    }
}

fn mark_lazy_free(folio: &Folio) {
    folio.clear(FolioFlags::DIRTY | FolioFlags::REFERENCED);
    folio.set(FolioFlags::LAZYFREE);
}

fn is_private_anon<M: Machine>(area: &Area<M>) -> bool {
    area.is_private() && matches!(area.backing, Backing::Anon)
}
