// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts table pages into an address space, locks them, and takes empty ones out.

use base::sync::atomic::{AtomicU64, Ordering};
use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot, PteTable};
use pgtable::{Found, Level, TablePte};

use super::{Mm, PageTableLock};
use crate::frame::word::{FrameKind, TableLock};
use crate::frame::{AllocMode, OutOfMemory};
use crate::lab::{Fault, TlbFault};
use crate::tlb::TlbGather;

/// What maps the 2 MiB that one level-2 entry spans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mapped {
    /// A level-3 table.
    Table(Pfn),
    /// The level-2 entry itself. By the time it is locked it may no longer.
    Block(PteSlot),
}

/// A leaf table and the 2 MiB it maps: neighbouring faults need no walk.
///
/// Read and set with the mmap lock held in any way, forgotten with it held alone before a table is
/// taken out; so what is read is in the tree.
#[derive(Default)]
pub(super) struct LastLeaf(
    /// The region's number plus 1, and the table's frame. 0: none.
    AtomicU64,
);

impl LastLeaf {
    const fn region(page: Vpn) -> u64 {
        (page.get() >> 9) + 1
    }

    #[inline(always)]
    fn get(&self, page: Vpn) -> Option<Pfn> {
        // Acquire: whoever uses the table sees it as it was when it was put in.
        let last = self.0.load(Ordering::Acquire);
        (last >> 32 == Self::region(page)).then_some(Pfn::new(last as u32))
    }

    fn set(&self, page: Vpn, table: Pfn) {
        self.0.store(Self::region(page) << 32 | table.get() as u64, Ordering::Release);
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl<M: Machine> Mm<M> {
    /// Locks a level-3 table page of this address space.
    #[inline]
    pub(crate) fn lock_leaf_table(&self, table: Pfn) -> PageTableLock<'_, M> {
        self.reach_table(self.system.words().lock_table(table))
    }

    #[inline]
    fn reach_table<'m>(&'m self, lock: TableLock<'m>) -> PageTableLock<'m, M> {
        let reads_then_clears = self.system.commits(Fault::ReadThenClear);
        let entries = self.machine().table(lock.table());
        PageTableLock { entries, lock, reads_then_clears }
    }

    /// Locks a second table page: the child's while the parent's is locked (fork), or the higher
    /// of two by frame number (mremap).
    pub(crate) fn lock_leaf_table_nested(&self, table: Pfn) -> PageTableLock<'_, M> {
        self.reach_table(self.system.words().lock_table_nested(table))
    }

