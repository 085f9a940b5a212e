// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a chunk of 2 MiB: what can be done to it, and what must be in it then.

use std::ops::Range;

use user_tests::memory::{self, ANON, PAGE, PROT_MTE, RW};
use user_tests::tags;
use user_tests::thp::BLOCK;

use crate::oracle::{Content, Mismatch, Page};
use user_tests::dice::Dice;

/// Pages of a chunk.
pub const NR_PAGES: usize = BLOCK / PAGE;

/// Pages of the smaller folios.
const CONT_PAGES: usize = 16;

/// A chunk.
#[derive(Debug)]
pub struct Chunk {
    start: usize,
    /// Number of its first page.
    number: u64,
    /// One folio of 2 MiB, not many of 64 KiB.
    has_block: bool,
    pages: Vec<PageState>,
}

#[derive(Clone, Copy, Default, Debug)]
struct PageState {
    content: Content,
    is_tagged: bool,
}

impl Chunk {
    /// Names a chunk at `start`, where nothing is before [`Chunk::make_anew`].
    pub fn new(start: usize, number: u64) -> Self {
        let pages = vec![PageState::default(); NR_PAGES];
        Self { start, number, has_block: false, pages }
    }

    fn page(&self, index: usize) -> Page {
        Page { at: self.start + index * PAGE, number: self.number + index as u64 }
    }

    fn addresses(&self, part: &Range<usize>) -> (usize, usize) {
        (self.start + part.start * PAGE, part.len() * PAGE)
    }

    /// Unmaps it, maps it again in one of both sizes, with tags or without, and fills it.
    pub fn make_anew(&mut self, dice: &mut Dice) {
        self.has_block = dice.roll(2) == 0;
        self.map(0..NR_PAGES, tags::has_mte() && dice.roll(4) != 0);
        if self.has_block {
            memory::madvise(self.start, BLOCK, libc::MADV_HUGEPAGE).expect("MADV_HUGEPAGE");
        }
        self.fill(0..NR_PAGES, dice);
    }

    /// Maps new pages in the place of `part`.
    fn map(&mut self, part: Range<usize>, is_tagged: bool) {
        let (start, len_bytes) = self.addresses(&part);
        let protection = if is_tagged { RW | PROT_MTE } else { RW };
        memory::munmap(start, len_bytes).expect("munmap");
        let flags = ANON | libc::MAP_FIXED;
        memory::mmap(start, len_bytes, protection, flags, -1, 0).expect("mmap");
        self.pages[part].fill(PageState { content: Content::default(), is_tagged });
    }

    /// Stores to all pages of `part`, and gives tags to most.
    fn fill(&mut self, part: Range<usize>, dice: &mut Dice) {
        for index in part {
            let page = self.page(index);
            let state = &mut self.pages[index];
            state.content.store_words(page);
            if state.is_tagged && dice.roll(4) != 0 {
                state.content.store_tags(page);
            }
        }
    }

    /// Returns some neighbouring pages.
    fn some(&self, dice: &mut Dice, most: usize) -> Range<usize> {
        let len = 1 + dice.roll(most);
        let start = dice.roll(NR_PAGES - len + 1);
        start..start + len
    }

    /// Compares some pages.
    pub fn check_some(&self, dice: &mut Dice) -> Result<(), Mismatch> {
        let step = 1 + dice.roll(64);
        let mut indices = (dice.roll(step)..NR_PAGES).step_by(step);
        indices.try_for_each(|index| self.pages[index].content.check(self.page(index), false))
    }

    /// Compares all pages and tags.
    pub fn check_all(&self) -> Result<(), Mismatch> {
        let mut states = self.pages.iter().enumerate();
        states.try_for_each(|(index, state)| state.content.check(self.page(index), true))
    }

    /// Stores to some pages; to a hole only as a whole, so that no folio is all zeroes.
    pub fn store(&mut self, dice: &mut Dice) {
        for _ in 0..1 + dice.roll(16) {
            let index = dice.roll(NR_PAGES);
            if self.pages[index].content.is_zero() {
                self.fill_hole(index, dice);
            } else {
                let page = self.page(index);
                self.pages[index].content.store_words(page);
            }
        }
    }

