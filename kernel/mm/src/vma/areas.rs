// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the areas of one address space, sorted and disjoint.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::{PageRange, Vpn};
use hal::Machine;

use super::area::{Area, AreaFlags};

/// Lowest page a mapping may be placed at when the program leaves the choice: Linux's
/// `vm.mmap_min_addr`, 64 KiB.
pub const MMAP_MIN: Vpn = Vpn::new(16);
/// Pages kept free below the stack: Linux's `stack_guard_gap`, 256 pages.
pub const STACK_GUARD_PAGES: u64 = 256;

/// The areas of one address space: what the mmap lock guards.
pub struct Areas<M: Machine> {
    /// By first page.
    tree: BTreeMap<Vpn, Area<M>>,
    nr_pages: u64,
    /// Mappings without a wish are placed below this page, downwards.
    pub(super) mmap_top: Vpn,
    /// First byte of the heap and its present end.
    pub(super) brk: super::brk::Break,
    /// How far the stack may grow, in pages.
    pub(crate) stack_limit: u64,
}

impl<M: Machine> Areas<M> {
    pub(crate) fn new() -> Self {
        Self {
            tree: BTreeMap::new(),
            nr_pages: 0,
            mmap_top: Vpn::END,
            brk: Default::default(),
            stack_limit: (8 << 20) >> base::PAGE_SHIFT,
        }
    }

    /// Returns the pages of all areas.
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Returns the number of areas.
    pub fn nr_areas(&self) -> usize {
        self.tree.len()
    }

    /// Iterates over the areas, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &Area<M>> {
        self.tree.values()
    }

    /// Returns the area that `page` is in.
    #[inline]
    pub fn find(&self, page: Vpn) -> Option<&Area<M>> {
        let (_, area) = self.tree.range(..=page).next_back()?;
        area.pages().contains(page).then_some(area)
    }

    /// Returns the first area that ends above `page`.
    pub fn find_at_or_above(&self, page: Vpn) -> Option<&Area<M>> {
        self.find(page).or_else(|| self.tree.range(page..).next().map(|(_, area)| area))
    }

    /// Iterates over the areas that have a page in `pages`, lowest first.
    pub fn overlapping(&self, pages: PageRange) -> impl Iterator<Item = &Area<M>> {
        let first = self.find(pages.start).map_or(pages.start, |area| area.pages().start);
        let end = pages.end.max(first);
        self.tree.range(first..end).map(|(_, area)| area)
    }

    /// Tells whether every page of `pages` is in some area.
    pub fn covers(&self, pages: PageRange) -> bool {
        let mut reached = pages.start;
        for area in self.overlapping(pages) {
            if area.pages().start > reached {
                return false;
            }
            reached = area.pages().end;
        }
        reached >= pages.end
    }

    /// Adds an area where none is, and merges it with its neighbours where they are alike.
    pub(super) fn insert(&mut self, mut area: Area<M>) {
        debug_assert!(self.overlapping(area.pages()).next().is_none(), "areas overlap");
        self.nr_pages += area.pages().nr_pages();
        if let Some((_, next)) = self.tree.range(area.pages().end..).next()
            && area.can_merge_with(next)
        {
            let next = self.tree.remove(&area.pages().end).expect("found above");
            area.resize(PageRange::new(area.pages().start, next.pages().end));
        }
        if let Some((_, previous)) = self.tree.range_mut(..area.pages().start).next_back()
            && previous.can_merge_with(&area)
        {
            previous.resize(PageRange::new(previous.pages().start, area.pages().end));
            return;
        }
        self.tree.insert(area.pages().start, area);
    }

    /// Takes out the parts of areas within `pages`; what sticks out stays. Lowest first.
    pub(crate) fn take(&mut self, pages: PageRange) -> Vec<Area<M>> {
        self.split_at(pages.start);
        self.split_at(pages.end);
        let mut taken = Vec::new();
        while let Some((&start, _)) = self.tree.range(pages.start..pages.end).next() {
            taken.extend(self.tree.remove(&start));
        }
        self.nr_pages -= taken.iter().map(|area: &Area<M>| area.pages().nr_pages()).sum::<u64>();
        taken
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<Area<M>> {
        self.nr_pages = 0;
        core::mem::take(&mut self.tree).into_values().collect()
    }

    /// Makes `page` the start of an area if it is inside one.
    fn split_at(&mut self, page: Vpn) {
        let Some((_, area)) = self.tree.range_mut(..page).next_back() else { return };
        if !area.pages().contains(page) {
            return;
        }
        let upper = area.cut(PageRange::new(page, area.pages().end));
        area.resize(PageRange::new(area.pages().start, page));
        self.tree.insert(page, upper);
    }

    /// Finds room for `nr_pages` pages below `mmap_top`, as high as possible, at a multiple of
    /// `align` pages.
    pub(super) fn find_gap(&self, nr_pages: u64, align: u64) -> Option<Vpn> {
        let mut top = self.mmap_top;
        for area in self.tree.range(..self.mmap_top).rev().map(|(_, area)| area) {
            if let Some(start) = fit_below(top, nr_pages, align, area.pages().end) {
                return Some(start);
            }
            top = area.pages().start.min(top);
            if area.flags.contains(AreaFlags::GROWS_DOWN) {
                top = Vpn::new(top.get().saturating_sub(STACK_GUARD_PAGES));
            }
        }
        fit_below(top, nr_pages, align, MMAP_MIN)
    }

    /// Tells whether an area may begin at `start` and reach up to `old_start`, its former start:
    /// nothing is there, and the guard gap below stays free.
    pub(crate) fn can_grow_down(&self, start: Vpn, old_start: Vpn) -> bool {
        let below = self.tree.range(..old_start).next_back().map(|(_, area)| area.pages().end);
        below.is_none_or(|end| end.get() + STACK_GUARD_PAGES <= start.get())
            && start.get() >= MMAP_MIN.get() + STACK_GUARD_PAGES
    }

    /// Moves the start of the area at `old_start` down to `start`.
    pub(crate) fn grow_down(&mut self, old_start: Vpn, start: Vpn) {
        let mut area = self.tree.remove(&old_start).expect("the caller found the area");
        self.nr_pages += old_start.get() - start.get();
        area.resize(PageRange::new(start, area.pages().end));
        self.tree.insert(start, area);
    }
}

/// Returns the highest aligned start of `nr_pages` pages in `bottom..top`.
fn fit_below(top: Vpn, nr_pages: u64, align: u64, bottom: Vpn) -> Option<Vpn> {
    let start = Vpn::new(top.get().checked_sub(nr_pages)?).align_down(align);
    (start >= bottom.max(MMAP_MIN)).then_some(start)
}
