// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines a swap area: clusters of 512 slots on a disk.
//!
//! A cluster's slot words fill exactly one frame, allocated when the cluster is first used and
//! freed when it is empty, so an area costs memory for what is on it and not for its size. A second
//! frame per cluster holds tag words, if any of its pages needs one.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use base::lock_level::{Cluster, ClusterLists};
use base::percpu::{CpuId, PerCpu};
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use base::sync::{SpinGuard, SpinLock, stop_point};
use base::{Order, Pfn};
use hal::{DiskId, Machine};
use pgtable::{AreaId, SwapEntry};

use super::cpu_runs::CpuRuns;
use super::device_tags::TagPages;
use super::discard::Discards;
use super::mte_tags::forget_tags;
use super::slot::SlotWord;
use super::slot_table::NR_SLOT_TABLES;
use crate::events::MmEvent;
use crate::frame::word::FrameKind;
use crate::frame::{AllocMode, OutOfMemory};
use crate::run_map::{BLOCK_UNITS, RunMap};
use crate::system::System;

/// The frames of one cluster.
#[derive(Default)]
pub(super) struct ClusterTables {
    /// Slot words; `None` while no slot is in use.
    words: Option<Pfn>,
    /// What some slots have beside; `None` while none has (`slot_table.rs`).
    pub(super) beside: [Option<Pfn>; NR_SLOT_TABLES],
    nr_used: u32,
    /// Something was on it since it was last discarded, and it is on the list of such clusters.
    pub(super) is_stale: bool,
}

/// What an area does beside keeping pages.
pub(super) struct AreaOptions {
    /// It keeps a checksum of each page (`checksum.rs`).
    pub has_checksums: bool,
    /// It tells the disk which clusters become free (`discard.rs`).
    pub discards_free: bool,
    /// It has the tags of its pages as well (`device_tags.rs`).
    pub tag_pages: Option<TagPages>,
}

/// The order in which areas are used: by falling priority, then by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AreaRank(core::cmp::Reverse<i16>, AreaId);

/// A swap area in service.
pub(crate) struct SwapArea {
    pub id: AreaId,
    pub disk: DiskId,
    pub priority: i16,
    /// Slots, slot 0 (the header) included.
    pub nr_slots: u32,
    nr_usable: u64,
    clusters: Box<[SpinLock<ClusterTables, Cluster>]>,
    free: SpinLock<RunMap, ClusterLists>,
    runs: PerCpu<SpinLock<CpuRuns, ClusterLists>>,
    in_use: AtomicU64,
    /// Free slots that are not handed out again because they could not be written.
    retired: AtomicU64,
    table_frames: AtomicU64,
    /// No more slots are handed out: swapoff is at work.
    is_closing: AtomicBool,
    /// Pages have checksums.
    pub(super) has_checksums: bool,
    pub(super) discards: Discards,
    tag_pages: Option<TagPages>,
    #[cfg(feature = "lab")]
    pub(super) lab: super::area_ref::AreaLab,
}

impl SwapArea {
    /// Builds an area of `nr_slots` slots; slot 0 and `bad` are never handed out.
    pub(super) fn new(
        id: AreaId,
        disk: DiskId,
        priority: i16,
        nr_slots: u32,
        bad: &[u32],
        nr_cpus: usize,
        options: AreaOptions,
    ) -> Self {
        let nr_slots = options.tag_pages.as_ref().map_or(nr_slots, TagPages::first);
        let nr_clusters = nr_slots.div_ceil(BLOCK_UNITS);
        let mut free = RunMap::new(nr_clusters as usize);
        (0..nr_clusters).for_each(|cluster| free.add_block(cluster));
        let beyond_end = nr_slots..nr_clusters * BLOCK_UNITS;
        let bad = bad.iter().flat_map(|bad| match &options.tag_pages {
            Some(pages) => pages.lost_with(*bad),
            None => *bad..*bad + 1,
        });
        let bad = bad.filter(|slot| *slot < nr_slots);
        for slot in [0].into_iter().chain(bad).chain(beyond_end) {
            free.take_unit(slot);
        }
        let clusters: Vec<_> =
            (0..nr_clusters).map(|_| SpinLock::new(ClusterTables::default())).collect();
        Self {
            id,
            disk,
            priority,
            nr_slots,
            nr_usable: free.nr_free(),
            clusters: clusters.into_boxed_slice(),
            free: SpinLock::new(free),
            runs: PerCpu::new(nr_cpus, |_| SpinLock::new(CpuRuns::default())),
            in_use: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            table_frames: AtomicU64::new(options.tag_pages.is_some().into()),
            is_closing: AtomicBool::new(false),
            has_checksums: options.has_checksums,
            discards: Discards::new(options.discards_free, nr_clusters),
            tag_pages: options.tag_pages,
            #[cfg(feature = "lab")]
            lab: Default::default(),
        }
    }

    /// Returns where the tags of its pages are, if they are on the disk.
    pub(super) fn tag_pages(&self) -> Option<&TagPages> {
        self.tag_pages.as_ref()
    }

