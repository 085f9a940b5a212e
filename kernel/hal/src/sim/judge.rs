// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the judges: what no correct kernel does, each a panic that names the entry.
//!
//! 1. *Stale translation.* A frame gets new contents, or is mapped anew, while some CPU can still
//!    reach it through an entry that is gone.
//! 2. *Frame in use.* A frame gets new contents while it is mapped, or a table.
//! 3. *Lost dirty state.* A plain store replaces an entry that hardware may be making dirty.
//! 4. *Lost store.* A frame is written out while some CPU can store to it and the entry would not
//!    tell.
//! 5. *Break-before-make.* A valid entry replaces one that some CPU still has cached, with another
//!    output address, memory type, size or kind (Arm ARM D8.17).
//! 6. *ASID reuse.* Translations of two tables carry one ASID.
//! 7. *Nonsense.* An entry that no user mapping can be, or a contiguous run that is none.
//!
//! A frame counts as used where a CPU has it cached: what no CPU has ever touched is not seen.

use base::percpu::CpuId;
use base::{PageRange, Pfn};

use super::descriptor::{self, Entry, LeafEntry, MemoryType, Permit, RUN, TableEntry};
use super::mmu::{Mmu, Space};
use super::ram::Ram;
use super::tlb::{Cached, Key, Shape};
use crate::pte_mem::PteSlot;
use crate::tlb::Asid;
use crate::user_mem::Access;

impl Mmu {
    /// Judges a frame that is about to get new contents.
    ///
    /// # Panics
    ///
    /// When a CPU may still use it for something else.
    pub(super) fn assert_reusable(&self, ram: &Ram, frame: Pfn) {
        self.assert_no_stale_use(ram, frame, 1);
        if let Some((key, cached)) = self.tlbs.using(frame, 1).next() {
            let what = if matches!(cached.entry, Entry::Leaf(_)) { "mapped" } else { "a table" };
            panic!("{frame:?} is overwritten while it is {what}: {key:?}");
        }
        if let Some((key, _)) = self.tlbs.read_from_table(frame).next() {
            panic!("{frame:?} is overwritten while it is a table that was read from: {key:?}");
        }
        let active = self.cpus.iter().position(|cpu| cpu.space.is_some_and(|s| s.root == frame));
        if let Some(cpu) = active {
            panic!("{frame:?} is overwritten while it is the active root of cpu {cpu}");
        }
    }

    /// Judges frames that an entry has just begun to name.
    pub(super) fn assert_mappable(&self, ram: &Ram, old: u64, new: u64) {
        let (first, nr_frames) = descriptor::frames_named(new);
        let was_named = descriptor::is_valid(old) && descriptor::frames_named(old).0 == first;
        if self.judges_new_mappings && !was_named && ram.is_managed(first) {
            self.assert_no_stale_use(ram, first, nr_frames);
        }
    }

    /// Judges a frame that is about to be written to disk. A store that reaches it meanwhile and
    /// need not look at the entry, which says clean or is gone, is lost with the frame.
    pub(super) fn assert_not_written_meanwhile(&self, ram: &Ram, frame: Pfn) {
        for (key, cached) in self.tlbs.using(frame, 1) {
            let Entry::Leaf(leaf) = cached.entry else { continue };
            let write = leaf.permits(cached.limits, Access::Write, self.hw_dirty);
            let within = frame.get().wrapping_sub(cached.target.get());
            let now = ram.entry(own_slot(key, cached, within));
            let is_let_go = now == 0 && !self.judges_unmapped_stores;
            assert!(
                write != Permit::Yes || is_let_go || self.is_granted(ram, key, cached, within),
                "{frame:?} is written out with a stale writable translation: {key:?}, now {now:#x}"
            );
        }
    }

    /// Judges a plain store over `old`: where a CPU may walk, hardware may make the entry dirty
    /// between the kernel's last look at it and the store.
    pub(super) fn assert_loses_no_dirty_state(&self, slot: PteSlot, old: u64, new: u64) {
        if !self.judges_plain_stores {
            return;
        }
        let mut walks = self.tlbs.walks_into(slot.table);
        let Some((key, walk)) = walks.find(|(key, walk)| self.is_active(*key, walk)) else {
            return;
        };
        let leaf = |entry| match Entry::read(entry, key.shape().level() + 1) {
            Some(Entry::Leaf(leaf)) => Some(leaf),
            _ => None,
        };
        let is_managed = leaf(old).is_some_and(|old| old.is_dirty_managed(walk.limits));
        let write = |leaf: LeafEntry| leaf.permits(walk.limits, Access::Write, self.hw_dirty);
        assert!(
            !self.hw_dirty || !is_managed || leaf(new).map(write) == Some(Permit::Yes),
            "lost dirty state: {slot:?} = {new:#x} stored over {old:#x}, which needs an exchange"
        );
    }