    pub(super) fn lock_table(&self, table: Pfn) -> PageTableLock<'_, M> {
        self.lock_leaf_table(table)
    }

    /// Returns what maps `page`, if anything does. The mmap lock is held.
    #[inline]
    pub(crate) fn mapped_at(&self, page: Vpn) -> Option<Mapped> {
        match pgtable::find(self.machine(), self.root, page) {
            Found::Leaf(table) => Some(Mapped::Table(table)),
            Found::Block(slot) => Some(Mapped::Block(slot)),
            Found::Hole { .. } => None,
        }
    }

    /// Returns what maps the first pages of `pages` that anything maps, and which pages these are:
    /// they share a level-2 entry. The mmap lock is held.
    pub(crate) fn next_mapped(&self, pages: PageRange) -> Option<(PageRange, Mapped)> {
        let mut page = pages.start;
        while page < pages.end {
            let mapped = match pgtable::find(self.machine(), self.root, page) {
                Found::Leaf(table) => Mapped::Table(table),
                Found::Block(slot) => Mapped::Block(slot),
                Found::Hole { level, .. } => {
                    page = level.next_entry(page);
                    continue;
                }
            };
            let end = Level::L2.next_entry(page).min(pages.end);
            return Some((PageRange::new(page, end), mapped));
        }
        None
    }

    /// Returns the level-3 table of `page`; puts in what is missing, and splits a block. The mmap
    /// lock is held.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no frame for a table page.
    #[inline]
    pub(crate) fn ensure_leaf_table(&self, page: Vpn) -> Result<Pfn, OutOfMemory> {
        match self.last_leaf.get(page) {
            Some(table) => Ok(table),
            None => self.walk_to_leaf_table(page),
        }
    }

    /// Returns the level-2 entry that `page` lies below, puts in what is missing above it. `None`:
    /// something is mapped there already. The mmap lock is held.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no frame for a table page.
    pub(crate) fn ensure_empty_block(&self, page: Vpn) -> Result<Option<PteSlot>, OutOfMemory> {
        loop {
            match pgtable::find(self.machine(), self.root, page) {
                Found::Leaf(_) | Found::Block(_) => return Ok(None),
                Found::Hole { level: Level::L2, slot } => return Ok(Some(slot)),
                Found::Hole { slot, .. } => self.put_in_table(slot)?,
            }
        }
    }

    /// Returns the leaf table of `page` if it is the one that a fault used last. The mmap lock is
    /// held.
    #[inline(always)]
    pub(crate) fn last_leaf_table(&self, page: Vpn) -> Option<Pfn> {
        self.last_leaf.get(page)
    }

    fn walk_to_leaf_table(&self, page: Vpn) -> Result<Pfn, OutOfMemory> {
        loop {
            match pgtable::find(self.machine(), self.root, page) {
                Found::Leaf(table) => {
                    self.last_leaf.set(page, table);
                    return Ok(table);
                }
                Found::Block(slot) => self.split_block(slot, page),
                Found::Hole { slot, .. } => self.put_in_table(slot)?,
            }
        }
    }

    /// Puts a fresh table page behind the empty entry `slot`, unless somebody else has.
    #[cold]
    fn put_in_table(&self, slot: PteSlot) -> Result<(), OutOfMemory> {
        let table = self.alloc_table()?;
        let mut parent = self.lock_table(slot.table);
        if self.machine().load(slot) == 0 {
            parent.exchange_at(slot.index as usize, TablePte::new(table).raw());
            self.stats.add_tables(1);
        } else {
            drop(parent);
            self.system.free_frame(table);
        }
        Ok(())
    }

    pub(crate) fn alloc_table(&self) -> Result<Pfn, OutOfMemory> {
        let table = self.system.alloc_frame_as(FrameKind::Table, AllocMode::MayReclaim)?;
        self.machine().zero_frame(table);
        Ok(table)
    }

    /// Frees all table pages. Every area is unmapped, nobody walks the tables any more, and no
    /// reverse-map walker finds them: the last user is gone, and with it the root.
    pub(super) fn free_tables(&self, gather: &mut TlbGather<'_, M>) {
        self.free_tree(self.root, Level::L0, gather);
    }

    fn free_tree(&self, table: Pfn, level: Level, gather: &mut TlbGather<'_, M>) {
        let (live, entries) = (self.lock_table(table).nr_live(), self.machine().table(table));
        let below = (0..512).filter_map(|index| TablePte::decode(entries.load(index)));
        for entry in below.take(live as usize) {
            match level {
                Level::L0 => self.free_tree(entry.table(), Level::L1, gather),
                Level::L1 => self.free_tree(entry.table(), Level::L2, gather),
                _ => {
                    debug_assert_eq!(self.lock_table(entry.table()).nr_live(), 0, "all unmapped");
                    gather.free_dead_table(entry.table());
                }
            }
            self.stats.add_tables(-1);
        }
        gather.free_dead_table(table);
    }

    /// Takes out table pages within `pages` that have no entry in use, upwards as far as tables
    /// become empty. The mmap lock is held alone, and no area is in `pages` any more.
    ///
    /// The table pages are freed by `gather`, after the TLBs have forgotten walks through them.
    pub(crate) fn take_out_empty_tables(&self, pages: PageRange, gather: &mut TlbGather<'_, M>) {
        let mut page = pages.start;
        while page < pages.end {
            // A fault or a fork that ran out of memory may have left a table with nothing below.
            let hole = match pgtable::find(self.machine(), self.root, page) {
                Found::Leaf(_) => Level::L3,
                Found::Block(_) => Level::L2,
                Found::Hole { level, .. } => level,
            };
            if hole != Level::L0 {
                self.take_out_if_empty(page, hole, gather);
            }
            let step = if hole == Level::L3 { Level::L2 } else { hole };
            page = step.next_entry(page);
        }
    }

    /// Takes out the tables on the way to `page` while they are empty, from the one of level
    /// `lowest` upwards.
    fn take_out_if_empty(&self, page: Vpn, lowest: Level, gather: &mut TlbGather<'_, M>) {
        let path = self.path_to(page, lowest);
        self.last_leaf.forget();
        gather.make_room_for_tables(lowest as usize);
        // No reverse-map walker uses a table page while this is held.
        let mut tree = self.tables.write();
        for depth in (1..=lowest as usize).rev() {
            let table = self.lock_table(path[depth]);
            if table.nr_live() != 0 {
                return;
            }
            if depth == Level::L3 as usize
                && let Some(tree) = &mut *tree
            {
                tree.moved.forget(page, table.lock.moved());
            }
            drop(table);
            let level = [Level::L0, Level::L1, Level::L2][depth - 1];
            self.lock_table(path[depth - 1]).exchange_at(level.index(page), 0);
            self.stats.add_tables(-1);
            let span = level.span_pages();
            gather.defer_table(path[depth], PageRange::of_len(page.align_down(span), span));
        }
    }

    /// Takes the leaf table of `page`, which has no entry in use, out of the tree, and returns the entry that
    /// led to it. When this returns, no CPU walks through it. The mmap lock is held alone.
    pub(crate) fn take_out_leaf_table(&self, page: Vpn, gather: &mut TlbGather<'_, M>) -> PteSlot {
        let path = self.path_to(page, Level::L3);
        let index = Level::L2.index(page);
        self.last_leaf.forget();
        let mut alone = self.tables.write();
        let mut table = self.lock_table(path[3]);
        debug_assert_eq!(table.nr_live(), 0, "all unmapped");
        if let Some(tree) = &mut *alone {
            tree.moved.forget(page, table.lock.moved());
            // It will be set aside, and knows nothing then.
            table.lock.set_moved(0);
        }
        drop(table);
        self.lock_table(path[2]).exchange_at(index, 0);
        drop(alone);
        self.stats.add_tables(-1);
        let span = Level::L2.span_pages();
        gather.note_walks(PageRange::of_len(page.align_down(span), span));
        if !self.system.is_weak(TlbFault::CollapsedUnbroken) {
            gather.settle();
        }
        PteSlot::new(path[2], index)
    }

    /// Returns the tables on the way to `page`, the root first, down to that of level `lowest`.
    pub(super) fn path_to(&self, page: Vpn, lowest: Level) -> [Pfn; 4] {
        let mut path = [self.root; 4];
        for (depth, level) in [Level::L0, Level::L1, Level::L2].into_iter().enumerate() {
            if depth == lowest as usize {
                break;
            }
            let raw = self.machine().load(PteSlot::new(path[depth], level.index(page)));
            let entry = TablePte::decode(raw).expect("the walk came this way");
            path[depth + 1] = entry.table();
        }
        path
    }
}
