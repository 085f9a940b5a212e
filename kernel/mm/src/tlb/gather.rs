// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file collects what one operation takes away, invalidates it in ranges, and frees it then.

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::{Machine, TraceKind};
use pgtable::{Change, Level, Pte, change_of};

use super::generation::Stamp;
use super::invalidate::Due;
use super::policy::TlbPolicy;
use crate::events::MmEvent;
use crate::folio::{FolioId, FolioRef};
use crate::lab::{Fault, TlbFault};
use crate::mm::{BlockLock, Mm, PageTableLock};

/// Folios a gather holds: as many as one table page can map.
const FOLIOS: usize = 512;
const TABLES: usize = 16;
const NONE: PageRange = PageRange::of_len(Vpn::new(0), 0);

/// When invalidations must be complete: rule 3 of the folder's documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Complete {
    /// Before a table is unlocked.
    AtUnlock,
    /// At the end: the mmap lock is held alone until then.
    AtFinish,
    /// Nothing is due: the address space is dead and its ASID invalidated.
    Already,
}

/// Translations taken away by one operation, and the folios and tables to free after them.
#[must_use = "nothing is invalidated or freed before finish()"]
pub(crate) struct TlbGather<'m, M: Machine> {
    mm: &'m Mm<M>,
    when: Complete,
    /// What is to be forgotten, of which pages; not issued yet. No pages: nothing.
    due: Due,
    range: PageRange,
    /// The last invalidation that was started: its completion is that of all before it.
    started: Option<Stamp>,
    /// Of a dead address space: its last invalidation, which nobody waits for.
    dead: Option<Stamp>,
    folios: ArrayVec<FolioId, FOLIOS>,
    tables: ArrayVec<Pfn, TABLES>,
}

impl<'m, M: Machine> TlbGather<'m, M> {
    /// Begins an operation after which somebody may rely on its effect as soon as a table is
    /// unlocked: it holds the mmap lock shared, or moves mappings.
    pub(crate) fn complete_at_unlock(mm: &'m Mm<M>) -> Self {
        Self::new(mm, Complete::AtUnlock, None)
    }

    /// Begins an operation that holds the mmap lock alone until it is finished.
    pub(crate) fn complete_at_finish(mm: &'m Mm<M>) -> Self {
        Self::new(mm, Complete::AtFinish, None)
    }

    /// Begins the teardown of an address space of which everything has been invalidated. `dead` is
    /// what that waits for, if it is not complete.
    pub(crate) fn for_teardown(mm: &'m Mm<M>, dead: Option<Stamp>) -> Self {
        Self::new(mm, Complete::Already, dead)
    }

    fn new(mm: &'m Mm<M>, when: Complete, dead: Option<Stamp>) -> Self {
        let (folios, tables) = (ArrayVec::new(), ArrayVec::new());
        let (due, range) = (Due::Pages, NONE);
        Self { mm, when, due, range, started: None, dead, folios, tables }
    }

    /// Replaces the entry of `page` by `new`, notes what is due, and returns the old entry.
    ///
    /// # Panics
    ///
    /// When the change needs break-before-make: [`Mm::replace_mapping`] does that.
    #[inline]
    pub(crate) fn replace(&mut self, table: &mut PageTableLock<'_, M>, page: Vpn, new: u64) -> u64 {
        let old = table.exchange(page, new);
        self.note_run(PageRange::of_len(page, 1), old, new);
        old
    }

    /// Replaces a run of `nr` entries from `page` on by what `new` says of each, notes what is due,
    /// and returns the first old entry with the access and dirty state of all.
    #[inline]
    pub(crate) fn replace_run(
        &mut self,
        table: &mut PageTableLock<'_, M>,
        page: Vpn,
        nr: u32,
        new: impl Fn(u32) -> u64,
    ) -> Pte {
        let old = table.replace_run(page, nr, &new);
        self.note_run(PageRange::of_len(page, nr.into()), old.raw(), new(0));
        old
    }

    /// Notes that the entries of a run changed as the first of them did: from `old` to `new`; their
    /// table is locked.
    #[inline(always)]
    pub(crate) fn note_run(&mut self, pages: PageRange, old: u64, new: u64) {
        self.note_change(Due::Pages, pages, old, new);
    }

    /// Notes that a block changed from `old` to `new`; its table is locked.
    pub(crate) fn note_block(&mut self, pages: PageRange, old: Pte, new: Pte) {
        self.note_change(Due::Blocks, pages, old.raw(), new.raw());
    }

