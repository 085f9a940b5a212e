// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds what every simulated CPU remembers of its walks: all, until told to forget.
//!
//! Two kinds of thing are cached, as in hardware: *translations* (a page, one run of 16 contiguous
//! pages, a 2 MiB block) and *walks* (which table serves a region). One ordered map holds those of
//! all CPUs; two indexes answer, without a search, who still uses a frame and who read a slot.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use base::percpu::CpuId;
use base::{PageRange, Pfn, Vpn};

use super::descriptor::{Entry, LeafEntry, Limits, RUN};
use crate::pte_mem::PteSlot;
use crate::tlb::Asid;

/// What a cached item covers, smallest first; also the order in which a lookup tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Shape {
    /// A level 3 entry, translated for itself.
    Page = 0,
    /// Sixteen level 3 entries with the contiguous bit, cached as one.
    Run = 1,
    /// A level 2 block.
    Block = 2,
    /// A level 2 entry that points to a level 3 table.
    TableAt2 = 3,
    /// A level 1 entry that points to a level 2 table.
    TableAt1 = 4,
    /// A level 0 entry that points to a level 1 table.
    TableAt0 = 5,
}

impl Shape {
    pub(super) const LEAVES: [Shape; 3] = [Shape::Page, Shape::Run, Shape::Block];
    pub(super) const WALKS: [Shape; 3] = [Shape::TableAt2, Shape::TableAt1, Shape::TableAt0];
    pub(super) const ALL: [Shape; 6] =
        [Shape::Page, Shape::Run, Shape::Block, Shape::TableAt2, Shape::TableAt1, Shape::TableAt0];

    /// Returns the level of the entry it was read from.
    pub(super) const fn level(self) -> u8 {
        match self {
            Self::Page | Self::Run => 3,
            Self::Block | Self::TableAt2 => 2,
            Self::TableAt1 => 1,
            Self::TableAt0 => 0,
        }
    }

    /// Returns the walk that an entry of `level` takes part in.
    pub(super) const fn walk_at(level: u8) -> Self {
        match level {
            0 => Self::TableAt0,
            1 => Self::TableAt1,
            _ => Self::TableAt2,
        }
    }

    /// Returns the number of pages covered.
    pub(super) const fn nr_pages(self) -> u64 {
        match self {
            Self::Page => 1,
            Self::Run => RUN as u64,
            Self::Block | Self::TableAt2 => 1 << 9,
            Self::TableAt1 => 1 << 18,
            Self::TableAt0 => 1 << 27,
        }
    }
}

/// Names one cached item: CPU, shape, ASID, first page, in this order in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    /// Names the item of `shape` that would cover `page`.
    pub(super) const fn new(cpu: CpuId, shape: Shape, asid: Asid, page: Vpn) -> Self {
        let first = page.align_down(shape.nr_pages()).get() & ((1 << 36) - 1);
        Self((cpu.get() as u64) << 56 | (shape as u64) << 52 | (asid.0 as u64) << 36 | first)
    }

    /// Returns the CPU that holds it.
    pub(super) const fn cpu(self) -> CpuId {
        CpuId::new((self.0 >> 56) as usize)
    }

    /// Returns its shape.
    pub(super) const fn shape(self) -> Shape {
        Shape::ALL[(self.0 >> 52 & 0xf) as usize]
    }

    /// Returns its address space.
    pub(super) const fn asid(self) -> Asid {
        Asid((self.0 >> 36) as u16)
    }

    /// Returns the pages it covers.
    pub(super) const fn pages(self) -> PageRange {
        PageRange::of_len(Vpn::new(self.0 & ((1 << 36) - 1)), self.shape().nr_pages())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, asid, pages) = (self.cpu().get(), self.asid().0, self.pages());
        write!(f, "{:?} held by cpu {cpu} (asid {asid}, {pages:?})", self.shape())
    }
}

/// What is remembered of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached {
    /// The slot it was read from; of a run, the first one.
    pub(super) slot: PteSlot,
    /// The frame of its first page, or the table it points to.
    pub(super) target: Pfn,
    /// The entry as it was read.
    pub(super) entry: Entry,
    /// Restrictions from the tables on the way, its own included.
    pub(super) limits: Limits,
    /// Root of the table that the walk started at.
    pub(super) root: Pfn,
    /// When.
    pub(super) filled: u64,
}

impl Cached {
    /// Returns the entry of a translation.
    ///
    /// # Panics
    ///
    /// On a cached walk.
    pub(super) fn leaf(&self) -> LeafEntry {
        match self.entry {
            Entry::Leaf(leaf) => leaf,
            Entry::Table(_) => unreachable!("a leaf shape holds a leaf entry"),
        }
    }
}

/// A slot as an index key: slots of one table are adjacent.
fn slot_key(slot: PteSlot) -> u64 {
    (u64::from(slot.table.get()) << 9) | u64::from(slot.index)
}

/// Everything cached on every CPU.
#[derive(Debug, Default)]
pub(super) struct Tlbs {
    items: BTreeMap<Key, Cached>,
    by_target: BTreeSet<(Pfn, Key)>,
    by_slot: BTreeSet<(u64, Key)>,
}

impl Tlbs {
    /// Returns the translation of `page` that a CPU has cached.
    pub(super) fn lookup(&self, cpu: CpuId, asid: Asid, page: Vpn) -> Option<(Key, Cached)> {
        self.first_of(Shape::LEAVES, cpu, asid, page)
    }

