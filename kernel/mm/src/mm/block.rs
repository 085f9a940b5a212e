// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps 2 MiB as one block, and takes such a mapping apart.
//!
//! A block stands in a level-2 entry and is guarded by the lock of the level-2 table. With every
//! block a level-3 table is set aside, so that the block can be split at any time: what unmaps or
//! protects part of it must not fail for want of memory. A block becomes a table or nothing, or the
//! block of another folio; a table becomes a block only when all below it is collapsed, with the mmap
//! lock held alone (`thp/collapse.rs`).
//!
//! A block that is special maps the huge zero page (`thp/huge_zero.rs`), of which entries become those
//! of the small zero page.

use core::cmp::Ordering;

use base::{Order, PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot, PteTable};
use pgtable::{Level, Pte, TablePte};

use super::{Mm, PageTableLock};
use crate::events::MmEvent;
use crate::frame::OutOfMemory;
use crate::lab::TlbFault;

/// Shows that the level-2 table with a block's entry is locked, and reaches that entry.
#[must_use = "the table is unlocked as soon as the guard is dropped"]
pub(crate) struct BlockLock<'m, M: Machine> {
    mm: &'m Mm<M>,
    table: PageTableLock<'m, M>,
    index: usize,
}

impl<M: Machine> BlockLock<'_, M> {
    /// Returns the entry, as one that maps the block's first page.
    pub(crate) fn pte(&self) -> Pte {
        let raw = self.table.entries.load(self.index);
        Pte::of_block(raw).expect("a locked block stays one until it is taken out")
    }

    /// Changes the entry by `change`, keeping what hardware does meanwhile, and returns (old, new).
    pub(crate) fn update(&mut self, change: impl Fn(Pte) -> Pte) -> (Pte, Pte) {
        loop {
            let old = self.pte();
            let new = change(old);
            let done = self.table.entries.compare_exchange(self.index, old.block(), new.block());
            if done.is_ok() {
                return (old, new);
            }
        }
    }

    /// Takes the block out and returns its entry with all that hardware has set in it. The table set
    /// aside for it is freed: nothing has ever led to it. What the TLBs need is the caller's to see
    /// to.
    pub(crate) fn take_out(&mut self) -> Pte {
        let old = self.table.exchange_at(self.index, 0);
        let spare = self.table.lock.take_spare(self.mm.system().words());
        self.mm.system().free_frame(spare);
        self.mm.gauges().add_tables(-1);
        let old = Pte::of_block(old).expect("a locked block stays one until it is taken out");
        self.mm.count_block(old, -1);
        old
    }
}

/// A zeroed table page for a block that is about to be mapped, freed unless it is.
pub(crate) struct SpareTable<'m, M: Machine> {
    mm: &'m Mm<M>,
    table: Option<Pfn>,
}

impl<'m, M: Machine> SpareTable<'m, M> {
    /// Allocates one.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no frame for it.
    pub(crate) fn new(mm: &'m Mm<M>) -> Result<Self, OutOfMemory> {
        Ok(Self { mm, table: Some(mm.alloc_table()?) })
    }

    /// Takes over a table that is in no tree any more and has no entry in use.
    pub(crate) fn of(mm: &'m Mm<M>, table: Pfn) -> Self {
        Self { mm, table: Some(table) }
    }

    fn take(mut self) -> Pfn {
        self.table.take().expect("taken once")
    }
}

impl<M: Machine> Drop for SpareTable<'_, M> {
    fn drop(&mut self) {
        if let Some(table) = self.table {
            self.mm.system().free_frame(table);
        }
    }
}

/// Shows that the level-2 table with an empty entry is locked.
#[must_use = "the table is unlocked as soon as the guard is dropped"]
pub(crate) struct EmptyBlock<'m, M: Machine> {
    mm: &'m Mm<M>,
    table: PageTableLock<'m, M>,
    index: usize,
}

impl<M: Machine> EmptyBlock<'_, M> {
    /// Maps the 2 MiB as one block, and sets `spare` aside for it.
    pub(crate) fn fill(mut self, pte: Pte, spare: SpareTable<'_, M>) {
        self.table.lock.set_aside(self.mm.system().words(), spare.take());
        self.mm.gauges().add_tables(1);
        self.mm.count_block(pte, 1);
        self.table.exchange_at(self.index, pte.block());
    }
}

