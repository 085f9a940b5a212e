// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes advice: madvise.

use base::{PageRange, Vpn};
use hal::{Access, FaultCause, Machine, MemFault};
use pgtable::{Entry, Level, NonPresent, Pte};

use super::area::{Area, AreaFlags, Backing};
use super::mmap::HEAP_BYTES;
use crate::fault::FaultError;
use crate::folio::FolioFlags;
use crate::frame::OutOfMemory;
use crate::mm::{Mm, PageTableLock};
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
        let mut page = pages.start;
        while page < pages.end {
            match self.leaf_table_or_skip(page) {
                Ok(table) => {
                    let end = Level::L2.next_entry(page).min(pages.end);
                    let mut slots = SlotDrops::new(self.system());
                    let mut lock = self.lock_leaf_table(table);
                    for page in PageRange::new(page, end).pages() {
                        self.give_up_page(&mut lock, page, gather, &mut slots);
                    }
                    gather.unlock(lock);
                    slots.finish();
                    page = end;
                    self.machine().cond_resched();
                }
                Err(next) => page = next,
            }
        }
    }

    fn give_up_page(
        &self,
        lock: &mut PageTableLock<'_, M>,
        page: Vpn,
        gather: &mut TlbGather<'_, M>,
        slots: &mut SlotDrops<'_, M>,
    ) {
        match lock.entry(page) {
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                gather.replace(lock, page, 0);
                self.gauges().add_swap(-1);
                slots.add(entry);
            }
            Entry::Present(pte) if !pte.is_special() => {
                let id = self.system().words().folio(pte.pfn());
                let folio = self.system().folio(id);
                // A page in the swap cache keeps its slot's content; one that others map, or hold,
                // is not this program's to give up.
                if folio.swap_entry().is_some()
                    || !self.system().is_mapped_only_by(self.system().folio(id), self.id())
                    || !folio.has_no_other_reference(0)
                {
                    return;
                }
                let (old, new) = lock.update(page, |raw| Pte::from_raw(raw).clean().old().raw());
                gather.note(page, old, new);
                folio.clear(FolioFlags::DIRTY | FolioFlags::REFERENCED);
                folio.set(FolioFlags::LAZYFREE);
            }
            _ => {}
        }
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

fn is_private_anon<M: Machine>(area: &Area<M>) -> bool {
    area.is_private() && matches!(area.backing, Backing::Anon)
}
