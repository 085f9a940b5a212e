// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file collects what one operation takes away, invalidates it in ranges, and frees it then.

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::{Invalidate, Machine, Reach, TraceKind};
use pgtable::{Change, Pte, change_of};

use crate::events::MmEvent;
use crate::folio::{FolioId, FolioRef};
use crate::lab::Fault;
use crate::mm::{BlockLock, Mm, PageTableLock};

/// Folios a gather holds: as many as one table page can map.
const FOLIOS: usize = 512;
const TABLES: usize = 16;

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
    /// Pages whose last-level entries are to be forgotten; not issued yet.
    leaves: Option<PageRange>,
    /// Pages whose walks are to be forgotten; not issued yet.
    walks: Option<PageRange>,
    /// Something is issued and not complete.
    is_issued: bool,
    folios: ArrayVec<FolioId, FOLIOS>,
    tables: ArrayVec<Pfn, TABLES>,
}

impl<'m, M: Machine> TlbGather<'m, M> {
    /// Begins an operation after which somebody may rely on its effect as soon as a table is
    /// unlocked: it holds the mmap lock shared, or moves mappings.
    pub(crate) fn complete_at_unlock(mm: &'m Mm<M>) -> Self {
        Self::new(mm, Complete::AtUnlock)
    }

    /// Begins an operation that holds the mmap lock alone until it is finished.
    pub(crate) fn complete_at_finish(mm: &'m Mm<M>) -> Self {
        Self::new(mm, Complete::AtFinish)
    }

    /// Begins the teardown of an address space whose ASID has been invalidated.
    pub(crate) fn for_teardown(mm: &'m Mm<M>) -> Self {
        Self::new(mm, Complete::Already)
    }

    fn new(mm: &'m Mm<M>, when: Complete) -> Self {
        Self {
            mm,
            when,
            leaves: None,
            walks: None,
            is_issued: false,
            folios: ArrayVec::new(),
            tables: ArrayVec::new(),
        }
    }

