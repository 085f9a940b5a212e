// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file collects the pages of a range: locks, isolates, freezes. Linux's `migrate_vma_collect()`.
//!
//! Locks are tried only: two migrations that each wait for a page of the other's would wait for ever.
//! The TLBs are told once for all of a table, and have forgotten before it is unlocked: another CPU's
//! munmap or MADV_DONTNEED that finds a frozen entry takes it for one that no TLB has, and returns.

use alloc::sync::Arc;

use base::sync::stop_point;
use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot, TraceKind};
use pgtable::{Entry, Level, Pte};

use super::source::{Kind, Source};
use super::{From, MigrateWord, Migration};
use crate::folio::{FolioFlags, FolioLock, FolioRef, Frozen};
use crate::lab::Fault;
use crate::mm::{BlockLock, Mapped, Mm, PageTableLock, Run};
use crate::tlb::TlbBatch;
use crate::vma::Backing;

/// What becomes of a run of entries.
enum Found<'s, M: Machine> {
    /// It is collected.
    Taken,
    /// It stays.
    Stays,
    /// It is part of a folio, or of one that may not move as a whole.
    ToBeSplit(FolioRef<'s, M>),
}

impl<'m, M: Machine> Migration<'m, M> {
    pub(super) fn collect(&mut self) {
        let range = || [self.first_address(), self.request.pages.nr_pages()];
        let _span = self.mm.machine().span(TraceKind::MigrateCollect, range);
        let is_anon = self.area().is_private() && matches!(self.area().backing, Backing::Anon);
        let Some(mm) = self.mm.system().mms().get(self.mm.id()) else { return };
        let nr = self.request.pages.nr_pages() as usize;
        if is_anon {
            // Where nothing is found, there is a hole.
            self.src[..nr].fill(MigrateWord::MIGRATE);
        }
        let mut tlbs = TlbBatch::new(self.mm.system());
        let mut left = self.request.pages;
        while let Some((part, mapped)) = self.mm.next_mapped(left) {
            left.start = match mapped {
                Mapped::Table(table) => self.collect_table(&mm, table, part, &mut tlbs),
                Mapped::Block(slot) => self.collect_block(&mm, slot, part),
            };
            self.mm.machine().cond_resched();
        }
        tlbs.complete();
        self.add_holes();
    }

    /// Makes sources of the holes, and puts all in the order of their words.
    fn add_holes(&mut self) {
        let nr = self.request.pages.nr_pages() as usize;
        let holes = (0..nr).filter(|index| self.src[*index] == MigrateWord::MIGRATE);
        self.sources.extend(holes.map(|index| Source::new(index, Kind::Hole)));
        self.sources.sort_unstable_by_key(|source| source.index);
    }

    fn stay(&mut self, page: Vpn, nr: u32) {
        let index = self.index(page);
        self.src[index..index + nr as usize].fill(MigrateWord::NONE);
    }

    /// Collects from one table, up to a folio that had to be split. Returns where to go on.
    fn collect_table(
        &mut self,
        mm: &Arc<Mm<M>>,
        table: Pfn,
        part: PageRange,
        tlbs: &mut TlbBatch<'m, M>,
    ) -> Vpn {
        let this = self.mm;
        let mut lock = this.lock_leaf_table(table);
        this.unfold_edges(&mut lock, part);
        let mut page = part.start;
        let mut to_split = None;
        while page < part.end {
            let most = (part.end.get() - page.get()) as u32;
            let mut nr = 1;
            match lock.entry(page) {
                Entry::Empty => {}
                Entry::Present(pte) => {
                    // The page of zeroes is as good as a hole.
                    if let Some(run) = this.run_at(&lock, page, pte, most) {
                        nr = run.nr;
                        match self.collect_run(&run, mm, &mut lock, tlbs) {
                            Found::Taken => {}
                            Found::Stays => self.stay(page, nr),
                            Found::ToBeSplit(folio) => {
                                to_split = Some((folio, nr));
                                break;
                            }
                        }
                    }
                }
                Entry::NonPresent(_) | Entry::Corrupt(_) => self.stay(page, 1),
            }
            page = page.add(nr.into());
        }
        self.unlock(lock, tlbs, to_split.is_some());
        let Some((folio, nr)) = to_split else { return page };
        stop_point("unlocked for a split");
        if this.system().try_split(folio) {
            return page;
        }
        self.stay(page, nr);
        page.add(nr.into())
    }

    /// Completes what is due and unlocks the table; two lab switches do it the other way round.
    fn unlock(&self, lock: PageTableLock<'_, M>, tlbs: &mut TlbBatch<'m, M>, is_for_split: bool) {
        let system = self.mm.system();
        if is_for_split && system.commits(Fault::UnlockedForSplit) {
            return drop(lock);
        }
        if system.commits(Fault::FlushAfterUnlock) {
            drop(lock);
            stop_point("unlocked before the flush");
            return tlbs.complete();
        }
        tlbs.complete();
        drop(lock);
    }

