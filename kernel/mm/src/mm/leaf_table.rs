// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reaches the entries of one level-3 table: one by one, and in runs.
//!
//! A *run* is what maps neighbouring pages of one folio with the same rights. Every operation that
//! can takes a run at a time. Sixteen entries of an aligned run carry the contiguous bit, so that a
//! TLB may hold them as one; they are then changed together or unfolded before
//! ([`Mm::unfold`](super::Mm::unfold)), because an entry that disagrees with its neighbours
//! must not be met by a walk (Arm ARM D8.7.1).

use core::ops::Range;

use base::sync::stop_point;
use base::{Order, Vpn};
use hal::{Machine, PteCell, PteMem, PteTable};
use pgtable::{ENTRIES_PER_TABLE, Entry, Pte, index_of};

use super::moved_tables::origin_of;
use crate::frame::word::TableLock;
use crate::rmap::base_of;

type CellOf<'m, M> = <<M as PteMem>::Table<'m> as PteTable>::Cell;

/// Shows that a table page is locked, and reaches its entries.
#[must_use = "the table is unlocked as soon as the guard is dropped"]
pub(crate) struct PageTableLock<'m, M: Machine> {
    pub(super) entries: M::Table<'m>,
    pub(super) lock: TableLock<'m>,
    /// The lab switch of that name.
    pub(super) reads_then_clears: bool,
}

impl<'m, M: Machine> PageTableLock<'m, M> {
    /// Returns where the reverse map has a folio whose page `index` this table maps at `page`: where
    /// that would be if the table had never moved (`moved_tables.rs`).
    #[inline(always)]
    pub(crate) fn place(&self, page: Vpn, index: u32) -> Vpn {
        base_of(origin_of(page, self.lock.moved()), index)
    }

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

    /// Returns the last-level entry of `page` if it is present.
    #[inline]
    pub(crate) fn present(&self, page: Vpn) -> Option<Pte> {
        match self.entry(page) {
            Entry::Present(pte) => Some(pte),
            _ => None,
        }
    }

    /// Replaces the last-level entry of `page` and returns the old one with all access and dirty
    /// bits that hardware set until then. What the TLBs need is the caller's to decide: use
    /// [`TlbGather::replace`] unless the old entry cannot be in one.
    #[inline]
    pub(crate) fn exchange(&mut self, page: Vpn, new: u64) -> u64 {
        self.exchange_at(index_of(page), new)
    }

    #[inline(always)]
    pub(super) fn exchange_at(&mut self, index: usize, new: u64) -> u64 {
        let old = exchange(self.entries.cell(index), new, self.reads_then_clears);
        self.lock.add_live((new != 0) as i32 - (old != 0) as i32);
        old
    }

    /// Stores the last-level entry of `page`, which is empty.
    #[inline(always)]
    pub(crate) fn fill(&mut self, page: Vpn, new: u64) {
        debug_assert!(self.load(page) == 0 && new != 0, "{page:?}: filled while in use");
        self.entries.store(index_of(page), new);
        self.lock.add_live(1);
    }

    /// Returns how far the table has moved, see [`TableLock::moved`].
    pub(crate) fn moved(&self) -> u32 {
        self.lock.moved()
    }

    /// Returns how many entries of the table are in use.
    pub(crate) fn nr_live(&self) -> u32 {
        self.lock.nr_live()
    }

