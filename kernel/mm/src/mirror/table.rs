// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a device's table: what it knows of each page, in leaves of neighbouring pages.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Range;

use base::{PageRange, Vpn};

use super::MirrorPage;

/// Pages of a leaf: 1 KiB of heap.
const LEAF: u64 = 64;

/// What a device knows.
pub(super) struct DeviceTable {
    /// By page number, without what is within a leaf. None is empty.
    leaves: BTreeMap<u64, Leaf>,
}

struct Leaf {
    pages: Box<[Option<MirrorPage>; LEAF as usize]>,
    nr_known: u32,
}

impl DeviceTable {
    pub fn new() -> Self {
        Self { leaves: BTreeMap::new() }
    }

    /// Makes the device know a page. The heap has room (`Mirror::reserve`).
    pub fn insert(&mut self, page: Vpn, found: MirrorPage) {
        let leaf = self.leaves.entry(page.get() / LEAF).or_insert_with(Leaf::new);
        let known = leaf.pages[(page.get() % LEAF) as usize].replace(found);
        leaf.nr_known += u32::from(known.is_none());
    }

    pub fn get(&self, page: Vpn) -> Option<&MirrorPage> {
        self.leaves.get(&(page.get() / LEAF))?.pages[(page.get() % LEAF) as usize].as_ref()
    }

    /// Makes the device forget a range.
    pub fn forget(&mut self, pages: PageRange) {
        let Some(leaves) = leaves_of(&(pages.start..pages.end)) else { return };
        let mut next = leaves.start;
        while let Some((&at, leaf)) = self.leaves.range_mut(next..leaves.end).next() {
            leaf.forget(within(at, &(pages.start..pages.end)));
            if leaf.nr_known == 0 {
                self.leaves.remove(&at);
            }
            next = at + 1;
        }
    }

    /// Iterates over the pages of a range that the device knows.
    pub fn range(&self, pages: Range<Vpn>) -> impl Iterator<Item = (Vpn, &MirrorPage)> {
        let leaves = leaves_of(&pages).unwrap_or(0..0);
        self.leaves.range(leaves).flat_map(move |(&at, leaf)| {
            let indices = within(at, &pages);
            let page = move |index: usize| Vpn::new(at * LEAF + index as u64);
            let known = leaf.pages[indices.clone()].iter();
            indices
                .zip(known)
                .filter_map(move |(index, known)| Some((page(index), known.as_ref()?)))
        })
    }
}

impl Leaf {
    fn new() -> Self {
        Self { pages: Box::new([None; LEAF as usize]), nr_known: 0 }
    }

    fn forget(&mut self, indices: Range<usize>) {
        for known in &mut self.pages[indices] {
            self.nr_known -= u32::from(known.take().is_some());
        }
    }
}

/// Returns the leaves that a range has part in, if it is not empty.
fn leaves_of(pages: &Range<Vpn>) -> Option<Range<u64>> {
    let is_some = pages.start < pages.end;
    is_some.then(|| pages.start.get() / LEAF..pages.end.get().div_ceil(LEAF))
}

/// Returns the part of a leaf that is in a range.
fn within(leaf: u64, pages: &Range<Vpn>) -> Range<usize> {
    let index = |page: Vpn| page.get().clamp(leaf * LEAF, (leaf + 1) * LEAF) - leaf * LEAF;
    index(pages.start) as usize..index(pages.end) as usize
}

#[cfg(test)]
mod tests {
    use super::super::Rights;
    use super::*;
    use alloc::vec::Vec;
    use base::Pfn;

    fn known(pfn: u32) -> MirrorPage {
        let (folio, rights) = (None, Rights::Read);
        MirrorPage { pfn: Pfn::new(pfn), folio, rights, is_on_device: false, by_block: false }
    }

    fn pages(table: &DeviceTable, start: u64, end: u64) -> Vec<u64> {
        let pages = table.range(Vpn::new(start)..Vpn::new(end));
        pages
            .map(|(page, known)| {
                assert_eq!(u64::from(known.pfn.get()), page.get());
                page.get()
            })
            .collect()
    }

    #[test]
    fn every_range_is_forgotten_and_no_other_page() {
        // Three leaves; all ranges that begin and end around their ends.
        let ends = [0, 1, 62, 63, 64, 65, 127, 128, 129, 190, 191, 192, 300];
        for (start, end) in ends.iter().flat_map(|a| ends.map(|b| (*a, b))) {
            let mut table = DeviceTable::new();
            (0..192).for_each(|page| table.insert(Vpn::new(page), known(page as u32)));
            table.forget(PageRange { start: Vpn::new(start), end: Vpn::new(end) });
            let is_gone = |page: &u64| (start..end).contains(page);
            let left: Vec<u64> = (0..192).filter(|page| !is_gone(page)).collect();
            assert_eq!(pages(&table, 0, 1000), left, "{start}..{end}");
            assert!((0..192).all(|page| table.get(Vpn::new(page)).is_none() == is_gone(&page)));
            let shown: Vec<u64> = (0..192).filter(|page| is_gone(page)).collect();
            (0..192).for_each(|page| table.insert(Vpn::new(page), known(page as u32)));
            assert_eq!(pages(&table, start, end), shown, "{start}..{end}");
        }
    }

    #[test]
    fn a_table_that_knows_nothing_has_no_leaves() {
        let mut table = DeviceTable::new();
        for _ in 0..2 {
            table.insert(Vpn::new(70), known(70));
        }
        table.forget(PageRange::of_len(Vpn::new(0), 1 << 40));
        assert!(table.leaves.is_empty());
    }
}