    /// Returns the cached walk that comes closest to the entry of `page`.
    pub(super) fn lookup_walk(&self, cpu: CpuId, asid: Asid, page: Vpn) -> Option<(Key, Cached)> {
        self.first_of(Shape::WALKS, cpu, asid, page)
    }

    fn first_of(
        &self,
        shapes: [Shape; 3],
        cpu: CpuId,
        asid: Asid,
        page: Vpn,
    ) -> Option<(Key, Cached)> {
        shapes.into_iter().find_map(|shape| {
            let key = Key::new(cpu, shape, asid, page);
            self.items.get(&key).map(|cached| (key, *cached))
        })
    }

    /// Remembers an item.
    pub(super) fn insert(&mut self, key: Key, cached: Cached) {
        if let Some(old) = self.items.insert(key, cached) {
            self.unindex(key, &old);
        }
        self.by_target.insert((cached.target, key));
        self.by_slot.insert((slot_key(cached.slot), key));
    }

    /// Returns the address spaces of which a CPU has cached anything.
    pub(super) fn asids_of(&self, cpu: CpuId) -> Vec<Asid> {
        let keys = self.items.keys().filter(|key| key.cpu() == cpu).map(|key| key.asid());
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Forgets what `is_forgotten` picks among one CPU's items of one address space and shape that
    /// meet `pages`.
    pub(super) fn forget(
        &mut self,
        cpu: CpuId,
        shape: Shape,
        asid: Asid,
        pages: PageRange,
        mut is_forgotten: impl FnMut(&Cached) -> bool,
    ) {
        let Some(keys) = keys_of(cpu, shape, asid, pages) else { return };
        let gone: Vec<_> = self.items.extract_if(keys, |_, cached| is_forgotten(cached)).collect();
        for (key, cached) in gone {
            self.unindex(key, &cached);
        }
    }

    fn unindex(&mut self, key: Key, cached: &Cached) {
        self.by_target.remove(&(cached.target, key));
        self.by_slot.remove(&(slot_key(cached.slot), key));
    }

    /// Iterates over one CPU's items of one address space and shape that meet `pages`.
    pub(super) fn meeting(
        &self,
        cpu: CpuId,
        shape: Shape,
        asid: Asid,
        pages: PageRange,
    ) -> impl Iterator<Item = (Key, &Cached)> {
        let keys = keys_of(cpu, shape, asid, pages);
        keys.into_iter().flat_map(|keys| self.items.range(keys)).map(|(key, item)| (*key, item))
    }

    /// Iterates over the items that use any of `nr_frames` frames from `first`: translations to
    /// them, and walks into tables that live there.
    pub(super) fn using(&self, first: Pfn, nr_frames: u32) -> impl Iterator<Item = (Key, &Cached)> {
        // A run or block that starts below may reach in; both are aligned to their size.
        let below = [Shape::Run, Shape::Block].into_iter().filter_map(move |shape| {
            let start = Pfn::new(first.get() & !(shape.nr_pages() as u32 - 1));
            (start != first).then_some((shape, start))
        });
        let below = below.flat_map(move |(shape, start)| {
            self.targets(start, 1).filter(move |(key, _)| key.shape() == shape)
        });
        below.chain(self.targets(first, nr_frames))
    }

    fn targets(&self, first: Pfn, nr_frames: u32) -> impl Iterator<Item = (Key, &Cached)> {
        let range = (first, Key(0))..(first.add(nr_frames), Key(0));
        self.by_target.range(range).map(|(_, key)| (*key, &self.items[key]))
    }

    /// Iterates over the items that were read from `slot`, or from the run it is part of.
    pub(super) fn read_from(&self, slot: PteSlot) -> impl Iterator<Item = (Key, &Cached)> {
        let first = PteSlot { index: slot.index & !(RUN - 1), ..slot };
        let run = (first != slot).then_some(first).into_iter();
        let run = run.flat_map(|first| self.slots(slot_key(first), 1));
        let run = run.filter(|(key, _)| key.shape() == Shape::Run);
        run.chain(self.slots(slot_key(slot), 1))
    }

    /// Iterates over the items that were read from any slot of `table`.
    pub(super) fn read_from_table(&self, table: Pfn) -> impl Iterator<Item = (Key, &Cached)> {
        self.slots(slot_key(PteSlot::new(table, 0)), 512)
    }

    fn slots(&self, first: u64, nr: u64) -> impl Iterator<Item = (Key, &Cached)> {
        let range = (first, Key(0))..(first + nr, Key(0));
        self.by_slot.range(range).map(|(_, key)| (*key, &self.items[key]))
    }

    /// Iterates over the cached walks into `table`.
    pub(super) fn walks_into(&self, table: Pfn) -> impl Iterator<Item = (Key, &Cached)> {
        self.targets(table, 1).filter(|(key, _)| Shape::WALKS.contains(&key.shape()))
    }
}

/// Returns the keys of the items that meet `pages`, `None` when `pages` is empty.
fn keys_of(cpu: CpuId, shape: Shape, asid: Asid, pages: PageRange) -> Option<RangeInclusive<Key>> {
    let last = (!pages.is_empty()).then(|| pages.end.sub(1))?;
    Some(Key::new(cpu, shape, asid, pages.start)..=Key::new(cpu, shape, asid, last))
}