    /// Replaces the entry of `page` by `new`, notes what is due, and returns the old entry.
    ///
    /// # Panics
    ///
    /// When the change needs break-before-make: [`Mm::replace_mapping`] does that.
    #[inline]
    pub(crate) fn replace(&mut self, table: &mut PageTableLock<'_, M>, page: Vpn, new: u64) -> u64 {
        let old = table.exchange(page, new);
        self.note(page, old, new);
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

    /// Notes that the entry of `page` changed from `old` to `new`; its table is locked.
    #[inline(always)]
    pub(crate) fn note(&mut self, page: Vpn, old: u64, new: u64) {
        self.note_run(PageRange::of_len(page, 1), old, new);
    }

    /// Notes that the entries of a run, or of a block, changed as the first of them did: from `old` to
    /// `new`; their table is locked.
    #[inline(always)]
    pub(crate) fn note_run(&mut self, pages: PageRange, old: u64, new: u64) {
        if self.when == Complete::Already {
            return;
        }
        if Pte::from_raw(old).is_on_device() {
            self.mm.mirrors().invalidate(pages);
        }
        match change_of(old, new) {
            Change::Store => self.mm.system().count(MmEvent::TlbElided, pages.nr_pages()),
            Change::StoreAndForgetLazily => {}
            Change::StoreThenInvalidate => self.add_leaves(pages),
            Change::BreakBeforeMake => panic!("{pages:?}: {old:#x} to {new:#x} needs a break"),
        }
    }

    /// Notes that the entries of `pages` were writable and are read-only now, the same otherwise;
    /// their table is locked.
    #[inline(always)]
    pub(crate) fn note_write_protected(&mut self, pages: PageRange) {
        if self.when != Complete::Already {
            self.add_leaves(pages);
        }
    }

    #[inline(always)]
    fn add_leaves(&mut self, pages: PageRange) {
        if let Some(range) = &mut self.leaves
            && range.end == pages.start
        {
            range.end = pages.end;
            return;
        }
        self.add_distant_leaves(pages);
    }

    fn add_distant_leaves(&mut self, pages: PageRange) {
        self.leaves = Some(match self.leaves {
            Some(range) if range.covers(pages) => range,
            // Ascending with a gap: one range over the gap is cheaper than two invalidations,
            // as long as they share a table.
            Some(range)
                if pages.start >= range.end && pages.end.get() - range.start.get() <= 512 =>
            {
                PageRange::new(range.start, pages.end)
            }
            Some(_) => {
                self.issue();
                pages
            }
            None => pages,
        });
    }

    /// Takes over a reference that is put when no TLB reaches the folio any more.
    #[inline]
    pub(crate) fn defer_put(&mut self, folio: FolioRef<'_, M>) {
        self.folios.push(folio.into_raw());
    }

    /// Takes over a table page that was taken out of the tree, and all walks through it.
    pub(crate) fn defer_table(&mut self, table: Pfn, span: PageRange) {
        if self.tables.is_full() {
            self.complete_and_free();
        }
        self.tables.push(table);
        if self.when == Complete::Already {
            return;
        }
        self.walks = Some(match self.walks {
            Some(range) if range.covers(span) => range,
            Some(range) if range.end == span.start => PageRange::new(range.start, span.end),
            Some(range) if span.covers(range) => span,
            Some(_) => {
                self.issue();
                span
            }
            None => span,
        });
    }

    /// Makes room for the folios of one more table. Called with no table locked.
    pub(crate) fn make_room(&mut self) {
        if !self.folios.is_empty() {
            self.complete_and_free();
        }
    }

    /// Takes a block out, notes what is due, and returns its entry.
    pub(crate) fn take_block(&mut self, block: &mut BlockLock<'_, M>, pages: PageRange) -> Pte {
        let old = block.take_out();
        self.note_run(pages, old.raw(), 0);
        old
    }

    /// Unlocks the table of a block that was replaced or taken out.
    pub(crate) fn unlock_block(&mut self, block: BlockLock<'_, M>) {
        self.issue();
        if self.when == Complete::AtUnlock {
            self.complete();
        }
        drop(block);
    }

    /// Unlocks a table in which entries were replaced.
    pub(crate) fn unlock(&mut self, table: PageTableLock<'_, M>) {
        self.issue();
        if self.when == Complete::AtUnlock {
            self.complete();
        }
        drop(table);
    }

    /// Completes what is due while the table stays locked: the caller is about to let others rely on
    /// it (a page of a shared object whose last mapping it drops).
    pub(crate) fn settle(&mut self) {
        self.issue();
        self.complete();
    }

    /// Starts the invalidations that are due. Leaves that a walk invalidation covers ride with it.
    fn issue(&mut self) {
        let (leaves, walks) = (self.leaves.take(), self.walks.take());
        let leaves = leaves.filter(|leaves| !walks.is_some_and(|walks| walks.covers(*leaves)));
        if leaves.is_none() && walks.is_none() {
            return;
        }
        let (machine, asid) = (self.mm.machine(), self.mm.asid());
        // The entries just cleared must be visible to walks before the TLBs are told to forget.
        machine.before();
        leaves.into_iter().chain(walks).for_each(|pages| self.mm.mirrors().invalidate(pages));
        let leaves = leaves.map(|pages| Invalidate::Leaves { asid, pages });
        let walks = walks.map(|pages| Invalidate::Walks { asid, pages });
        for what in leaves.into_iter().chain(walks) {
            self.mm.system().count_tlbi(machine.invalidate(what, Reach::Broadcast));
        }
        self.is_issued = true;
    }

    /// Waits for what is issued, by this gather or by a reclaim batch that took away entries which
    /// this operation found gone.
    fn complete(&mut self) {
        if self.when != Complete::Already && self.mm.tickets().is_open() {
            let (machine, asid) = (self.mm.machine(), self.mm.asid());
            machine.before();
            let count = machine.invalidate(Invalidate::Asid(asid), Reach::Broadcast);
            self.mm.system().count_tlbi(count);
            self.is_issued = true;
        }
        if core::mem::take(&mut self.is_issued) {
            self.mm.system().complete_tlbi();
        }
    }

    fn complete_and_free(&mut self) {
        let taken = || [self.folios.len() as u64, self.tables.len() as u64];
        let _span = self.mm.machine().span(TraceKind::TlbGather, taken);
        if !self.mm.system().commits(Fault::PutBeforeInvalidation) {
            self.settle();
        }
        let system = self.mm.system();
        self.folios.retain(|id| system.put_unmapped(*id));
        system.free_folios(&self.folios);
        self.folios.clear();
        for table in self.tables.drain(..) {
            self.mm.system().free_frame(table);
        }
        self.settle();
    }

    /// Tells whether everything taken away is already forgotten by the TLBs: a dead address space.
    #[inline(always)]
    pub(crate) fn has_completed(&self) -> bool {
        self.when == Complete::Already
    }

    /// Completes every invalidation and frees what was taken over. Called with no table locked.
    pub(crate) fn finish(&mut self) {
        self.complete_and_free();
    }
}

impl<M: Machine> Drop for TlbGather<'_, M> {
    fn drop(&mut self) {
        // An early return must not leak frames or leave stale translations.
        self.complete_and_free();
    }
}
