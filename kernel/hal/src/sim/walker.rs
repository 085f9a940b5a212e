// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file walks translation tables in simulated RAM as a CPU does, and writes what CPUs write.
//!
//! A walk starts at the deepest table that the CPU remembers, reads one entry a level, sets the
//! access flag where hardware does so, makes the entry dirty for a store (each by compare-exchange
//! on the entry in memory, starting over when it fails) and caches what it found. Entries that
//! cannot be right are reported by panic: they are the kernel's, whatever user code does.

use base::percpu::CpuId;
use base::{Pfn, Vpn};

use super::descriptor::{Entry, LeafEntry, Limits, Permit, RUN, TableEntry};
use super::judge;
use super::mmu::{Mmu, Space};
use super::ram::Ram;
use super::tlb::{Cached, Key, Shape};
use crate::pte_mem::PteSlot;
use crate::user_mem::{Access, FaultCause};

/// One walk.
pub(super) struct Walker<'a> {
    mmu: &'a mut Mmu,
    ram: &'a Ram,
    cpu: CpuId,
    space: Space,
    page: Vpn,
}

/// A leaf entry, and where it was read.
#[derive(Clone, Copy)]
struct Source {
    slot: PteSlot,
    leaf: LeafEntry,
}

/// The leaf entry at the end of the tables.
struct Found {
    source: Source,
    level: u8,
    limits: Limits,
}

/// Why a walk did not end in a translation that permits the access.
enum Miss {
    Fault(FaultCause),
    /// Another agent changed the entry meanwhile.
    Raced,
}

impl<'a> Walker<'a> {
    pub(super) fn new(mmu: &'a mut Mmu, ram: &'a Ram, cpu: CpuId, space: Space, page: Vpn) -> Self {
        Self { mmu, ram, cpu, space, page }
    }

    /// Walks for an access and returns the translation that permits it.
    pub(super) fn walk(mut self, access: Access) -> Result<(Key, Cached), FaultCause> {
        loop {
            match self.try_walk(Some(access)) {
                Ok(item) => return Ok(item),
                Err(Miss::Fault(cause)) => return Err(cause),
                Err(Miss::Raced) => {}
            }
        }
    }

    /// Walks for no access: sets the access flag, caches a translation where there is none.
    pub(super) fn speculate(mut self) {
        while let Err(Miss::Raced) = self.try_walk(None) {}
    }

    fn try_walk(&mut self, access: Option<Access>) -> Result<(Key, Cached), Miss> {
        self.mmu.counts.walks += 1;
        let mut found = self.descend().ok_or(Miss::Fault(FaultCause::Translation))?;
        judge::assert_sane_leaf(self.ram, found.source.slot, found.level, found.source.leaf);
        self.set_access_flag(&mut found.source)?;
        let old = self.mmu.tlbs.lookup(self.cpu, self.space.asid, self.page);
        let shape = self.shape_for(&found, old.map(|(key, _)| key.shape()));
        // Whose permissions the cached translation gets, and which entry a store makes dirty.
        let mut source = found.source;
        if shape == Shape::Run && old.is_none() {
            source = self.some_sibling(source).filter(|s| s.leaf.is_accessed()).unwrap_or(source);
        }
        let hw_dirty = self.mmu.hw_dirty;
        let permit = access.map(|access| source.leaf.permits(found.limits, access, hw_dirty));
        if permit == Some(Permit::OnceDirty) {
            self.make_dirty(shape, source, found.limits)?;
            source.leaf = source.leaf.dirty();
        }
        let leaf = source.leaf.at_frame_of(found.source.leaf);
        let is_kept = access.is_none() && old.is_some();
        let item = self.remember(shape, &found, leaf, is_kept);
        if permit == Some(Permit::No) { Err(Miss::Fault(FaultCause::Permission)) } else { Ok(item) }
    }

    /// Sets the access flag where hardware does; an entry without it is as good as invalid
    /// otherwise, and never cached (Arm ARM D8.5).
    fn set_access_flag(&mut self, source: &mut Source) -> Result<(), Miss> {
        if source.leaf.is_accessed() {
            return Ok(());
        }
        if !self.mmu.hw_access_flag {
            return Err(Miss::Fault(FaultCause::AccessFlag));
        }
        self.update(*source, source.leaf.accessed())?;
        source.leaf = source.leaf.accessed();
        self.mmu.counts.access_flags_set += 1;
        Ok(())
    }

    /// Goes down the tables to the leaf entry and remembers the tables on the way.
    fn descend(&mut self) -> Option<Found> {
        let (mut table, mut level, mut limits) = self.start();
        loop {
            let shift = 9 * (3 - u32::from(level));
            let slot = PteSlot::new(table, (self.page.get() >> shift & 511) as usize);
            match Entry::read(self.read_entry(slot), level)? {
                Entry::Leaf(leaf) => {
                    return Some(Found { source: Source { slot, leaf }, level, limits });
                }
                Entry::Table(entry) => {
                    judge::assert_sane_table(self.ram, slot, entry);
                    limits = entry.limits(limits);
                    self.remember_table(slot, level, entry, limits);
                    (table, level) = (entry.next(), level + 1);
                }
            }
        }
    }