    /// Reaches `nr` neighbouring entries from `page` on.
    #[inline(always)]
    pub(super) fn cells(&self, page: Vpn, nr: u32) -> impl Iterator<Item = CellOf<'m, M>> {
        let index = index_of(page);
        self.entries.cells(index..index + nr as usize)
    }

    /// Returns how many entries from `page` on, `most` at most, map frames that follow each other,
    /// with the rights of `first`, the first of them. They are of one folio if `most` does not
    /// reach past it.
    #[inline]
    pub(crate) fn run_len(&self, page: Vpn, first: Pte, most: u32) -> u32 {
        let most = most.min(ENTRIES_PER_TABLE as u32 - index_of(page) as u32);
        let mut next = first;
        for (nr, cell) in (1..).zip(self.cells(page, most).skip(1)) {
            next = next.advanced(1);
            if !next.is_like(Pte::from_raw(cell.load())) {
                return nr;
            }
        }
        most
    }

    /// Replaces `nr` entries from `page` on by what `new` says of each, and returns the first old one
    /// with the access and dirty state of all. They are a run (see [`PageTableLock::run_len`]).
    #[inline]
    pub(crate) fn replace_run(&mut self, page: Vpn, nr: u32, new: impl Fn(u32) -> u64) -> Pte {
        let first = self.exchange_at(index_of(page), new(0));
        if nr == 1 {
            return Pte::from_raw(first);
        }
        let reads_then_clears = self.reads_then_clears;
        let (mut any, mut all) = (first, first);
        for (n, cell) in (1..).zip(self.cells(page.add(1), nr - 1)) {
            let old = exchange(cell, new(n), reads_then_clears);
            debug_assert!(old != 0 && (new(n) != 0) == (new(0) != 0), "{page:?}: no run");
            (any, all) = (any | old, all & old);
        }
        if new(0) == 0 {
            self.lock.add_live(1 - nr as i32);
        }
        Pte::from_raw(first).used_as(any, all)
    }

    /// Changes the entry of `page`, last seen as `seen`, keeping what hardware does meanwhile, and returns
    /// the new one.
    #[inline(always)]
    pub(crate) fn update_one(&mut self, page: Vpn, seen: Pte, change: impl Fn(Pte) -> Pte) -> Pte {
        let change = |raw| change(Pte::from_raw(raw)).raw();
        Pte::from_raw(update_from(self.entries.cell(index_of(page)), seen.raw(), change).1)
    }

    /// Changes each of a run of `nr` entries from `page` on, keeping what hardware does meanwhile, and
    /// returns the first old one with the access and dirty state of all.
    #[inline]
    pub(crate) fn update_run(&mut self, page: Vpn, nr: u32, change: impl Fn(Pte) -> Pte) -> Pte {
        let change = |raw| change(Pte::from_raw(raw)).raw();
        let mut cells = self.cells(page, nr);
        let first = update(cells.next().expect("a run is not empty"), change);
        let (mut any, mut all) = (first, first);
        for cell in cells {
            let old = update(cell, change);
            (any, all) = (any | old, all & old);
        }
        Pte::from_raw(first).used_as(any, all)
    }

    /// Changes the entries from `page` on, `most` at most, that have the rights of `first`, the one of
    /// `page` as just loaded, whatever frames they map; `change` does not look at the frame. Returns
    /// how many these are, and the first old one with the access and dirty state of all.
    #[inline(always)]
    pub(crate) fn update_alike(
        &mut self,
        page: Vpn,
        first: Pte,
        most: u32,
        change: impl Fn(Pte) -> Pte,
    ) -> (u32, Pte) {
        let most = most.min((ENTRIES_PER_TABLE - index_of(page)) as u32);
        let change = |raw| change(Pte::from_raw(raw)).raw();
        let mut cells = self.cells(page, most);
        let (old, new) = update_from(cells.next().expect("`page` is one"), first.raw(), change);
        let (mut nr, mut any, mut all) = (1, old, old);
        for cell in cells {
            let raw = cell.load();
            let pte = Pte::from_raw(raw);
            // Mostly they differ in nothing but the frame: so do the new ones.
            let is_same = pte.differs_in_frame_only(Pte::from_raw(old));
            if !(is_same && cell.compare_exchange(raw, raw ^ old ^ new).is_ok()) {
                if !pte.has_rights_of(first) {
                    break;
                }
                let (old, _) = update_from(cell, raw, change);
                (any, all) = (any | old, all & old);
            }
            nr += 1;
        }
        (nr, Pte::from_raw(old).used_as(any, all))
    }

    /// Stores the `nr` entries from `page` on, which are empty or not present: `first` and those
    /// after it. Sixteen of them that are aligned go in as one run.
    pub(crate) fn fill_run(&mut self, page: Vpn, nr: u32, first: Pte) {
        let alone = if first.is_frozen() { first } else { first.alone() };
        if nr < Order::CONT.nr_pages() {
            return self.fill_like(page, 0..nr, alone);
        }
        let run = whole_runs(page, nr, first);
        self.fill_like(page, 0..run.start, alone);
        self.fill_like(page, run.clone(), alone.contiguous());
        self.fill_like(page, run.end..nr, alone);
    }

    /// Stores the entries of `pages` after `page`: `first`, which maps `page`, advanced.
    #[inline(always)]
    fn fill_like(&mut self, page: Vpn, pages: Range<u32>, first: Pte) {
        let mut pte = first.advanced(pages.start);
        let mut nr_new = 0;
        for cell in self.cells(page.add(pages.start.into()), pages.len() as u32) {
            let old = cell.load();
            debug_assert!(!Pte::is_present(old), "{page:?}: filled while present");
            nr_new += (old == 0) as i32;
            cell.store(pte.raw());
            pte = pte.advanced(1);
        }
        self.lock.add_live(nr_new);
    }

    /// Tells whether all `nr` entries from `page` on are empty.
    #[inline(always)]
    pub(crate) fn is_empty_run(&self, page: Vpn, nr: u32) -> bool {
        self.cells(page, nr).all(|cell| cell.load() == 0)
    }
}

#[inline(always)]
fn exchange(cell: impl PteCell, new: u64, reads_then_clears: bool) -> u64 {
    if reads_then_clears {
        let old = cell.load();
        stop_point("entry read, not cleared");
        cell.store(new);
        return old;
    }
    cell.exchange(new)
}

/// Changes an entry by `change`, keeping what hardware does meanwhile, and returns the old one.
#[inline(always)]
fn update(cell: impl PteCell, change: impl Fn(u64) -> u64) -> u64 {
    update_from(cell, cell.load(), change).0
}

/// Like [`update`], for who has just loaded the entry: `old`. Returns (old, new).
#[inline(always)]
fn update_from(cell: impl PteCell, mut old: u64, change: impl Fn(u64) -> u64) -> (u64, u64) {
    let mut new = change(old);
    loop {
        debug_assert_eq!(new != 0, old != 0, "update keeps an entry in use or empty");
        match cell.compare_exchange(old, new) {
            Ok(()) => return (old, new),
            Err(now) => (old, new) = (now, change(now)),
        }
    }
}

/// Returns which of the `nr` pages from `page` on, of which `first` maps the first, are in whole runs
/// of 16, aligned in memory as well: those that carry the contiguous bit.
#[inline(always)]
fn whole_runs(page: Vpn, nr: u32, first: Pte) -> Range<u32> {
    let run = Order::CONT.nr_pages();
    let (skew, frame) = (page.get() as u32 % run, first.pfn().get() % run);
    let (start, end) = ((run - skew) % run, (skew + nr) / run * run);
    let may_be_valid = !first.is_frozen() && !first.is_device_exclusive();
    match skew == frame && end > skew + start && may_be_valid {
        true => start..end - skew,
        false => 0..0,
    }
}
