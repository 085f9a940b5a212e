// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds what the memory manager has one of per machine.

use alloc::sync::Arc;
use core::ops::Range;

use base::counter::Counters;
use base::sync::SpinLock;
use base::{Order, Pfn, lock_level};
use hal::Machine;

use crate::device::DeviceMemory;
use crate::events::MmEvent;
use crate::folio::FolioArena;
use crate::frame::{AllocMode, BigBlocks, FrameFront, FrameWords, Watermarks};
use crate::lab::Lab;
use crate::mm::MmRegistry;
use crate::reclaim::{DeferredSplits, Lru, ReclaimState};
use crate::rmap::SpillTables;
use crate::run_map::BLOCK_UNITS;
use crate::shmem::ShmemRegistry;
use crate::swap::Swap;
use crate::thp::Thp;
use crate::tlb::Tlb;

/// The memory manager of one machine.
pub struct System<M: Machine> {
    machine: M,
    counters: Counters<MmEvent>,
    words: FrameWords,
    front: FrameFront,
    watermarks: Watermarks,
    nr_frames: u64,
    folios: FolioArena,
    devices: DeviceMemory,
    spill: SpillTables,
    lru: Lru,
    deferred_splits: DeferredSplits,
    reclaim: ReclaimState,
    swap: Swap,
    mms: MmRegistry<M>,
    shmems: ShmemRegistry<M>,
    zero_page: Pfn,
    thp: Thp,
    tlb: Tlb,
    /// Held while blocks go to the kernel's heap.
    heap_growth: SpinLock<(), lock_level::HeapGrowth>,
    lab: Lab,
}

impl<M: Machine> System<M> {
    /// Takes over the frames that `machine` says are managed.
    ///
    /// # Panics
    ///
    /// When the machine has no managed memory at all.
    // Its frame is kilobytes, which the boot's caller does not have to spare while it looks for disks.
    #[inline(never)]
    pub fn new(machine: M) -> Arc<Self> {
        let ranges = machine.managed_frames();
        let span = span_of(&ranges);
        let nr_frames: u64 = ranges.iter().map(|r| (r.end.get() - r.start.get()) as u64).sum();
        let ids = (0..machine.nr_devices() as u8).map(hal::DeviceId);
        let of_devices = ids.map(|id| machine.device_frames(id));
        let nr_device_frames: u64 =
            of_devices.map(|range| u64::from(range.end.get() - range.start.get())).sum();
        let nr_cpus = machine.nr_cpus();
        let nr_blocks = (span.end.get() - span.start.get()).div_ceil(BLOCK_UNITS) as usize;
        let big = BigBlocks::new(span.start, &ranges);
        let mut system = Self {
            counters: Counters::new(nr_cpus),
            front: FrameFront::new(span.start, nr_blocks, nr_cpus, big),
            words: FrameWords::new(span),
            watermarks: Watermarks::for_memory(nr_frames),
            nr_frames,
            folios: FolioArena::new((nr_frames + nr_device_frames) as usize, nr_cpus),
            devices: DeviceMemory::new(&machine),
            spill: SpillTables::new(),
            lru: Lru::new(nr_cpus),
            deferred_splits: DeferredSplits::new(),
            reclaim: ReclaimState::new(),
            swap: Swap::new(),
            mms: MmRegistry::new(),
            shmems: ShmemRegistry::new(),
            zero_page: Pfn::new(0),
            thp: Thp::new(nr_cpus),
            tlb: Tlb::new(&machine),
            heap_growth: SpinLock::new(()),
            lab: Lab::default(),
            machine,
        };
        // Every untouched private page reads from it.
        let zero_page = system.alloc_zeroes(Order::PAGE, AllocMode::Reserve);
        system.zero_page = zero_page.expect("a machine with managed memory has a frame for zeroes");
        system.set_heap_aside();
        Arc::new(system)
    }

    /// Returns the machine.
    #[inline(always)]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Returns the counters.
    pub fn counters(&self) -> &Counters<MmEvent> {
        &self.counters
    }

    #[inline]
    pub(crate) fn count(&self, event: MmEvent, n: u64) {
        self.counters.add(self.machine.cpu(), event, n);
    }

    /// Returns the watermarks that steer reclaim.
    pub fn watermarks(&self) -> Watermarks {
        self.watermarks
    }

    pub(crate) fn words(&self) -> &FrameWords {
        &self.words
    }

    pub(crate) fn front(&self) -> &FrameFront {
        &self.front
    }

    pub(crate) fn nr_frames(&self) -> u64 {
        self.nr_frames
    }

    pub(crate) fn folios(&self) -> &FolioArena {
        &self.folios
    }

    pub(crate) fn device_memory(&self) -> &DeviceMemory {
        &self.devices
    }

    pub(crate) fn spill(&self) -> &SpillTables {
        &self.spill
    }

    pub(crate) fn lru(&self) -> &Lru {
        &self.lru
    }

    pub(crate) fn deferred_splits(&self) -> &DeferredSplits {
        &self.deferred_splits
    }

    pub(crate) fn reclaim(&self) -> &ReclaimState {
        &self.reclaim
    }

    pub(crate) fn swap(&self) -> &Swap {
        &self.swap
    }

    pub(crate) fn mms(&self) -> &MmRegistry<M> {
        &self.mms
    }

    pub(crate) fn shmems(&self) -> &ShmemRegistry<M> {
        &self.shmems
    }

    /// Returns settings and statistics of large folios.
    pub fn thp(&self) -> &Thp {
        &self.thp
    }

    pub(crate) fn tlb(&self) -> &Tlb {
        &self.tlb
    }

    pub(crate) fn heap_growth(&self) -> &SpinLock<(), lock_level::HeapGrowth> {
        &self.heap_growth
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn zero_page(&self) -> Pfn {
        self.zero_page
    }
}

fn span_of(ranges: &[Range<Pfn>]) -> Range<Pfn> {
    let first = ranges.first().expect("the machine has managed memory");
    let last = ranges.last().expect("the machine has managed memory");
    first.start..last.end
}
