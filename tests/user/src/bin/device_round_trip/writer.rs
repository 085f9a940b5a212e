// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a thread that writes to a part of the memory which nobody else writes to, and compares
//! what it finds with what it has written.
//!
//! A part has three blocks' worth of each size of folios. It allocates nothing while others run: see
//! `large_pressure`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use user_tests::dice::Dice;
use user_tests::dmirror::Dmirror;
use user_tests::memory::{self, Mapping, PAGE, PROT_MTE, RW};
use user_tests::tags;
use user_tests::thp::BLOCK;

use crate::content::{Mismatch, Page};

/// Pages of a block.
pub const PAGES_PER_BLOCK: usize = BLOCK / PAGE;

/// How often a writer writes to a page before it goes to another: so that TLBs know the page when it goes.
const TIMES: usize = 16;

/// Pages that a writer has the device look at.
const LOOKED_AT: usize = 16;

/// A part of the memory: blocks of 2 MiB, by turns in folios of 2 MiB, of 64 KiB, and single pages
/// (`main.rs`).
pub struct Part {
    number: u64,
    memory: Mapping,
    generations: Vec<u32>,
}

/// The address at which a writer is, for who wants to take the page from under it.
#[derive(Default, Debug)]
pub struct Whereabouts(AtomicUsize);

impl Whereabouts {
    /// Returns it.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a writer has done.
#[derive(Clone, Copy, Default, Debug)]
pub struct Done {
    /// Pages written.
    pub written: u64,
    /// Pages compared.
    pub compared: u64,
    /// Of these, by the device.
    pub seen_by_device: u64,
    /// Blocks given back and begun anew.
    pub renewed: u64,
}

impl Part {
    /// Maps a part with tags, and writes to all of its pages.
    pub fn new(number: u64, nr_blocks: usize) -> Self {
        let len_bytes = nr_blocks * BLOCK;
        let memory = Mapping::aligned(len_bytes, BLOCK, RW | PROT_MTE).expect("mmap");
        for (index, block) in (memory.range()).step_by(BLOCK).enumerate() {
            let advice = match index % 3 {
                0 => libc::MADV_HUGEPAGE,
                1 => continue,
                _ => libc::MADV_NOHUGEPAGE,
            };
            memory::madvise(block, BLOCK, advice).expect("madvise");
        }
        let mut part = Self { number, generations: vec![0; nr_blocks * PAGES_PER_BLOCK], memory };
        (0..part.generations.len()).for_each(|index| part.write(index));
        part
    }

    /// Returns where the part is.
    pub fn memory(&self) -> std::ops::Range<usize> {
        self.memory.range()
    }

    fn page(&self, index: usize) -> Page {
        let number = self.number << 16 | index as u64;
        Page { at: self.memory.page(index), number, generation: self.generations[index] }
    }

    fn write(&mut self, index: usize) {
        self.generations[index] += 1;
        self.page(index).store();
    }

    /// Writes and compares until it is told to stop, and compares all in the end.
    ///
    /// # Errors
    ///
    /// The first mismatch.
    pub fn run(
        &mut self,
        device: &Dmirror,
        dice: &mut Dice,
        at: &Whereabouts,
        stop: &AtomicBool,
    ) -> Result<Done, Mismatch> {
        let mut done = Done::default();
        let mut seen = vec![0; LOOKED_AT * PAGE];
        while !stop.load(Ordering::Relaxed) {
            let index = dice.roll(self.generations.len());
            at.0.store(self.memory.page(index), Ordering::Relaxed);
            match dice.roll(256) {
                0 => self.renew(index, &mut done)?,
                1..16 => self.show(device, index, &mut seen, &mut done)?,
                _ => self.rewrite(index, &mut done)?,
            }
        }
        self.check_all(&mut done)?;
        Ok(done)
    }

    /// Compares a page with what was written last and writes what comes next, several times.
    fn rewrite(&mut self, index: usize, done: &mut Done) -> Result<(), Mismatch> {
        for _ in 0..TIMES {
            self.page(index).check()?;
            done.compared += 1;
            self.write(index);
            done.written += 1;
        }
        Ok(())
    }

    fn check_all(&self, done: &mut Done) -> Result<(), Mismatch> {
        done.compared += self.generations.len() as u64;
        (0..self.generations.len()).try_for_each(|index| self.page(index).check())
    }

    /// Gives a block back, so that it gets folios of its size once more. Others may move its holes.
    fn renew(&mut self, index: usize, done: &mut Done) -> Result<(), Mismatch> {
        let first = index - index % PAGES_PER_BLOCK;
        let pages = first..first + PAGES_PER_BLOCK;
        pages.clone().try_for_each(|index| self.page(index).check())?;
        memory::madvise(self.memory.page(first), BLOCK, libc::MADV_DONTNEED).expect("madvise");
        self.generations[pages.clone()].fill(0);
        for index in pages {
            // Every other page is looked at before it is written: zeroes.
            if index % 2 == 0 {
                self.page(index).check()?;
            }
            self.write(index);
        }
        done.compared += PAGES_PER_BLOCK as u64 * 3 / 2;
        done.written += PAGES_PER_BLOCK as u64;
        done.renewed += 1;
        Ok(())
    }

    /// Has the device take some pages and tell what it sees. Others may bring one home before it looks.
    fn show(
        &mut self,
        device: &Dmirror,
        index: usize,
        seen: &mut [u8],
        done: &mut Done,
    ) -> Result<(), Mismatch> {
        let first = index - index % LOOKED_AT;
        let range = self.memory.page(first)..self.memory.page(first + LOOKED_AT);
        match device.migrate_to_device_into(range, seen) {
            Ok(()) => {}
            Err(libc::ENOENT) => return Ok(()),
            Err(error) => panic!("migration to the device: error {error}"),
        }
        for (index, bytes) in (first..).zip(seen.chunks(PAGE)) {
            self.page(index).check_bytes(bytes)?;
        }
        done.seen_by_device += LOOKED_AT as u64;
        Ok(())
    }
}

/// Prepares a thread: wrong tags fault at once.
pub fn prepare() {
    tags::check_at_once();
}
