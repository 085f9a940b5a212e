// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps one 8-byte word per physical frame: what it is, and its tag state.
//!
//! | kind | bits 3:0 | other bits |
//! |---|---|---|
//! | free | 0 | none |
//! | folio page | 1 | 5:4 tag state, 63:32 folio |
//! | table page | 2 | 8 lock, 25:16 entries in use, 63:32 first or next table set aside; of a level-3 table in use, how far it has moved |
//! | swap table, tag store, zero page, heap | 3, 4, 5, 6 | none |
//!
//! The tag state is per *page*, not per folio: a folio may be partly tagged, and a split keeps each
//! page's state. Its three values and who may change them:
//!
//! 1. `Untagged`: the frame's tags mean nothing. Every frame starts here.
//! 2. `Initialising`: exactly one CPU is writing all tags of the page; others wait.
//! 3. `Tagged`: the tags belong to the page and move with it. Stays until the frame is freed.
//!
//! 1 to 2 by compare-exchange, 2 to 3 by a store-release that publishes the tags just written, any
//! to 1 when the frame is freed.

use alloc::boxed::Box;
use core::ops::Range;

use base::Pfn;
use base::lock_level::{LevelToken, PageTable};
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{notify, relax, spin_wait};

use crate::folio::FolioId;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// In the allocator, or not managed at all.
    Free = 0,
    /// A page of a folio.
    Folio = 1,
    /// A translation-table page.
    Table = 2,
    /// The slot words of a swap cluster, or their tag words.
    SwapTable = 3,
    /// Allocation tags of swapped pages.
    TagStore = 4,
    /// The shared page of zeroes.
    Zero = 5,
    /// Part of a 2 MiB block that the kernel's heap took over.
    Heap = 6,
}

/// Whether a page's allocation tags mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MteState {
    /// They do not.
    Untagged = 0,
    /// One CPU is writing them.
    Initialising = 1,
    /// They belong to the page.
    Tagged = 2,
}

const KIND: u64 = 0xf;
const MTE_SHIFT: u32 = 4;
const MTE: u64 = 0b11 << MTE_SHIFT;
const LOCK: u64 = 1 << 8;
const LIVE_SHIFT: u32 = 16;
const LIVE: u64 = 0x3ff << LIVE_SHIFT;
const FOLIO_SHIFT: u32 = 32;
const FOLIO: u64 = 0xffff_ffff << FOLIO_SHIFT;
const SPARE_SHIFT: u32 = 32;
const SPARE: u64 = 0xffff_ffff << SPARE_SHIFT;
const MOVED_SHIFT: u32 = 32;

/// The words of all frames from the first managed one to the last.
pub struct FrameWords {
    first: Pfn,
    words: Box<[AtomicU64]>,
}

impl FrameWords {
    /// Builds words for the frames of `span`, all free.
    pub fn new(span: Range<Pfn>) -> Self {
        let words = (span.start.get()..span.end.get()).map(|_| AtomicU64::new(0)).collect();
        Self { first: span.start, words }
    }

    /// Returns how many frames have a word.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    #[inline(always)]
    fn word(&self, pfn: Pfn) -> &AtomicU64 {
        &self.words[pfn.index() - self.first.index()]
    }

    /// Returns the words of adjacent frames.
    #[inline(always)]
    fn run(&self, first: Pfn, nr: u32) -> &[AtomicU64] {
        let start = first.index() - self.first.index();
        &self.words[start..start + nr as usize]
    }

    /// Returns what the frame is.
    #[cfg(feature = "audit")]
    pub fn kind(&self, pfn: Pfn) -> FrameKind {
        match self.word(pfn).load(Ordering::Relaxed) & KIND {
            0 => FrameKind::Free,
            1 => FrameKind::Folio,
            2 => FrameKind::Table,
            3 => FrameKind::SwapTable,
            4 => FrameKind::TagStore,
            5 => FrameKind::Zero,
            6 => FrameKind::Heap,
            kind => panic!("frame word of {pfn:?}: kind {kind}"),
        }
    }

    /// Says what a frame that was just allocated is.
    pub fn claim(&self, pfn: Pfn, kind: FrameKind) {
        let word = self.word(pfn);
        debug_assert_eq!(word.load(Ordering::Relaxed), 0, "{pfn:?} claimed while in use");
        word.store(kind as u64, Ordering::Relaxed);
    }