    fn collect_run(
        &mut self,
        run: &Run<'m>,
        mm: &Arc<Mm<M>>,
        lock: &mut PageTableLock<'_, M>,
        tlbs: &mut TlbBatch<'m, M>,
    ) -> Found<'m, M> {
        if !self.is_wanted(run.pte) || !run.folio.is_anon() {
            return Found::Stays;
        }
        let is_in_ram = !run.pte.is_on_device();
        let is_whole = run.is_whole() && (self.request.whole_folios || run.nr == 1);
        if is_in_ram && !is_whole {
            return Found::ToBeSplit(self.mm.system().get_folio(run.id));
        }
        let Some(folio) = self.try_take(run, is_in_ram) else { return Found::Stays };
        if !is_in_ram {
            self.push(run, Kind::Device(folio));
            return Found::Taken;
        }
        let Ok(frozen) = Frozen::begin(&folio) else { return put_back(folio) };
        let place = (run.page, run.index, run.nr);
        match frozen.freeze_run(&folio, mm, lock, place, tlbs) {
            Ok(()) => {
                self.push(run, Kind::Ram(folio, frozen));
                Found::Taken
            }
            Err(_) => {
                frozen.end_as_before(&folio);
                put_back(folio)
            }
        }
    }

    /// Tells whether an entry is of the kind that is asked for.
    fn is_wanted(&self, pte: Pte) -> bool {
        match self.request.from {
            // A device that has a page for itself keeps it, as on Linux.
            From::Ram => !pte.is_frozen() && !pte.is_device_exclusive(),
            From::Device(device) => {
                let devices = self.mm.system().device_memory();
                pte.is_on_device() && devices.device_of(pte.pfn()) == device
            }
        }
    }

    /// Locks a run's folio, and takes it off its LRU list if it is on one, unless somebody else works
    /// on it.
    fn try_take(&self, run: &Run<'m>, is_in_ram: bool) -> Option<FolioLock<'m, M>> {
        let folio = self.mm.system().get_folio(run.id).try_lock().ok()?;
        if !is_in_ram {
            return Some(folio);
        }
        let is_busy = folio.is_pinned()
            || folio.has_any(FolioFlags::WRITEBACK | FolioFlags::BAD_SLOT)
            || !folio.has(FolioFlags::UPTODATE);
        (!is_busy && self.mm.system().lru().isolate(&folio)).then_some(folio)
    }

    /// Notes a run as taken. Of a folio on a device the range may have part only; all of it moves.
    fn push(&mut self, run: &Run<'m>, kind: Kind<'m, M>) {
        let index = self.index(run.page);
        let mut word = MigrateWord::of(run.pte.pfn()).with(MigrateWord::MIGRATE);
        if run.pte.is_writable() {
            word = word.with(MigrateWord::WRITE);
        }
        self.src[index..index + run.nr as usize].fill(MigrateWord::NONE);
        if run.folio.is_large() {
            word = word.with(MigrateWord::COMPOUND);
        }
        self.src[index] = word;
        self.sources.push(Source::new(index, kind));
    }

    /// Collects a whole block, or splits it. Returns where to go on.
    fn collect_block(&mut self, mm: &Arc<Mm<M>>, slot: PteSlot, part: PageRange) -> Vpn {
        let this = self.mm;
        let is_whole = part.nr_pages() == Level::L2.span_pages() && self.request.whole_folios;
        if !is_whole || self.request.from != From::Ram {
            this.split_block(slot, part.start);
            return part.start;
        }
        let Some(block) = this.lock_block(slot) else { return part.start };
        let Some(run) = this.run_of_block(part.start, block.pte()) else {
            // Zeroes that all share: 512 holes.
            block.split(part.start);
            return part.start;
        };
        if !self.take_block(mm, &run, block) {
            self.stay(part.start, run.nr);
        }
        part.end
    }

    fn take_block(&mut self, mm: &Arc<Mm<M>>, run: &Run<'m>, block: BlockLock<'_, M>) -> bool {
        let Some(folio) = self.try_take(run, true) else { return false };
        let Ok(frozen) = Frozen::begin(&folio) else {
            let _ = put_back(folio);
            return false;
        };
        if frozen.freeze_block(&folio, mm, block, run.page).is_err() {
            frozen.end_as_before(&folio);
            let _ = put_back(folio);
            return false;
        }
        self.push(run, Kind::Ram(folio, frozen));
        true
    }
}

/// Puts a folio back on its LRU list.
fn put_back<'s, M: Machine>(folio: FolioLock<'s, M>) -> Found<'s, M> {
    let system = folio.system();
    system.lru().add_new(system, folio.id(), &folio);
    drop(folio);
    Found::Stays
}