impl<M: Machine> Mm<M> {
    /// Locks the block at `slot`; `None` when there is none any more. Tables do not go away
    /// meanwhile: the mmap lock is held, or the tree of tables shared.
    pub(crate) fn lock_block(&self, slot: PteSlot) -> Option<BlockLock<'_, M>> {
        let (table, index) = (self.lock_table(slot.table), slot.index as usize);
        let is_block = Pte::of_block(table.entries.load(index)).is_some();
        is_block.then_some(BlockLock { mm: self, table, index })
    }

    /// Counts a block, `pte`, that came (1) or went (-1), unless it maps the huge zero page: its pages
    /// are no more resident than the small zero page.
    fn count_block(&self, pte: Pte, change: i64) {
        if !pte.is_special() {
            self.gauges().add_blocks(change);
        }
    }

    /// Locks the level-2 table of an entry that is to map a block.
    pub(crate) fn lock_empty_block(&self, slot: PteSlot) -> Option<EmptyBlock<'_, M>> {
        self.empty_block(self.lock_table(slot.table), slot)
    }

    /// Like [`Mm::lock_empty_block`], while a table of the parent is locked (fork).
    pub(crate) fn lock_empty_block_nested(&self, slot: PteSlot) -> Option<EmptyBlock<'_, M>> {
        self.empty_block(self.lock_leaf_table_nested(slot.table), slot)
    }

    fn empty_block<'m>(
        &'m self,
        table: PageTableLock<'m, M>,
        slot: PteSlot,
    ) -> Option<EmptyBlock<'m, M>> {
        let index = slot.index as usize;
        (table.entries.load(index) == 0).then_some(EmptyBlock { mm: self, table, index })
    }

    /// Moves the block at `from`, the first page of which is `page`, to the empty level-2 entry `to`,
    /// where that page is `to_page`, and its reverse mapping with it. `false` when the entries are not
    /// so. When this returns, no CPU uses the old place.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] as for `move_mapping`; nothing has changed then.
    pub(crate) fn move_block(
        &self,
        (from, page): (PteSlot, Vpn),
        (to, to_page): (PteSlot, Vpn),
    ) -> Result<bool, OutOfMemory> {
        let (table, mut to_table) = self.lock_both_tables(from.table, to.table);
        let mut block = BlockLock { mm: self, table, index: from.index as usize };
        let to_index = to.index as usize;
        let is_empty = to_table.as_ref().unwrap_or(&block.table).entries.load(to_index) == 0;
        let pte = Pte::of_block(block.table.entries.load(block.index));
        let Some(pte) = pte.filter(|pte| is_empty && !pte.is_frozen()) else { return Ok(false) };
        if let Some(run) = self.run_of_block(page, pte) {
            self.system().move_mapping(run.id, self.id(), run.base, to_page, run.nr)?;
        }
        // Nobody can store through the old place any more when reclaim can find the folio at the new
        // one: both entries are locked until this has completed.
        let pte = block.make_unused(page);
        block.table.exchange_at(block.index, 0);
        match &mut to_table {
            None => _ = block.table.exchange_at(to_index, pte.block()),
            Some(to_table) => {
                let words = self.system().words();
                to_table.lock.set_aside(words, block.table.lock.take_spare(words));
                to_table.exchange_at(to_index, pte.block());
            }
        }
        Ok(true)
    }

    /// Locks two tables of one level in the order of their frames; one, if they are the same.
    fn lock_both_tables(
        &self,
        one: Pfn,
        other: Pfn,
    ) -> (PageTableLock<'_, M>, Option<PageTableLock<'_, M>>) {
        match one.cmp(&other) {
            Ordering::Equal => (self.lock_table(one), None),
            Ordering::Less => {
                let one = self.lock_table(one);
                (one, Some(self.lock_leaf_table_nested(other)))
            }
            Ordering::Greater => {
                let other = self.lock_table(other);
                (self.lock_leaf_table_nested(one), Some(other))
            }
        }
    }

    /// Maps the pages of the block at `slot`, `page` among them, one by one, if it still is a block.
    /// What maps which page stays the same, so the reverse map does. When this returns, no CPU uses
    /// the block.
    pub(crate) fn split_block(&self, slot: PteSlot, page: Vpn) {
        if let Some(block) = self.lock_block(slot) {
            block.split(page);
        }
    }
}

impl<M: Machine> BlockLock<'_, M> {
    /// Maps the pages of the block, of which `page` is one, one by one.
    pub(crate) fn split(self, page: Vpn) {
        self.mm.system().count(MmEvent::ThpSplitPmd, 1);
        let nr = Order::BLOCK.nr_pages();
        let zero_page = self.mm.system().zero_page();
        self.replace_by_table(page, |table, pte| match pte.is_special() {
            false => table.fill_run(Vpn::new(0), nr, pte),
            true => {
                (0..nr).for_each(|n| table.fill(Vpn::new(n.into()), pte.with_pfn(zero_page).raw()))
            }
        });
    }

    /// Puts a block of other frames, `new`, in the place of this one, of which `page` is one page. When
    /// this returns, no CPU uses the old one.
    pub(crate) fn replace(mut self, page: Vpn, new: Pte) {
        let old = self.make_unused(page);
        self.mm.count_block(old, -1);
        self.mm.count_block(new, 1);
        self.table.exchange_at(self.index, new.block());
    }

    /// Puts the table that was set aside in the place of the block, of which `page` is one page, after
    /// `fill` has filled it, and returns the block's last entry, as does `fill`'s argument. When this
    /// returns, no CPU uses the block.
    pub(crate) fn replace_by_table(
        mut self,
        page: Vpn,
        fill: impl FnOnce(&mut PageTableLock<'_, M>, Pte),
    ) -> Pte {
        let spare = self.table.lock.take_spare(self.mm.system().words());
        let pte = self.make_unused(page);
        self.mm.count_block(pte, -1);
        let mut table = self.mm.lock_leaf_table_nested(spare);
        fill(&mut table, pte);
        drop(table);
        // Make. The release orders the table's content before it.
        self.table.exchange_at(self.index, TablePte::new(spare).raw());
        pte
    }

    /// Makes sure that no CPU uses the block, of which `page` is one page, until it is replaced, and
    /// returns its last entry: the break of break-before-make.
    fn make_unused(&mut self, page: Vpn) -> Pte {
        // Walks that look without the lock (munmap, fork, a fault) must not take the entry for a
        // hole: it stays a block, of which hardware makes no use, and they wait for the lock.
        let (pte, _) = self.update(Pte::frozen);
        // Also where it was not valid before: rule 6 of `tlb`.
        if !self.mm.system().is_weak(TlbFault::BlockSplitUnbroken) {
            let pages = Level::L2.span_pages();
            self.mm.invalidate_block_now(PageRange::of_len(page.align_down(pages), pages));
        }
        pte
    }
}