    #[inline(always)]
    fn note_change(&mut self, due: Due, pages: PageRange, old: u64, new: u64) {
        if self.when == Complete::Already {
            return;
        }
        match change_of(old, new) {
            Change::Store => {
                if Pte::from_raw(old).is_known_to_device_only() {
                    self.mm.mirrors().invalidate(pages);
                }
                self.mm.system().count(MmEvent::TlbElided, pages.nr_pages());
            }
            Change::StoreAndForgetLazily => {}
            Change::StoreThenInvalidate if self.is_unnoted(new) => {}
            Change::StoreThenInvalidate => self.add(due, pages),
            Change::BreakBeforeMake => panic!("{pages:?}: {old:#x} to {new:#x} needs a break"),
        }
    }

    /// Notes that the entries of `pages` were writable and are read-only now, the same otherwise;
    /// their table is locked.
    #[inline(always)]
    pub(crate) fn note_write_protected(&mut self, pages: PageRange) {
        self.note_protected(Due::Pages, pages);
    }

    /// The same, of a block.
    pub(crate) fn note_block_write_protected(&mut self, pages: PageRange) {
        self.note_protected(Due::Blocks, pages);
    }

    #[inline(always)]
    fn note_protected(&mut self, due: Due, pages: PageRange) {
        let is_unnoted = self.mm.system().is_weak(TlbFault::ForkedUnnoted);
        if self.when != Complete::Already && !is_unnoted {
            self.add(due, pages);
        }
    }

    /// The lab switches of these names.
    #[inline(always)]
    fn is_unnoted(&self, new: u64) -> bool {
        let fault = match Pte::is_present(new) {
            true => TlbFault::ProtectedUnnoted,
            false => TlbFault::TakenAwayUnnoted,
        };
        self.mm.system().is_weak(fault)
    }

    #[inline(always)]
    fn add(&mut self, due: Due, pages: PageRange) {
        if self.range.end == pages.start && self.due == due {
            self.range.end = pages.end;
            return;
        }
        self.add_distant(due, pages);
    }

    fn add_distant(&mut self, due: Due, pages: PageRange) {
        let range = self.range;
        // Ascending with a gap: one range over the gap is cheaper than two invalidations, as long as
        // they share a table.
        let is_near = pages.start > range.end
            && pages.end.get() - range.start.get() <= 512
            && self.due == due;
        if range.is_empty() {
            (self.due, self.range) = (due, pages);
        } else if range.covers(pages) {
            self.due = self.due.and(due);
        } else if pages.start == range.end || is_near {
            (self.due, self.range.end) = (self.due.and(due), pages.end);
        } else {
            self.issue();
            (self.due, self.range) = (due, pages);
        }
    }

    /// Takes over a reference that is put when no TLB reaches the folio any more.
    #[inline]
    pub(crate) fn defer_put(&mut self, folio: FolioRef<'_, M>) {
        self.folios.push(folio.into_raw());
    }

    /// Takes over a table page that was taken out of the tree, and all walks through it. Its entry
    /// spanned `span`. There is room for it: [`TlbGather::make_room_for_tables`].
    pub(crate) fn defer_table(&mut self, table: Pfn, span: PageRange) {
        self.tables.push(table);
        self.note_walks(span);
    }

    /// Notes that the table whose entry spanned `span` was taken out of the tree.
    pub(crate) fn note_walks(&mut self, span: PageRange) {
        if self.when == Complete::Already || self.mm.system().is_weak(TlbFault::TableUnnoted) {
            return;
        }
        let one = PageRange::of_len(span.start, 1);
        if !self.range.intersect(span).is_empty() {
            // An invalidation of any page makes the walks to it forgotten, those to the table among
            // them (Arm ARM D8.17).
            self.due = Due::Walks;
        } else if self.mm.system().tlb_policy() == TlbPolicy::Page {
            self.issue();
            (self.due, self.range) = (Due::Walks, one);
        } else if span.nr_pages() <= Level::L2.span_pages() {
            // Neighbouring tables make one range.
            self.add(Due::Walks, span);
        } else {
            self.add(Due::Walks, one);
        }
    }

    /// Frees a table page of a dead address space.
    pub(crate) fn free_dead_table(&mut self, table: Pfn) {
        match self.dead {
            None => self.mm.system().free_frame(table),
            Some(_) => {
                self.make_room_for_tables(1);
                self.defer_table(table, NONE);
            }
        }
    }

