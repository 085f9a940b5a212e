// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts table pages into an address space, locks them, and takes empty ones out.

use base::sync::atomic::{AtomicU64, Ordering};
use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot, PteTable};
use pgtable::{Entry, Found, Level, TablePte, index_of};

use super::Mm;
use crate::frame::word::{FrameKind, TableLock};
use crate::frame::{AllocMode, OutOfMemory};
use crate::lab::Fault;
use crate::tlb::TlbGather;

/// Shows that a table page is locked, and reaches its entries.
#[must_use = "the table is unlocked as soon as the guard is dropped"]
pub(crate) struct PageTableLock<'m, M: Machine> {
    entries: M::Table<'m>,
    lock: TableLock<'m>,
    /// The lab switch of that name.
    reads_then_clears: bool,
}

impl<M: Machine> PageTableLock<'_, M> {
    /// Returns the raw last-level entry of `page`. Hardware may set its access and dirty bits at
    /// any time.
    #[inline]
    pub(crate) fn load(&self, page: Vpn) -> u64 {
        self.entries.load(index_of(page))
    }

    /// Returns what the last-level entry of `page` says.
    #[inline]
    pub(crate) fn entry(&self, page: Vpn) -> Entry {
        Entry::decode(self.load(page))
    }

    /// Replaces the last-level entry of `page` and returns the old one with all access and dirty
    /// bits that hardware set until then. What the TLBs need is the caller's to decide: use
    /// [`TlbGather::replace`] unless the old entry cannot be in one.
    #[inline]
    pub(crate) fn exchange(&mut self, page: Vpn, new: u64) -> u64 {
        self.exchange_at(index_of(page), new)
    }

    #[inline(always)]
    fn exchange_at(&mut self, index: usize, new: u64) -> u64 {
        let old = if self.reads_then_clears {
            let old = self.entries.load(index);
            self.entries.store(index, new);
            old
        } else {
            self.entries.exchange(index, new)
        };
        self.lock.add_live((new != 0) as i32 - (old != 0) as i32);
        old
    }

    /// Changes the last-level entry of `page` by `change`, keeping what hardware does meanwhile,
    /// and returns (old, new).
    #[inline]
    pub(crate) fn update(&mut self, page: Vpn, change: impl Fn(u64) -> u64) -> (u64, u64) {
        self.update_from(page, self.load(page), change)
    }

    /// Like [`PageTableLock::update`], for who has just loaded the entry: `old`.
    #[inline(always)]
    pub(crate) fn update_from(
        &mut self,
        page: Vpn,
        mut old: u64,
        change: impl Fn(u64) -> u64,
    ) -> (u64, u64) {
        let mut new = change(old);
        loop {
            debug_assert_eq!(new != 0, old != 0, "update keeps an entry in use or empty");
            match self.entries.compare_exchange(index_of(page), old, new) {
                Ok(()) => return (old, new),
                Err(now) => (old, new) = (now, change(now)),
            }
        }
    }

    /// Stores the last-level entry of `page`, which is empty.
    #[inline(always)]
    pub(crate) fn fill(&mut self, page: Vpn, new: u64) {
        debug_assert!(self.load(page) == 0 && new != 0, "{page:?}: filled while in use");
        self.entries.store(index_of(page), new);
        self.lock.add_live(1);
    }

    /// Returns how many entries of the table are in use.
    pub(crate) fn nr_live(&self) -> u32 {
        self.lock.nr_live()
    }
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

    fn forget(&self) {
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

    fn lock_table(&self, table: Pfn) -> PageTableLock<'_, M> {
        self.lock_leaf_table(table)
    }

    /// Returns the level-3 table that holds the entry of `page`, if there is one. The mmap lock is
    /// held.
    #[inline]
    pub(crate) fn leaf_table(&self, page: Vpn) -> Option<Pfn> {
        match pgtable::find(self.machine(), self.root, page) {
            Found::Leaf(table) => Some(table),
            Found::Hole { .. } => None,
        }
    }

    /// Returns the level-3 table of `page`, or the first page after the hole it lies in.
    pub(crate) fn leaf_table_or_skip(&self, page: Vpn) -> Result<Pfn, Vpn> {
        match pgtable::find(self.machine(), self.root, page) {
            Found::Leaf(table) => Ok(table),
            Found::Hole { level, .. } => Err(level.next_entry(page)),
        }
    }

    /// Returns the level-3 table of `page`; puts in what is missing. The mmap lock is held.
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

    fn walk_to_leaf_table(&self, page: Vpn) -> Result<Pfn, OutOfMemory> {
        loop {
            match pgtable::find(self.machine(), self.root, page) {
                Found::Leaf(table) => {
                    self.last_leaf.set(page, table);
                    return Ok(table);
                }
                Found::Hole { slot, raw, .. } => {
                    debug_assert_eq!(raw, 0, "block mappings are not made yet");
                    self.put_in_table(slot)?;
                }
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

    pub(super) fn alloc_table(&self) -> Result<Pfn, OutOfMemory> {
        let table = self.system.alloc_frame_as(FrameKind::Table, AllocMode::MayReclaim)?;
        self.machine().zero_frame(table);
        Ok(table)
    }

    /// Frees all table pages. Every area is unmapped, nobody walks the tables any more, and no
    /// reverse-map walker finds them: the last user is gone, and with it the root.
    pub(super) fn free_tables(&self) {
        self.free_tree(self.root, Level::L0);
    }

    fn free_tree(&self, table: Pfn, level: Level) {
        let (live, entries) = (self.lock_table(table).nr_live(), self.machine().table(table));
        let below = (0..512).filter_map(|index| TablePte::decode(entries.load(index)));
        for entry in below.take(live as usize) {
            match level {
                Level::L0 => self.free_tree(entry.table(), Level::L1),
                Level::L1 => self.free_tree(entry.table(), Level::L2),
                _ => {
                    debug_assert_eq!(self.lock_table(entry.table()).nr_live(), 0, "all unmapped");
                    self.system.free_frame(entry.table());
                }
            }
            self.stats.add_tables(-1);
        }
        self.system.free_frame(table);
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
        // No reverse-map walker uses a table page while this is held.
        let _alone = self.tables.write();
        for depth in (1..=lowest as usize).rev() {
            if self.lock_table(path[depth]).nr_live() != 0 {
                return;
            }
            let level = [Level::L0, Level::L1, Level::L2][depth - 1];
            self.lock_table(path[depth - 1]).exchange_at(level.index(page), 0);
            self.stats.add_tables(-1);
            let span = level.span_pages();
            gather.defer_table(path[depth], PageRange::of_len(page.align_down(span), span));
        }
    }

    /// Returns the tables on the way to `page`, the root first, down to that of level `lowest`.
    fn path_to(&self, page: Vpn, lowest: Level) -> [Pfn; 4] {
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
