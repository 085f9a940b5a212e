// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a process that does random things to its memory and keeps its oracle up to date.

use base::{PageRange, Vpn};
use mm::{Advice, Prot};

use super::Dice;
use super::oracle::{CELLS, GRANULES};
use super::process::{Process, RW, TAGGED};

/// Most pages a process maps: a few processes together want more than there is.
pub const MOST_PAGES: usize = 160;

/// A process that does random things.
pub struct Actor {
    pub p: Process,
    dice: Dice,
    /// Whether it maps megabytes, and does things to as much of them at a time.
    is_large: bool,
}

impl Actor {
    pub fn new(p: Process, seed: u64) -> Self {
        p.check_tags(hal::TagCheckMode::Sync);
        Self { p, dice: Dice::new(seed), is_large: false }
    }

    /// One with areas of up to 6 MiB, so that most have whole blocks of 2 MiB.
    pub fn large(p: Process, seed: u64) -> Self {
        Self { is_large: true, ..Self::new(p, seed) }
    }

    fn page(&mut self) -> Option<Vpn> {
        let pages = self.p.oracle.mapped();
        (!pages.is_empty()).then(|| pages[self.dice.roll(pages.len() as u64) as usize])
    }

    /// Chooses some mapped pages that lie side by side.
    fn range(&mut self, most: u64) -> Option<PageRange> {
        let start = self.page()?;
        let most = if self.is_large && self.dice.one_in(3) { most * 60 } else { most };
        let want = 1 + self.dice.roll(most);
        let is_mapped = |n: &u64| self.p.oracle.pages.contains_key(&start.add(*n));
        let nr = (0..want).take_while(is_mapped).count() as u64;
        Some(PageRange::of_len(start, nr))
    }

    /// Does one random thing other than fork and exit.
    pub fn step(&mut self) {
        let action = self.dice.roll(100);
        match action {
            0..8 => self.map(),
            8..45 => self.write_some(),
            45..60 => self.retag(),
            60..74 => self.verify(),
            74..77 => self.unmap(),
            77..81 => self.protect(),
            81..84 => self.remap(),
            _ => self.advise(),
        }
    }

    /// Does one random thing that leaves the areas alone.
    pub fn access(&mut self) {
        match self.dice.roll(10) {
            0..4 => self.write_some(),
            4..6 => self.retag(),
            6..9 => self.verify(),
            _ => self.advise(),
        }
    }

    pub fn map(&mut self) {
        let is_large = self.is_large && !self.dice.one_in(4);
        let most = if self.is_large { MOST_PAGES * 8 } else { MOST_PAGES };
        if self.p.oracle.pages.len() < most {
            let flags = if self.dice.one_in(2) { TAGGED } else { RW };
            let nr_pages =
                if is_large { 512 + self.dice.roll(1024) } else { 1 + self.dice.roll(40) };
            self.p.map(nr_pages, flags);
        }
    }

    fn write_some(&mut self) {
        let Some(pages) = self.range(6) else { return };
        for page in pages.pages() {
            if self.p.oracle.pages[&page].prot.contains(Prot::WRITE) {
                let (cell, value) = (self.dice.roll(CELLS.len() as u64), self.dice.next());
                // Zero pages are swapped without I/O: make some.
                let value = if self.dice.one_in(5) { 0 } else { value };
                self.p.write(page, cell as usize, value);
            }
        }
    }

    fn retag(&mut self) {
        let Some(page) = self.page() else { return };
        if self.p.oracle.pages[&page].prot.contains(Prot::WRITE) {
            let granule = self.dice.roll(GRANULES.len() as u64) as usize;
            let tag = self.dice.roll(16) as u8;
            self.p.retag(page, granule, tag);
        }
    }

    fn verify(&mut self) {
        let Some(pages) = self.range(8) else { return };
        pages.pages().for_each(|page| self.p.verify(page));
    }

    fn unmap(&mut self) {
        if let Some(pages) = self.range(24) {
            self.p.unmap(pages);
        }
    }

    fn protect(&mut self) {
        let Some(pages) = self.range(12) else { return };
        let prot = match self.dice.roll(4) {
            0 => Prot::empty(),
            1 => Prot::READ,
            _ => Prot::READ | Prot::WRITE,
        };
        let tag = self.dice.one_in(3);
        self.p.protect(pages, prot, tag);
    }

    fn remap(&mut self) {
        if self.p.world.machine.config().judges_new_mappings {
            return;
        }
        let Some(pages) = self.range(8) else { return };
        // mremap wants one area; take the one the first page is in.
        let area = self.p.call(|mm| mm.area_view(pages.start)).expect("mapped").pages;
        if self.is_large && self.dice.one_in(2) {
            // Whole tables, mostly.
            self.p.remap(area, None);
            return;
        }
        self.p.remap(pages.intersect(area), None);
    }

    fn advise(&mut self) {
        let Some(pages) = self.range(32) else { return };
        let is_private =
            |page| matches!(self.p.oracle.pages[&page].home, super::oracle::Home::Private(_));
        let all_private = pages.pages().all(is_private);
        let advice = match self.dice.roll(8) {
            0 => Advice::DontNeed,
            1 if all_private => Advice::Free,
            2 => Advice::Cold,
            _ => Advice::PageOut,
        };
        self.p.advise(pages, advice);
    }
}