    /// Makes room for `nr` table pages more. Called with no lock of tables held: what waits for the TLBs
    /// has a lock of its own, which comes first.
    pub(crate) fn make_room_for_tables(&mut self, nr: usize) {
        if self.tables.remaining_capacity() < nr {
            self.free_some();
        }
    }

    /// Makes room for the folios of `nr_pages` pages more. Called with no table locked.
    pub(crate) fn make_room(&mut self, nr_pages: u64) {
        if self.folios.remaining_capacity() < nr_pages as usize {
            self.free_some();
        }
    }

    /// Takes a block out, notes what is due, and returns its entry.
    pub(crate) fn take_block(&mut self, block: &mut BlockLock<'_, M>, pages: PageRange) -> Pte {
        let old = block.take_out();
        self.note_block(pages, old, Pte::from_raw(0));
        old
    }

    /// Unlocks the table of a block that was replaced or taken out.
    pub(crate) fn unlock_block(&mut self, block: BlockLock<'_, M>) {
        self.before_unlock();
        drop(block);
    }

    /// Unlocks a table in which entries were replaced.
    pub(crate) fn unlock(&mut self, table: PageTableLock<'_, M>) {
        self.before_unlock();
        drop(table);
    }

    #[inline]
    fn before_unlock(&mut self) {
        if self.when == Complete::AtUnlock {
            self.issue();
            if !self.mm.system().is_weak(TlbFault::CompletedAfterUnlock) {
                self.complete();
            }
        }
    }

    /// Completes what is due while the table stays locked: the caller is about to let others rely on
    /// it (a page of a shared object whose last mapping it drops).
    pub(crate) fn settle(&mut self) {
        self.issue();
        self.complete();
    }

    /// Starts the invalidation that is due.
    fn issue(&mut self) {
        let pages = core::mem::replace(&mut self.range, NONE);
        if !pages.is_empty()
            && let Some(stamp) = self.mm.start_invalidation(self.due, pages)
        {
            self.started = Some(stamp);
        }
    }

    /// Waits for what is issued, by this gather or by a reclaim batch that took away entries which
    /// this operation found gone.
    fn complete(&mut self) {
        let system = self.mm.system();
        if self.when != Complete::Already {
            let cpu = self.mm.machine().cpu();
            for stamp in self.mm.batches().open(system.tlb().generations()) {
                if stamp.cpu() == cpu {
                    system.complete_own_tlbis();
                } else if !system.is_weak(TlbFault::RemoteDsbOnly) {
                    // No barrier of this CPU completes what another has started: it is done again.
                    self.started = self.mm.start_whole_invalidation();
                    break;
                }
            }
        }
        if let Some(stamp) = self.started.take()
            && !system.is_weak(TlbFault::NeverCompleted)
        {
            system.complete_tlbi(stamp);
        }
    }

    fn complete_and_free(&mut self) {
        let taken = || [self.folios.len() as u64, self.tables.len() as u64];
        let _span = self.mm.machine().span(TraceKind::TlbGather, taken);
        if !self.mm.system().commits(Fault::PutBeforeInvalidation) {
            self.settle();
        }
        self.mm.system().free_forgotten(&mut self.folios, &self.tables);
        self.folios.clear();
        self.tables.clear();
        self.settle();
    }

    /// Makes room for what is yet to come.
    fn free_some(&mut self) {
        if self.mm.system().tlb_policy() != TlbPolicy::Generation {
            return self.complete_and_free();
        }
        self.issue();
        match self.started.or(self.dead) {
            Some(stamp) => self.mm.system().free_after(stamp, &mut self.folios, &self.tables),
            None => self.mm.system().free_forgotten(&mut self.folios, &self.tables),
        }
        self.folios.clear();
        self.tables.clear();
    }

    /// Tells whether everything taken away is already forgotten by the TLBs: a dead address space that
    /// nobody waits for any more.
    #[inline(always)]
    pub(crate) fn has_completed(&self) -> bool {
        self.when == Complete::Already && self.dead.is_none()
    }

    /// Completes every invalidation and frees what was taken over. Called with no table locked.
    pub(crate) fn finish(&mut self) {
        match self.dead {
            Some(_) => self.free_some(),
            None => self.complete_and_free(),
        }
        self.mm.system().free_waiting();
    }
}

impl<M: Machine> Drop for TlbGather<'_, M> {
    fn drop(&mut self) {
        // An early return must not leak frames or leave stale translations.
        self.finish();
    }
}