    fn fill_hole(&mut self, index: usize, dice: &mut Dice) {
        let is_full = |state: &PageState| !state.content.is_zero();
        let start = self.pages[..index].iter().rposition(is_full).map_or(0, |full| full + 1);
        let end = self.pages[index..].iter().position(is_full).map_or(NR_PAGES, |nr| index + nr);
        self.fill(start..end, dice);
    }

    /// Changes the tags of some pages, and no byte.
    pub fn retag(&mut self, dice: &mut Dice) {
        for index in self.some(dice, 16) {
            let page = self.page(index);
            let state = &mut self.pages[index];
            if state.is_tagged && !state.content.is_zero() {
                state.content.store_tags(page);
            }
        }
    }

    /// Makes some neighbouring pages tagged that may not have been.
    pub fn make_tagged(&mut self, dice: &mut Dice) {
        if !tags::has_mte() {
            return;
        }
        let part = self.some(dice, 64);
        let (start, len_bytes) = self.addresses(&part);
        memory::mprotect(start, len_bytes, RW | PROT_MTE).expect("PROT_MTE");
        self.pages[part].iter_mut().for_each(|state| state.is_tagged = true);
    }

    /// Gives some neighbouring pages up, in one of two ways, and fills the hole or leaves it.
    pub fn make_hole(&mut self, dice: &mut Dice) {
        let part = self.some(dice, 64);
        if dice.roll(2) == 0 {
            self.map(part.clone(), tags::has_mte());
            if self.has_block {
                let (start, len_bytes) = self.addresses(&part);
                memory::madvise(start, len_bytes, libc::MADV_HUGEPAGE).expect("MADV_HUGEPAGE");
            }
        } else {
            let (start, len_bytes) = self.addresses(&part);
            memory::madvise(start, len_bytes, libc::MADV_DONTNEED).expect("MADV_DONTNEED");
            for state in &mut self.pages[part.clone()] {
                state.content = Content::default();
            }
        }
        if dice.roll(2) == 0 {
            self.fill(part, dice);
        } else {
            // The zero page: a new folio beside the hole does not reach into it.
            part.for_each(|index| memory::touch(self.page(index).at));
        }
    }

    /// Makes some neighbouring pages read-only, looks at the chunk, and opens them again.
    pub fn protect(&self, dice: &mut Dice) -> Result<(), Mismatch> {
        let (start, len_bytes) = self.addresses(&self.some(dice, 64));
        let protection = [libc::PROT_READ, libc::PROT_NONE][dice.roll(2)];
        memory::mprotect(start, len_bytes, protection).expect("mprotect");
        let result = if protection == libc::PROT_READ { self.check_some(dice) } else { Ok(()) };
        memory::mprotect(start, len_bytes, RW).expect("mprotect");
        result
    }

    /// Pages it out, or one small folio of it.
    pub fn page_out(&self, dice: &mut Dice) {
        let part = match self.has_block || dice.roll(2) == 0 {
            true => 0..NR_PAGES,
            false => {
                let first = dice.roll(NR_PAGES / CONT_PAGES) * CONT_PAGES;
                first..first + CONT_PAGES
            }
        };
        let (start, len_bytes) = self.addresses(&part);
        memory::madvise(start, len_bytes, libc::MADV_PAGEOUT).expect("MADV_PAGEOUT");
    }

    /// Moves it to `place`, aligned or not, looks at it there, and moves it back.
    pub fn move_there_and_back(&mut self, place: usize, dice: &mut Dice) -> Result<(), Mismatch> {
        let home = self.start;
        // mremap moves one area; a chunk with parts of other rights has several.
        let away = place + [0, 0, PAGE, 16 * PAGE][dice.roll(4)];
        if memory::remap(home, BLOCK, away).is_err() {
            return Ok(());
        }
        self.start = away;
        let result = self.check_some(dice);
        self.store(dice);
        memory::remap(away, BLOCK, home).expect("mremap");
        self.start = home;
        result
    }
}