    /// Says that frames that were just allocated are the pages of `folio`, with this tag state.
    pub fn claim_folio(&self, first: Pfn, nr: u32, folio: FolioId, mte: MteState) {
        let folio = (folio.get() as u64) << FOLIO_SHIFT;
        let new = FrameKind::Folio as u64 | (mte as u64) << MTE_SHIFT | folio;
        for word in self.run(first, nr) {
            debug_assert_eq!(word.load(Ordering::Relaxed), 0, "{first:?} claimed while in use");
            word.store(new, Ordering::Relaxed);
        }
    }

    /// Forgets what a frame was: it is about to be free.
    pub fn release(&self, pfn: Pfn) {
        self.release_run(pfn, 1);
    }

    /// Forgets what adjacent frames were: they are about to be free.
    pub fn release_run(&self, first: Pfn, nr: u32) {
        for word in self.run(first, nr) {
            let kind = word.load(Ordering::Relaxed) & KIND;
            debug_assert_ne!(kind, FrameKind::Free as u64, "{first:?} released twice");
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the folio that the frame is a page of.
    ///
    /// # Panics
    ///
    /// When it is none: whoever asks holds an entry that maps the frame.
    #[inline(always)]
    pub fn folio(&self, pfn: Pfn) -> FolioId {
        let word = self.word(pfn).load(Ordering::Acquire);
        if word & KIND != FrameKind::Folio as u64 {
            no_folio_page(pfn, word);
        }
        FolioId::new((word >> FOLIO_SHIFT) as u32)
    }

    /// Returns the folio that the frame is a page of, if it is one's at the moment.
    pub fn folio_if_any(&self, pfn: Pfn) -> Option<FolioId> {
        let word = self.word(pfn).load(Ordering::Acquire);
        (word & KIND == FrameKind::Folio as u64).then(|| FolioId::new((word >> FOLIO_SHIFT) as u32))
    }

    /// Makes a page that belonged to another folio a page of `folio`. Its tag state stays.
    pub fn move_to_folio(&self, pfn: Pfn, folio: FolioId) {
        let word = self.word(pfn);
        let before = word.load(Ordering::Relaxed) & FOLIO;
        // Its tag state may change meanwhile. Release: who finds the new folio finds it complete.
        let change = before ^ (folio.get() as u64) << FOLIO_SHIFT;
        word.fetch_xor(change, Ordering::Release);
    }

    /// Returns the page's tag state. `Tagged` is seen only with the tags it speaks of.
    pub fn mte_state(&self, pfn: Pfn) -> MteState {
        decode_mte(self.word(pfn).load(Ordering::Acquire))
    }

    /// Makes the page tagged: runs `write_tags` on exactly one of the CPUs that ask, and returns
    /// on each of them when the tags are there. Returns whether this call ran it.
    pub fn make_tagged(&self, pfn: Pfn, write_tags: impl FnOnce()) -> bool {
        let word = self.word(pfn);
        loop {
            let old = word.load(Ordering::Acquire);
            match decode_mte(old) {
                MteState::Tagged => return false,
                MteState::Initialising => relax(),
                MteState::Untagged => {
                    let claimed = old | (MteState::Initialising as u64) << MTE_SHIFT;
                    let won =
                        word.compare_exchange(old, claimed, Ordering::Acquire, Ordering::Relaxed);
                    if won.is_ok() {
                        break;
                    }
                }
            }
        }
        write_tags();
        // Initialising (01) to Tagged (10) is one addition; release publishes the tags.
        word.fetch_add(1 << MTE_SHIFT, Ordering::Release);
        notify();
        true
    }

    /// Returns the tables that are set aside for blocks of a level-2 table.
    #[cfg(feature = "audit")]
    pub fn spares(&self, table: Pfn) -> impl Iterator<Item = Pfn> {
        let next = |table: Pfn| {
            let spare = (self.word(table).load(Ordering::Relaxed) >> SPARE_SHIFT) as u32;
            (spare != 0).then(|| Pfn::new(spare))
        };
        core::iter::successors(next(table), move |spare| next(*spare))
    }

    /// Waits for the lock of a table page and takes it.
    #[inline]
    pub fn lock_table(&self, table: Pfn) -> TableLock<'_> {
        let level = LevelToken::enter();
        self.take_table(table, level)
    }

    /// Like [`FrameWords::lock_table`], while another table page is locked.
    pub fn lock_table_nested(&self, table: Pfn) -> TableLock<'_> {
        let level = LevelToken::enter_nested();
        self.take_table(table, level)
    }