    /// Returns the area's place in the order in which areas are used.
    pub(super) fn rank(&self) -> AreaRank {
        AreaRank(core::cmp::Reverse(self.priority), self.id)
    }

    pub fn nr_usable(&self) -> u64 {
        self.nr_usable
    }

    pub fn nr_in_use(&self) -> u64 {
        self.in_use.load(Ordering::Acquire)
    }

    /// Returns how many slots can still be handed out.
    pub fn nr_free(&self) -> u64 {
        let taken = self.nr_in_use() + self.retired.load(Ordering::Relaxed);
        self.nr_usable.saturating_sub(taken)
    }

    pub fn nr_table_frames(&self) -> u64 {
        self.table_frames.load(Ordering::Relaxed)
    }

    /// Takes a naturally aligned run of 2^`order` slots and returns the first. They count as in use
    /// from here on.
    pub fn take_run(&self, cpu: CpuId, order: Order) -> Option<u32> {
        self.take_from_cpu_runs(cpu, order).or_else(|| {
            // What is missing may be in reserve.
            self.return_cpu_runs();
            self.take_from_cpu_runs(cpu, order)
        })
    }

    fn take_from_cpu_runs(&self, cpu: CpuId, order: Order) -> Option<u32> {
        let mut runs = self.runs.of(cpu).lock();
        if self.is_closing.load(Ordering::Relaxed) {
            return None;
        }
        // The free map's lock is of the same level: taken inside a CPU's runs, never outside.
        let first = match runs.take(order) {
            None => runs.refill(order, &mut self.free.lock_nested())?,
            Some(first) => first,
        };
        self.in_use.fetch_add(order.nr_pages().into(), Ordering::Relaxed);
        Some(first)
    }

    /// Gives back what CPUs hold in reserve: the area is nearly full, or closing.
    fn return_cpu_runs(&self) {
        for runs in self.runs.iter() {
            runs.lock().give_back(&mut self.free.lock_nested());
        }
    }

    /// Gives back a run that was taken and never used.
    pub fn return_run(&self, first: u32, order: Order) {
        self.free.lock().free(first, order);
        self.in_use.fetch_sub(order.nr_pages() as u64, Ordering::Release);
    }

    /// Takes all slots of a cluster if all are free.
    pub(super) fn take_cluster(&self, index: u32) -> bool {
        let mut free = self.free.lock();
        if self.is_closing.load(Ordering::Relaxed) || !free.take_block(index) {
            return false;
        }
        self.in_use.fetch_add(BLOCK_UNITS.into(), Ordering::Relaxed);
        true
    }

    /// Hands out no more slots. When this returns, every slot that will ever be handed out counts
    /// as in use: the flag is looked at under the locks that are taken here. `false` if somebody else
    /// has closed it before.
    #[must_use = "an area is taken out of service by one at a time"]
    pub fn close(&self) -> bool {
        if self.is_closing.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.return_cpu_runs();
        drop(self.free.lock());
        true
    }

    /// Hands out slots again.
    pub fn reopen(&self) {
        self.is_closing.store(false, Ordering::SeqCst);
    }

    /// Locks the cluster of `slot`.
    pub(super) fn lock_cluster<'a, M: Machine>(
        &'a self,
        system: &'a System<M>,
        slot: u32,
    ) -> ClusterLock<'a, M> {
        let index = slot / BLOCK_UNITS;
        let tables = self.clusters[index as usize].lock();
        self.assert_is_there();
        ClusterLock { system, area: self, index, tables }
    }

    /// Tells whether `slot` is one of the area's.
    pub fn has_slot(&self, slot: u32) -> bool {
        slot != 0 && slot < self.nr_slots
    }

    /// Returns the first sector of a slot.
    pub fn sector(&self, slot: u32) -> u64 {
        slot as u64 * hal::block_dev::SECTORS_PER_PAGE
    }
}

/// Slots that become free together.
#[derive(Default)]
struct Freed {
    nr: u32,
    /// Those that the area's map has not been given yet.
    run: Range<u32>,
}

/// Shows that a cluster is locked, and reaches its slots' words.
#[must_use = "the cluster is unlocked as soon as the guard is dropped"]
pub(super) struct ClusterLock<'a, M: Machine> {
    system: &'a System<M>,
    pub(super) area: &'a SwapArea,
    pub(super) index: u32,
    pub(super) tables: SpinGuard<'a, ClusterTables, Cluster>,
}

impl<'a, M: Machine> ClusterLock<'a, M> {
    /// Tells whether `slot` is in this cluster.
    pub fn has(&self, slot: u32) -> bool {
        slot / BLOCK_UNITS == self.index
    }

    /// Returns a slot's word.
    pub fn load(&self, slot: u32) -> SlotWord {
        debug_assert!(self.has(slot));
        match self.tables.words {
            Some(frame) => {
                SlotWord(self.system.machine().load_word(frame, (slot % BLOCK_UNITS) as usize))
            }
            None => SlotWord(0),
        }
    }