    /// Returns the table to start at: the deepest one remembered, the root otherwise.
    fn start(&self) -> (Pfn, u8, Limits) {
        match self.mmu.tlbs.lookup_walk(self.cpu, self.space.asid, self.page) {
            Some((key, walk)) => {
                judge::assert_same_root(key, &walk, self.space);
                (walk.target, key.shape().level() + 1, walk.limits)
            }
            None => (self.space.root, 0, Limits::default()),
        }
    }

    /// Reads an entry; now and then one that was overwritten with no barrier since.
    fn read_entry(&mut self, slot: PteSlot) -> u64 {
        if let Some(hidden) = self.mmu.order.hidden(slot) {
            if self.mmu.rng.one_in(self.mmu.adversary.late_store) {
                return hidden;
            }
            self.mmu.order.reveal(slot);
        }
        self.ram.entry(slot)
    }

    /// Writes an entry back if it is what the walk has read.
    fn update(&mut self, source: Source, new: LeafEntry) -> Result<(), Miss> {
        self.ram.update_entry(source.slot, source.leaf.raw(), new.raw()).map_err(|_| {
            // What the walk has read was hidden by a later store, which it has met now.
            self.mmu.order.reveal(source.slot);
            Miss::Raced
        })
    }

    /// Decides what to cache the entry as. The contiguous bit is a hint: a run may be cached as one
    /// translation or page by page, so an invalidation has to cover all of it.
    fn shape_for(&mut self, found: &Found, cached: Option<Shape>) -> Shape {
        match (found.level, found.source.leaf.is_contiguous(), cached) {
            (2, ..) => Shape::Block,
            (_, true, Some(shape)) => shape,
            (_, true, None) if self.mmu.rng.one_in(2) && !self.has_pages_of_run() => Shape::Run,
            _ => Shape::Page,
        }
    }

    fn has_pages_of_run(&self) -> bool {
        let run = Key::new(self.cpu, Shape::Run, self.space.asid, self.page).pages();
        self.mmu.tlbs.meeting(self.cpu, Shape::Page, self.space.asid, run).next().is_some()
    }

    /// Picks an entry of the run whose permissions hardware takes for all of it: while the kernel
    /// changes the entries one by one, any of them. `None` when the one picked is not valid yet.
    fn some_sibling(&mut self, source: Source) -> Option<Source> {
        let first = source.slot.index & !(RUN - 1);
        let index = first + self.mmu.rng.below(usize::from(RUN)) as u16;
        let slot = PteSlot { index, ..source.slot };
        match Entry::read(self.ram.entry(slot), 3)? {
            Entry::Leaf(leaf) => Some(Source { slot, leaf }),
            Entry::Table(_) => None,
        }
    }

    /// Makes an entry dirty for a store. In a contiguous run any one may get the bit, so the kernel
    /// must look at all of them.
    fn make_dirty(&mut self, shape: Shape, own: Source, limits: Limits) -> Result<(), Miss> {
        let is_clean =
            |s: &Source| s.leaf.permits(limits, Access::Write, true) == Permit::OnceDirty;
        let sibling = if shape == Shape::Run { self.some_sibling(own) } else { None };
        let source = sibling.filter(is_clean).unwrap_or(own);
        self.update(source, source.leaf.dirty())?;
        self.mmu.counts.entries_made_dirty += 1;
        Ok(())
    }

    /// Caches the translation, unless `is_kept`: then the one cached before stays, which is the
    /// older and so the more dangerous of the two.
    fn remember(
        &mut self,
        shape: Shape,
        found: &Found,
        leaf: LeafEntry,
        is_kept: bool,
    ) -> (Key, Cached) {
        let key = Key::new(self.cpu, shape, self.space.asid, self.page);
        let slot = found.source.slot;
        let within = if shape == Shape::Run { slot.index % RUN } else { 0 };
        let cached = Cached {
            slot: PteSlot { index: slot.index - within, ..slot },
            target: Pfn::new(leaf.frame().get() - u32::from(within)),
            entry: Entry::Leaf(leaf),
            limits: found.limits,
            root: self.space.root,
            filled: self.mmu.order.tick(),
        };
        self.mmu.assert_no_conflict(key, &cached);
        if !is_kept {
            self.mmu.tlbs.insert(key, cached);
        }
        (key, cached)
    }

    fn remember_table(&mut self, slot: PteSlot, level: u8, entry: TableEntry, limits: Limits) {
        let key = Key::new(self.cpu, Shape::walk_at(level), self.space.asid, self.page);
        let cached = Cached {
            slot,
            target: entry.next(),
            entry: Entry::Table(entry),
            limits,
            root: self.space.root,
            filled: self.mmu.order.tick(),
        };
        self.mmu.assert_no_conflict(key, &cached);
        self.mmu.tlbs.insert(key, cached);
    }
}
