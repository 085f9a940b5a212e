// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the model of who maps which page of which folio: four neighbouring pages, which a
//! folio of order 2 may back, in up to three address spaces.

use std::collections::{BTreeMap, BTreeSet};

/// Address spaces.
pub const MMS: usize = 3;
/// Pages.
pub const PAGES: usize = 4;

/// Names a folio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FolioId(u32);

/// What an address space has at a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    None,
    /// The zero page.
    Zero,
    /// This page of a folio.
    Mapped(FolioId),
    /// The slot of this page of a folio, which is in the swap cache.
    Swapped(FolioId),
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// An address space loads from a page.
    Load(usize, usize),
    /// An address space stores to a page.
    Store(usize, usize),
    /// An address space discards a page.
    Unmap(usize, usize),
    /// One forks another.
    Fork(usize, usize),
    /// One ends.
    Exit(usize),
    /// Advice about the first page of one: its folio is split if it is larger, and this one's alone.
    Split(usize),
    /// Reclaim takes everything: partly mapped folios are split first.
    Out,
}

impl Op {
    /// Returns the page that it is about, if one.
    pub fn page(self) -> Option<usize> {
        match self {
            Op::Load(_, page) | Op::Store(_, page) | Op::Unmap(_, page) => Some(page),
            Op::Fork(..) | Op::Exit(_) | Op::Split(_) | Op::Out => None,
        }
    }
}

/// Who maps what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    mms: [Option<[Entry; PAGES]>; MMS],
    /// Folios of all four pages.
    large: BTreeSet<FolioId>,
    /// Those that were found partly mapped, the one found first at the front.
    queued: Vec<FolioId>,
    next: u32,
}

impl Model {
    /// One address space that maps a folio of four pages.
    pub fn new() -> Self {
        let (none, queued) = ([None; MMS], Vec::new());
        let mut model = Self { mms: none, large: BTreeSet::new(), queued, next: 0 };
        model.mms[0] = Some([Entry::None; PAGES]);
        model.store(0, 0);
        model
    }

    pub fn entry(&self, mm: usize, page: usize) -> Entry {
        self.mms[mm].expect("a live address space")[page]
    }

    pub fn nr_pages(&self, folio: FolioId) -> usize {
        if self.large.contains(&folio) { PAGES } else { 1 }
    }

    /// Returns how many pages of a folio each address space maps that maps any.
    pub fn counts(&self, folio: FolioId) -> BTreeMap<usize, u32> {
        let mut counts = BTreeMap::new();
        for (mm, entries) in self.mms.iter().enumerate() {
            for entry in entries.iter().flatten() {
                if *entry == Entry::Mapped(folio) {
                    *counts.entry(mm).or_default() += 1;
                }
            }
        }
        counts
    }

    pub fn is_exclusive(&self, folio: FolioId, mm: usize) -> bool {
        self.counts(folio).into_keys().eq([mm])
    }

    fn has_swap_entries(&self, folio: FolioId) -> bool {
        let mut entries = self.mms.iter().flatten().flatten();
        entries.any(|entry| *entry == Entry::Swapped(folio))
    }

    /// Returns the operations that there are. Which of the free places a child gets is all the same.
    pub fn ops(&self) -> Vec<Op> {
        let mut ops = vec![Op::Out];
        let child = self.mms.iter().position(Option::is_none);
        let live = self.mms.iter().enumerate().filter(|(_, entries)| entries.is_some());
        for (mm, _) in live {
            for page in 0..PAGES {
                ops.extend([Op::Load(mm, page), Op::Store(mm, page), Op::Unmap(mm, page)]);
            }
            ops.extend(child.map(|child| Op::Fork(mm, child)));
            ops.extend([Op::Exit(mm), Op::Split(mm)]);
        }
        ops
    }