    #[inline(always)]
    fn take_table(&self, table: Pfn, level: LevelToken<PageTable>) -> TableLock<'_> {
        let word = self.word(table);
        loop {
            let old = word.fetch_or(LOCK, Ordering::Acquire);
            assert!(old & KIND == FrameKind::Table as u64, "{table:?} locked but no table page");
            if old & LOCK == 0 {
                return TableLock { word, table, live_change: 0, _level: level };
            }
            let _wait = spin_wait::<PageTable>(table.get() as usize);
            while word.load(Ordering::Relaxed) & LOCK != 0 {
                relax();
            }
        }
    }
}

#[cold]
fn no_folio_page(pfn: Pfn, word: u64) -> ! {
    panic!("{pfn:?} is no folio page ({word:#x})");
}

fn decode_mte(word: u64) -> MteState {
    match (word & MTE) >> MTE_SHIFT {
        0 => MteState::Untagged,
        1 => MteState::Initialising,
        _ => MteState::Tagged,
    }
}

/// Shows that a table page is locked: Linux's split page-table lock, as a bit of the frame's word.
#[must_use = "the table is unlocked as soon as the guard is dropped"]
pub struct TableLock<'a> {
    word: &'a AtomicU64,
    table: Pfn,
    live_change: i32,
    _level: LevelToken<PageTable>,
}

impl TableLock<'_> {
    /// Returns the locked table.
    pub fn table(&self) -> Pfn {
        self.table
    }

    /// Returns by how many spans of a level-3 table it lies below where its pages were first mapped,
    /// modulo 2^27: 0 if it has not moved.
    #[inline(always)]
    pub fn moved(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) >> MOVED_SHIFT) as u32
    }

    /// Says how far a level-3 table has moved.
    pub fn set_moved(&mut self, moved: u32) {
        // The lock bit may be contended for meanwhile.
        let change = u64::from(self.moved() ^ moved) << MOVED_SHIFT;
        self.word.fetch_xor(change, Ordering::Relaxed);
    }

    /// Records that an entry went from empty to used (`1`) or back (`-1`).
    #[inline(always)]
    pub fn add_live(&mut self, change: i32) {
        self.live_change += change;
    }

    /// Sets `spare`, a table page that nothing leads to, aside for a block mapped by this level-2
    /// table: the table that the block is to be split into. Linux's `pgtable_trans_huge_deposit()`.
    pub fn set_aside(&mut self, words: &FrameWords, spare: Pfn) {
        let first = self.word.load(Ordering::Relaxed) & SPARE;
        let kind = FrameKind::Table as u64;
        let before = words.word(spare).swap(kind | first, Ordering::Relaxed);
        debug_assert_eq!(before, kind, "{spare:?} set aside while in use");
        self.set_first_spare(first ^ (spare.get() as u64) << SPARE_SHIFT);
    }

    /// Takes back one of the tables that were set aside; there is one for every block.
    pub fn take_spare(&mut self, words: &FrameWords) -> Pfn {
        let first = self.word.load(Ordering::Relaxed) & SPARE;
        assert!(first != 0, "{:?}: a block without a table set aside", self.table);
        let spare = Pfn::new((first >> SPARE_SHIFT) as u32);
        let next = words.word(spare).swap(FrameKind::Table as u64, Ordering::Relaxed) & SPARE;
        self.set_first_spare(first ^ next);
        spare
    }

    /// Changes the name of the first spare table by `change`; the lock bit may be contended for
    /// meanwhile.
    fn set_first_spare(&mut self, change: u64) {
        self.word.fetch_xor(change, Ordering::Relaxed);
    }

    /// Returns how many entries of the table are in use.
    pub fn nr_live(&self) -> u32 {
        let before = (self.word.load(Ordering::Relaxed) & LIVE) >> LIVE_SHIFT;
        (before as i32 + self.live_change) as u32
    }
}

impl Drop for TableLock<'_> {
    fn drop(&mut self) {
        debug_assert!(self.nr_live() <= 512, "{:?}: {} entries in use", self.table, self.nr_live());
        // Count and unlock in one release: the lock bit is set, so subtracting it borrows nothing.
        let change = ((self.live_change as i64) << LIVE_SHIFT) - LOCK as i64;
        self.word.fetch_add(change as u64, Ordering::Release);
        notify();
    }
}
