// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reaches the entries of one level-3 table: one by one, and in runs.
//!
//! A *run* is what maps neighbouring pages of one folio with the same rights. Every operation that
//! can takes a run at a time. Sixteen entries of an aligned run carry the contiguous bit, so that a
//! TLB may hold them as one; they are then changed together or unfolded before
//! ([`Mm::unfold`](super::Mm::unfold)), because an entry that disagrees with its neighbours
//! must not be met by a walk (Arm ARM D8.7.1).

use base::{Order, Vpn};
use hal::{Machine, PteTable};
use pgtable::{ENTRIES_PER_TABLE, Entry, Pte, index_of};

use crate::frame::word::TableLock;

/// Shows that a table page is locked, and reaches its entries.
#[must_use = "the table is unlocked as soon as the guard is dropped"]
pub(crate) struct PageTableLock<'m, M: Machine> {
    pub(super) entries: M::Table<'m>,
    pub(super) lock: TableLock<'m>,
    /// The lab switch of that name.
    pub(super) reads_then_clears: bool,
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

    /// Returns how many entries from `page` on, `most` at most, map frames that follow each other,
    /// with the rights of `first`, the first of them. They are of one folio if `most` does not
    /// reach past it.
    #[inline]
    pub(crate) fn run_len(&self, page: Vpn, first: Pte, most: u32) -> u32 {
        let index = index_of(page) as u32;
        let most = most.min(ENTRIES_PER_TABLE as u32 - index);
        let follows = |n: &u32| {
            let next = Pte::from_raw(self.entries.load((index + n) as usize));
            first.advanced(*n).is_like(next)
        };
        1 + (1..most).take_while(follows).count() as u32
    }

    /// Replaces `nr` entries from `page` on by what `new` says of each, and returns the first old one
    /// with the access and dirty state of all. They are a run (see [`PageTableLock::run_len`]).
    #[inline]
    pub(crate) fn replace_run(&mut self, page: Vpn, nr: u32, new: impl Fn(u32) -> u64) -> Pte {
        let index = index_of(page);
        let first = self.exchange_at(index, new(0));
        let (mut any, mut all) = (first, first);
        for n in 1..nr {
            let old = self.exchange_at(index + n as usize, new(n));
            (any, all) = (any | old, all & old);
        }
        Pte::from_raw(first).used_as(any, all)
    }

    /// Changes each of a run of `nr` entries from `page` on, keeping what hardware does meanwhile, and
    /// returns the first old one with the access and dirty state of all.
    #[inline]
    pub(crate) fn update_run(&mut self, page: Vpn, nr: u32, change: impl Fn(Pte) -> Pte) -> Pte {
        let change = |raw| change(Pte::from_raw(raw)).raw();
        let (first, _) = self.update(page, change);
        let (mut any, mut all) = (first, first);
        for n in 1..nr {
            let (old, _) = self.update(page.add(n.into()), change);
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
        let index = index_of(page);
        let most = most.min((ENTRIES_PER_TABLE - index) as u32);
        let change = |raw| change(Pte::from_raw(raw)).raw();
        let (old, new) = self.update_from(page, first.raw(), change);
        let (mut nr, mut any, mut all) = (1, old, old);
        while nr < most {
            let at = index + nr as usize;
            let raw = self.entries.load(at);
            let pte = Pte::from_raw(raw);
            // Mostly they differ in nothing but the frame: so do the new ones.
            let is_same = pte.differs_in_frame_only(Pte::from_raw(old));
            if !(is_same && self.entries.compare_exchange(at, raw, raw ^ old ^ new).is_ok()) {
                if !pte.has_rights_of(first) {
                    break;
                }
                let (old, _) = self.update_from(page.add(nr.into()), raw, change);
                (any, all) = (any | old, all & old);
            }
            nr += 1;
        }
        (nr, Pte::from_raw(old).used_as(any, all))
    }

    /// Stores the `nr` entries from `page` on, which are empty or not present: `first` and those
    /// after it. Sixteen of them that are aligned go in as one run.
    #[inline(always)]
    pub(crate) fn fill_run(&mut self, page: Vpn, nr: u32, first: Pte) {
        match nr {
            1 => self.store_over_absent(page, first.alone().raw()),
            _ => self.fill_long_run(page, nr, first),
        }
    }

    fn fill_long_run(&mut self, page: Vpn, nr: u32, first: Pte) {
        let is_aligned = |n: u32| n.is_multiple_of(Order::CONT.nr_pages());
        let (skew, pfn) = (page.get() as u32, first.pfn().get());
        let all_whole = is_aligned(skew) && is_aligned(pfn) && is_aligned(nr);
        if first.is_frozen() {
            // Thawed one by one.
            return (0..nr).for_each(|n| {
                self.store_over_absent(page.add(n.into()), first.advanced(n).raw());
            });
        }
        let first = if all_whole { first.contiguous() } else { first.alone() };
        for n in 0..nr {
            let mut pte = first.advanced(n);
            if !all_whole && is_in_whole_run(page, nr, n, first) {
                pte = pte.contiguous();
            }
            self.store_over_absent(page.add(n.into()), pte.raw());
        }
    }

    /// Stores an entry over one that hardware leaves alone: empty, or not present.
    #[inline(always)]
    fn store_over_absent(&mut self, page: Vpn, new: u64) {
        let old = self.load(page);
        debug_assert!(!Pte::is_present(old) && new != 0, "{page:?}: filled while present");
        self.entries.store(index_of(page), new);
        self.lock.add_live((old == 0) as i32);
    }

    /// Tells whether all `nr` entries from `page` on are empty.
    pub(crate) fn is_empty_run(&self, page: Vpn, nr: u32) -> bool {
        let index = index_of(page);
        (index..index + nr as usize).all(|index| self.entries.load(index) == 0)
    }
}

/// Tells whether the page `n` after `page` is in a run of 16, aligned in memory as well, that lies
/// within the `nr` pages from `page` on, of which `first` maps the first.
#[inline(always)]
fn is_in_whole_run(page: Vpn, nr: u32, n: u32, first: Pte) -> bool {
    let run = Order::CONT.nr_pages();
    let skew = page.get() as u32 % run;
    let start = (skew + n) / run * run;
    first.pfn().get() % run == skew && start >= skew && start + run <= skew + nr
}