    /// Stores the word of a slot that is and stays in use.
    pub fn store(&mut self, slot: u32, word: SlotWord) {
        debug_assert!(self.has(slot) && !word.is_free());
        let frame = self.tables.words.expect("a slot in use has a word");
        self.system.machine().store_word(frame, (slot % BLOCK_UNITS) as usize, word.0);
    }

    /// Makes room for the words of slots about to be used.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is not even a reserved frame.
    pub fn prepare(&mut self) -> Result<(), OutOfMemory> {
        if self.tables.words.is_none() {
            self.tables.words = Some(self.alloc_table()?);
        }
        Ok(())
    }

    pub(super) fn alloc_table(&self) -> Result<Pfn, OutOfMemory> {
        let frame = self.system.alloc_frame_as(FrameKind::SwapTable, AllocMode::Reserve)?;
        self.system.machine().zero_frame(frame);
        self.area.table_frames.fetch_add(1, Ordering::Relaxed);
        Ok(frame)
    }

    /// Returns the words of slots of this cluster, in turn.
    pub fn words(&self, slots: Range<u32>) -> impl Iterator<Item = SlotWord> {
        let frame = self.tables.words.expect("a slot in use has a word");
        self.system.machine().words(frame, self.indices(&slots)).map(SlotWord)
    }

    fn indices(&self, slots: &Range<u32>) -> Range<usize> {
        debug_assert!(self.has(slots.start) && self.has(slots.end - 1), "{slots:?}");
        let first = (slots.start % BLOCK_UNITS) as usize;
        first..first + slots.len()
    }

    /// Stores the word of slots that were free.
    pub fn begin_use(&mut self, slots: Range<u32>, word: SlotWord) {
        let frame = self.tables.words.expect("prepare() was called");
        self.system.machine().update_words(frame, self.indices(&slots), |old| {
            debug_assert!(old == 0, "{slots:?} used while in use");
            word.0
        });
        self.tables.nr_used += slots.len() as u32;
    }

    /// Changes the words of slots in use. Those that nothing refers to and nothing caches then are
    /// free: their tags are dropped. A bad slot never comes back.
    #[inline]
    pub fn update(&mut self, slots: Range<u32>, mut change: impl FnMut(SlotWord) -> SlotWord) {
        let frame = self.tables.words.expect("a slot in use has a word");
        let mut freed = Freed::default();
        let mut slot = slots.start;
        self.system.machine().update_words(frame, self.indices(&slots), |word| {
            let old = SlotWord(word);
            if old.is_free() {
                self.report_free(slot);
                slot += 1;
                return word;
            }
            let mut new = change(old);
            if new.is_unused() {
                self.free_slot(slot, old, &mut freed);
                new = SlotWord(0);
            }
            slot += 1;
            new.0
        });
        if freed.nr != 0 {
            self.end_use(freed);
        }
    }

    /// Somebody names a slot that is not in use: an entry was written over, or a slot given up twice.
    #[cold]
    fn report_free(&self, slot: u32) {
        log::error!("swap: slot {slot} of {:?} is named, and is not in use", self.area.id);
    }

    fn free_slot(&self, slot: u32, word: SlotWord, freed: &mut Freed) {
        forget_tags(self, slot, word);
        freed.nr += 1;
        if word.is_bad() {
            self.area.retired.fetch_add(1, Ordering::Relaxed);
            self.system.count(MmEvent::SwapSlotRetired, 1);
        } else if freed.run.end == slot {
            freed.run.end += 1;
        } else {
            let before = core::mem::replace(&mut freed.run, slot..slot + 1);
            self.area.free.lock().free_range(before);
        }
    }

    /// Ends the use of slots whose words are 0 now.
    fn end_use(&mut self, freed: Freed) {
        self.tables.nr_used -= freed.nr;
        if self.tables.nr_used == 0 {
            self.free_tables();
            self.note_stale();
        }
        self.area.free.lock().free_range(freed.run);
        // Last, and released: who sees the area unused sees nothing of the slots left.
        self.area.in_use.fetch_sub(freed.nr.into(), Ordering::Release);
        stop_point("slots freed");
    }

    fn free_tables(&mut self) {
        let beside = core::mem::take(&mut self.tables.beside);
        for frame in beside.into_iter().chain([self.tables.words.take()]).flatten() {
            self.system.free_frame(frame);
            self.area.table_frames.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Returns the first slot of the cluster from `from` on that a folio caches, with the folio.
    pub fn next_cached(&self, from: u32) -> Option<(u32, crate::folio::FolioId)> {
        let end = ((self.index + 1) * BLOCK_UNITS).min(self.area.nr_slots);
        (from..end).find_map(|slot| Some((slot, self.load(slot).folio()?)))
    }

    /// Returns the entry that names `slot`.
    pub fn entry(&self, slot: u32) -> SwapEntry {
        SwapEntry { area: self.area.id, slot }
    }

    /// Returns the memory manager.
    pub fn system(&self) -> &'a System<M> {
        self.system
    }
}

#[cfg(feature = "lab")]
impl<M: Machine> Drop for ClusterLock<'_, M> {
    /// Unlocking stores to the cluster.
    fn drop(&mut self) {
        self.area.assert_is_there();
    }
}