    #[must_use]
    pub fn after(&self, op: Op) -> Self {
        let mut next = self.clone();
        match op {
            Op::Load(mm, page) => next.load(mm, page),
            Op::Store(mm, page) => next.store(mm, page),
            Op::Unmap(mm, page) => next.set(mm, page, Entry::None),
            Op::Fork(mm, child) => next.mms[child] = next.mms[mm],
            Op::Exit(mm) => {
                (0..PAGES).for_each(|page| next.set(mm, page, Entry::None));
                next.mms[mm] = None;
            }
            Op::Split(mm) => {
                if let Entry::Mapped(folio) = next.entry(mm, 0)
                    && next.is_exclusive(folio, mm)
                {
                    next.split(folio);
                }
            }
            Op::Out => next.reclaim(),
        }
        next
    }

    fn new_folio(&mut self) -> FolioId {
        self.next += 1;
        FolioId(self.next)
    }

    /// Puts an entry in the place of another, and queues the folio that lost a page by it.
    fn set(&mut self, mm: usize, page: usize, entry: Entry) {
        let old = core::mem::replace(&mut self.entries(mm)[page], entry);
        if let Entry::Mapped(folio) = old
            && self.is_partly_mapped(folio)
            && !self.queued.contains(&folio)
        {
            self.queued.push(folio);
        }
    }

    fn entries(&mut self, mm: usize) -> &mut [Entry; PAGES] {
        self.mms[mm].as_mut().expect("a live address space")
    }

    fn is_partly_mapped(&self, folio: FolioId) -> bool {
        let counts = self.counts(folio);
        let is_part = counts.values().all(|nr| *nr < PAGES as u32);
        self.large.contains(&folio) && !counts.is_empty() && is_part
    }

    fn load(&mut self, mm: usize, page: usize) {
        match self.entry(mm, page) {
            Entry::None => self.entries(mm)[page] = Entry::Zero,
            // All of the folio comes back that this address space still has.
            Entry::Swapped(folio) => {
                for entry in self.entries(mm) {
                    if *entry == Entry::Swapped(folio) {
                        *entry = Entry::Mapped(folio);
                    }
                }
            }
            Entry::Zero | Entry::Mapped(_) => {}
        }
    }

    fn store(&mut self, mm: usize, page: usize) {
        match self.entry(mm, page) {
            Entry::None if self.entries(mm).iter().all(|entry| *entry == Entry::None) => {
                let folio = self.new_folio();
                self.large.insert(folio);
                *self.entries(mm) = [Entry::Mapped(folio); PAGES];
            }
            Entry::None | Entry::Zero => {
                let folio = self.new_folio();
                self.set(mm, page, Entry::Mapped(folio));
            }
            Entry::Swapped(_) => {
                self.load(mm, page);
                self.store(mm, page);
            }
            Entry::Mapped(folio) => {
                if !self.is_exclusive(folio, mm) || self.has_swap_entries(folio) {
                    let copy = self.new_folio();
                    self.set(mm, page, Entry::Mapped(copy));
                }
            }
        }
    }

    /// Gives each page of a folio a folio of its own; the first page keeps the old one.
    fn split(&mut self, folio: FolioId) {
        if !self.large.remove(&folio) {
            return;
        }
        self.queued.retain(|queued| *queued != folio);
        for page in 1..PAGES {
            let own = self.new_folio();
            for entries in self.mms.iter_mut().flatten() {
                let entry = &mut entries[page];
                *entry = match *entry {
                    Entry::Mapped(of) if of == folio => Entry::Mapped(own),
                    Entry::Swapped(of) if of == folio => Entry::Swapped(own),
                    other => other,
                };
            }
        }
    }

    fn reclaim(&mut self) {
        for folio in core::mem::take(&mut self.queued) {
            if self.is_partly_mapped(folio) {
                self.split(folio);
            }
        }
        for entry in self.mms.iter_mut().flatten().flatten() {
            if let Entry::Mapped(folio) = *entry {
                *entry = Entry::Swapped(folio);
            }
        }
    }
}