    /// Tells whether a CPU may use, at this moment, what it has cached.
    pub(super) fn is_active(&self, key: Key, cached: &Cached) -> bool {
        let space = Space { root: cached.root, asid: key.asid() };
        self.cpus[key.cpu().get()].space == Some(space)
    }

    fn assert_no_stale_use(&self, ram: &Ram, first: Pfn, nr_frames: u32) {
        for (key, cached) in self.tlbs.using(first, nr_frames) {
            let mut frames = (first.get()..first.get() + nr_frames).map(Pfn::new);
            if let Some(frame) = frames.find(|frame| is_stale(ram, key, cached, *frame)) {
                panic!("stale translation to {frame:?}: {key:?}, read from {:?}", cached.slot);
            }
        }
    }

    /// Judges a valid entry that has just been stored: hardware that walks now must not meet it
    /// beside a cached one that differs in more than permissions. Judged on CPUs where the address
    /// space is active; where it is not, the next walk there judges.
    pub(super) fn assert_broken_before_made(&self, slot: PteSlot, value: u64) {
        for (key, cached) in self.tlbs.read_from(slot) {
            assert!(
                !self.is_active(key, cached) || is_kept(key, cached, slot, value),
                "break-before-make violation: {slot:?} = {value:#x}, cached {key:?} as {:x?}",
                cached.entry
            );
        }
    }

    /// Judges what a CPU has cached of `pages`: memory still grants it, and knows of its stores.
    pub(super) fn assert_no_stale(&self, ram: &Ram, cpu: CpuId, asid: Asid, pages: PageRange) {
        for shape in Shape::LEAVES {
            for (key, cached) in self.tlbs.meeting(cpu, shape, asid, pages) {
                for page in key.pages().intersect(pages).pages() {
                    let within = (page.get() - key.pages().start.get()) as u32;
                    assert!(
                        self.is_granted(ram, key, cached, within),
                        "stale translation to {:?}: {key:?}, read from {:?}",
                        cached.target.add(within),
                        cached.slot
                    );
                }
            }
        }
    }

    /// Tells whether memory permits all that a cached translation does to one of its pages. Of a
    /// contiguous run, one dirty entry speaks for all.
    fn is_granted(&self, ram: &Ram, key: Key, cached: &Cached, within: u32) -> bool {
        if is_stale(ram, key, cached, cached.target.add(within)) {
            return false;
        }
        let level = key.shape().level();
        let is_run = cached.leaf().is_contiguous();
        let own = own_slot(key, cached, within).index;
        let first = own & !(RUN - 1);
        let entries = if is_run { first..first + RUN } else { own..own + 1 };
        let permits = |index: u16, access: Access| {
            let value = ram.entry(PteSlot { index, ..cached.slot });
            match Entry::read(value, level) {
                Some(Entry::Leaf(now)) => now.permits(cached.limits, access, self.hw_dirty),
                _ => Permit::No,
            }
        };
        [Access::Read, Access::Write, Access::Execute].into_iter().all(|access| {
            let had = cached.leaf().permits(cached.limits, access, self.hw_dirty);
            had != Permit::Yes
                || permits(own, access) != Permit::No
                    && entries.clone().any(|index| permits(index, access) == Permit::Yes)
        })
    }

    /// Judges what a walk is about to cache, against the translations cached already.
    pub(super) fn assert_no_conflict(&self, key: Key, new: &Cached) {
        let shapes: &[Shape] = match key.shape() {
            Shape::Page | Shape::Run | Shape::Block => &Shape::LEAVES,
            Shape::TableAt2 => &[Shape::Block],
            Shape::TableAt1 | Shape::TableAt0 => &[],
        };
        for shape in shapes {
            for (old_key, old) in self.tlbs.meeting(key.cpu(), *shape, key.asid(), key.pages()) {
                assert!(
                    agree(old_key, old, key, new),
                    "break-before-make violation: found {:x?} for {key:?}, cached {old_key:?} as {:x?}",
                    new.entry,
                    old.entry
                );
            }
        }
    }
}

/// Returns the slot that a cached item has for its page `within`.
fn own_slot(key: Key, cached: &Cached, within: u32) -> PteSlot {
    let index = if key.shape() == Shape::Run { within as u16 } else { 0 };
    PteSlot { index: cached.slot.index + index, ..cached.slot }
}

/// Tells whether the entry that a cached item was read from no longer leads to `frame`; `false` for
/// a frame that the item has nothing to do with.
fn is_stale(ram: &Ram, key: Key, cached: &Cached, frame: Pfn) -> bool {
    let within = frame.get().wrapping_sub(cached.target.get());
    let nr_frames = match cached.entry {
        Entry::Leaf(_) => key.shape().nr_pages() as u32,
        Entry::Table(_) => 1,
    };
    if within >= nr_frames {
        return false;
    }
    // A run was read from 16 entries; all else from one.
    let nth = if key.shape() == Shape::Run { within as u16 } else { 0 };
    let slot = PteSlot { index: cached.slot.index + nth, ..cached.slot };
    let target = cached.target.add(u32::from(nth));
    match (cached.entry, Entry::read(ram.entry(slot), key.shape().level())) {
        (Entry::Leaf(_), Some(Entry::Leaf(now))) => now.frame() != target,
        (Entry::Table(_), Some(Entry::Table(now))) => now.next() != target,
        _ => true,
    }
}

/// Tells whether storing `value` keeps what break-before-make is about, as the cached item has it.
fn is_kept(key: Key, cached: &Cached, slot: PteSlot, value: u64) -> bool {
    let target = cached.target.add(u32::from(slot.index - cached.slot.index));
    match (cached.entry, Entry::read(value, key.shape().level())) {
        (_, None) => true,
        (Entry::Leaf(old), Some(Entry::Leaf(new))) => {
            new.frame() == target && new.is_same_kind(old)
        }
        (Entry::Table(_), Some(Entry::Table(new))) => new.next() == target,
        (Entry::Leaf(_) | Entry::Table(_), Some(_)) => false,
    }
}

/// Tells whether two items for meeting pages translate alike.
fn agree(old_key: Key, old: &Cached, key: Key, new: &Cached) -> bool {
    let (Entry::Leaf(old_leaf), Entry::Leaf(new_leaf)) = (old.entry, new.entry) else {
        return false;
    };
    let offset = |key: Key, item: &Cached| {
        u64::from(item.target.get()).wrapping_sub(key.pages().start.get())
    };
    old_key.shape().level() == key.shape().level()
        && old_leaf.is_same_kind(new_leaf)
        && offset(old_key, old) == offset(key, new)
}

/// Judges a cached item that is about to serve the table at the CPU's root.
pub(super) fn assert_same_root(key: Key, cached: &Cached, space: Space) {
    assert!(
        cached.root == space.root,
        "asid reuse: {key:?} comes from the table at {:?}, the active one is at {:?}",
        cached.root,
        space.root
    );
}

/// Judges a table entry that a walk goes through.
pub(super) fn assert_sane_table(ram: &Ram, slot: PteSlot, entry: TableEntry) {
    assert!(ram.is_managed(entry.next()), "{slot:?} points to a table outside managed memory");
}

/// Judges a leaf entry that a walk has read.
pub(super) fn assert_sane_leaf(ram: &Ram, slot: PteSlot, level: u8, leaf: LeafEntry) {
    if let Some(why) = leaf.fault_in_entry(level) {
        panic!("{slot:?} = {:#x} cannot map user memory: {why}", leaf.raw());
    }
    assert!(ram.is_managed(leaf.frame()), "{slot:?} maps {:?}, which is not managed", leaf.frame());
    if leaf.is_contiguous() {
        assert_sane_run(ram, slot, leaf);
    }
}

/// Judges the 16 entries of a contiguous run (Arm ARM D8.7). Entries that are not valid are not
/// written yet, or cleared already; hardware may take them for written.
fn assert_sane_run(ram: &Ram, slot: PteSlot, leaf: LeafEntry) {
    let within = slot.index % RUN;
    let base = leaf.frame().get().wrapping_sub(u32::from(within));
    assert!(base.is_multiple_of(u32::from(RUN)), "{slot:?}: its contiguous run is not aligned");
    for index in 0..RUN {
        let sibling = PteSlot { index: slot.index - within + index, ..slot };
        let value = ram.entry(sibling);
        let is_member = match Entry::read(value, 3) {
            None => true,
            Some(Entry::Leaf(other)) => {
                other.frame().get() == base + u32::from(index) && other.agrees_in_run(leaf)
            }
            Some(Entry::Table(_)) => false,
        };
        assert!(
            is_member,
            "contiguous run of {slot:?} = {:#x}: {sibling:?} = {value:#x} does not belong to it",
            leaf.raw()
        );
    }
}

/// Returns the memory type of a cached translation.
pub(super) fn memory_type(cached: &Cached) -> MemoryType {
    cached.leaf().memory_type().expect("the walk refuses an AttrIndx beyond MAIR_EL1")
}
