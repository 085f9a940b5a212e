// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file binds the ports of `hal` to the machine: the one place where `arch`, `drivers` and the
//! layers above them meet. What processes need beyond the memory manager's ports is in
//! `machine/platform.rs`.
//!
//! Each method is one call. What it calls says why it is right.

#![expect(unsafe_code, reason = "gives an adopted block to the heap")]

mod platform;

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering;

use arch::entropy::Entropy;
use arch::features::{CpuFeatures, IdRegs};
use arch::linear_map::LinearMap;
#[cfg(not(feature = "lab"))]
use arch::linear_map::Table;
use arch::timer::{self, Ticks};
use arch::{cache, cpu, mte, page, pmu, tlbi};
use base::percpu::CpuId;
use base::sync::{self, OnceCell};
use base::{Pfn, PhysAddr};
use drivers::gicv3::Gicv3;
use hal::tlb::TlbiCount;
#[cfg(feature = "trace")]
use hal::trace::TraceEvent;
use hal::{
    Asid, BlockDevs, BlockOp, Clock, CopyError, CopyTicket, Cpus, DeviceId, DeviceMem, DiskId,
    FrameCopy, Invalidate, IoError, IoTicket, PageTags, PhysMem, PteMem, Reach, Segment, TagMem,
    Threads, Tlb, Trace, TraceKind, Wait, WaitChannel,
};
use task::Scheduler;

use crate::device_memory::DeviceMemory;
use crate::disks::Disks;
use crate::heap;
#[cfg(feature = "lab")]
use crate::lab::{stale, watched_table::WatchedTable};
#[cfg(feature = "trace")]
use crate::{console, trace};

/// The machine this kernel runs on.
pub struct Granule {
    /// What the kernel uses of its CPUs.
    pub features: CpuFeatures,
    /// How many ASIDs the memory manager is to use.
    pub nr_asids: u32,
    /// AT_HWCAP and AT_HWCAP2.
    pub hwcaps: (u64, u64),
    /// All RAM, and who owns it.
    pub linear_map: LinearMap,
    /// What the memory manager got at boot.
    pub managed: Vec<Range<Pfn>>,
    /// How many CPUs there are.
    pub nr_cpus: usize,
    /// The counter.
    pub ticks: Ticks,
    /// Boot option `nohz=off`: each CPU's timer is due within [`TICK_NS`], deadline or not. QEMU's
    /// recorder needs it: it hands on the end of a request only when a timer is due.
    pub has_tick: bool,
    /// Random bytes.
    pub entropy: Entropy,
    /// The interrupt controller.
    pub gic: Gicv3,
    /// The disks.
    pub disks: Disks,
    /// Devices with memory of their own.
    pub device_memory: DeviceMemory,
    /// Interrupt numbers.
    pub interrupts: Interrupts,
    /// Whether user programs may read how many instructions each CPU has executed.
    pub is_pmu_for_user: bool,
    /// Nanoseconds from the Unix epoch to the counter's zero.
    pub epoch_offset_ns: u64,
}

/// The longest time from setting a CPU's timer to its interrupt, where ticks were asked for.
const TICK_NS: u64 = 1_000_000;

/// Numbers of the interrupts that the kernel waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupts {
    /// The virtual timer's, private to each CPU.
    pub timer: u32,
    /// The console's.
    pub console: Option<u32>,
}

impl Granule {
    /// Brings the running CPU to its running state, interrupts included.
    ///
    /// # Panics
    ///
    /// When the CPU lacks a feature that the boot CPU has, or the interrupt controller has no
    /// redistributor for it.
    pub fn init_cpu(&self) {
        let own = CpuFeatures::decode(&IdRegs::read());
        assert!(own.common(&self.features) == self.features, "the CPUs of this machine differ");
        cpu::init(&self.features);
        timer::init_cpu();
        if !pmu::init_cpu(self.is_pmu_for_user) {
            log::warn!("pmu.user=on: this CPU counts no instructions, left out");
        }
        // A tick, where ticks were asked for.
        self.set_timer(None);
        self.gic
            .init_cpu(cpu::affinity(), self.interrupts.timer)
            .unwrap_or_else(|error| panic!("GICv3: {error:?}"));
    }

    /// Waits for interrupts and takes them: what a CPU does that has nothing to do.
    pub fn idle(&self) {
        self.wait_for_interrupt();
        while self.take_interrupt().is_some() {}
    }
}

impl Cpus for Granule {
    fn cpu(&self) -> CpuId {
        cpu::current()
    }

    fn nr_cpus(&self) -> usize {
        self.nr_cpus
    }
}

impl Clock for Granule {
    fn now_ns(&self) -> u64 {
        self.ticks.now_ns()
    }
}

impl PhysMem for Granule {
    fn managed_frames(&self) -> Vec<Range<Pfn>> {
        self.managed.clone()
    }

    fn adopt_block(&self, first: Pfn) -> bool {
        let block = self.linear_map.take_block(first);
        // SAFETY: `take_block` made the kernel the owner: no port reaches the block any more.
        unsafe { heap::add_block(block) };
        true
    }

    fn kernel_heap_room(&self) -> usize {
        heap::room()
    }

    fn zero_frame(&self, pfn: Pfn) {
        #[cfg(feature = "lab")]
        stale::reused(pfn, 1);
        page::zero(self.linear_map.frame(pfn).into(), self.features.mops);
    }

    fn zero_frames(&self, first: Pfn, nr_frames: u32) {
        #[cfg(feature = "lab")]
        stale::reused(first, nr_frames);
        page::zero(self.linear_map.run(first, nr_frames), self.features.mops);
    }

    fn copy_frame(&self, dst: Pfn, src: Pfn) {
        #[cfg(feature = "lab")]
        stale::reused(dst, 1);
        let (dst, src) = (self.linear_map.frame(dst), self.linear_map.frame(src));
        page::copy(dst, src, self.features.mops);
    }

    fn is_zero_frame(&self, pfn: Pfn) -> bool {
        page::is_zero(self.linear_map.frame(pfn))
    }

    fn read_bytes(&self, from: PhysAddr, buf: &mut [u8]) {
        page::read_bytes(&self.linear_map, from, buf);
    }

    fn write_bytes(&self, to: PhysAddr, buf: &[u8]) {
        page::write_bytes(&self.linear_map, to, buf);
    }

    fn load_word(&self, pfn: Pfn, index: usize) -> u64 {
        self.linear_map.words(pfn)[index].load(Ordering::Relaxed)
    }

    fn store_word(&self, pfn: Pfn, index: usize, value: u64) {
        self.linear_map.words(pfn)[index].store(value, Ordering::Relaxed);
    }

    fn load_words(&self, pfn: Pfn, first: usize, words: &mut [u64]) {
        let from = &self.linear_map.words(pfn)[first..first + words.len()];
        for (word, from) in words.iter_mut().zip(from) {
            *word = from.load(Ordering::Relaxed);
        }
    }

    fn store_words(&self, pfn: Pfn, first: usize, words: &[u64]) {
        let to = &self.linear_map.words(pfn)[first..first + words.len()];
        for (word, to) in words.iter().zip(to) {
            to.store(*word, Ordering::Relaxed);
        }
    }

    fn words(&self, pfn: Pfn, indices: Range<usize>) -> impl Iterator<Item = u64> {
        self.linear_map.words(pfn)[indices].iter().map(|word| word.load(Ordering::Relaxed))
    }

    fn update_words(&self, pfn: Pfn, indices: Range<usize>, mut change: impl FnMut(u64) -> u64) {
        for word in &self.linear_map.words(pfn)[indices] {
            word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }

    fn sync_instructions(&self, pfn: Pfn) {
        cache::sync_instructions(self.linear_map.frame(pfn));
    }
}

impl TagMem for Granule {
    fn has_tags(&self) -> bool {
        self.features.has_tags()
    }

    fn zero_tags(&self, pfn: Pfn) {
        mte::zero_tags(self.linear_map.frame(pfn));
    }

    fn zero_frame_and_tags(&self, pfn: Pfn) {
        #[cfg(feature = "lab")]
        stale::reused(pfn, 1);
        mte::zero_frames_and_tags(self.linear_map.frame(pfn).into(), self.features.mops);
    }

    fn zero_frames_and_tags(&self, first: Pfn, nr_frames: u32) {
        #[cfg(feature = "lab")]
        stale::reused(first, nr_frames);
        mte::zero_frames_and_tags(self.linear_map.run(first, nr_frames), self.features.mops);
    }

    fn read_tags(&self, pfn: Pfn) -> PageTags {
        mte::read_tags(self.linear_map.frame(pfn))
    }

    fn write_tags(&self, pfn: Pfn, tags: &PageTags) {
        mte::write_tags(self.linear_map.frame(pfn), tags);
    }
}

impl PteMem for Granule {
    #[cfg(not(feature = "lab"))]
    type Table<'m> = Table<'m>;
    #[cfg(feature = "lab")]
    type Table<'m> = WatchedTable<'m>;

    #[cfg(not(feature = "lab"))]
    #[inline(always)]
    fn table(&self, table: Pfn) -> Table<'_> {
        self.linear_map.table(table)
    }

    #[cfg(feature = "lab")]
    fn table(&self, pfn: Pfn) -> WatchedTable<'_> {
        WatchedTable { pfn, table: self.linear_map.table(pfn) }
    }

    fn publish(&self) {
        tlbi::publish();
    }
}

impl Tlb for Granule {
    fn before(&self) {
        tlbi::before();
    }

    fn invalidate(&self, what: Invalidate, reach: Reach) -> TlbiCount {
        #[cfg(feature = "lab")]
        stale::started(self.cpu(), what, reach);
        tlbi::invalidate(what, reach, &self.features)
    }

    fn complete(&self, reach: Reach) {
        tlbi::complete(reach);
        #[cfg(feature = "lab")]
        stale::completed(self.cpu(), reach);
    }

    fn nr_asids(&self) -> u32 {
        self.nr_asids
    }

    fn activate(&self, root: Pfn, asid: Asid) {
        #[cfg(feature = "lab")]
        stale::activated(self.cpu(), root, asid);
        tlbi::activate(self.linear_map.frame(root), asid);
    }

    fn deactivate(&self) {
        tlbi::deactivate();
        #[cfg(feature = "lab")]
        stale::deactivated(self.cpu());
    }

    fn sets_access_flag(&self) -> bool {
        self.features.hw_access_flag
    }

    fn sets_dirty(&self) -> bool {
        self.features.hw_dirty
    }
}

impl BlockDevs for Granule {
    fn nr_disks(&self) -> usize {
        self.disks.len()
    }

    fn nr_sectors(&self, disk: DiskId) -> u64 {
        self.disks.nr_sectors(disk)
    }

    fn submit(
        &self,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        segments: &[Segment],
    ) -> Result<IoTicket, IoError> {
        let ticket = self.disks.submit(self, disk, op, sector, segments)?;
        self.mark(TraceKind::BlockStart, || [ticket.raw().into(), operation_of(op)]);
        Ok(ticket)
    }

    fn wait(&self, ticket: IoTicket) -> Result<(), IoError> {
        let mut span = self.span(TraceKind::BlockWait, || [ticket.raw().into(), 0]);
        let outcome = self.disks.wait(self, ticket);
        span.set(|| outcome.is_err().into());
        outcome
    }
}

/// Returns the number of an operation, for the trace.
fn operation_of(op: BlockOp) -> u64 {
    match op {
        BlockOp::Read => 0,
        BlockOp::Write => 1,
        BlockOp::Flush => 2,
        BlockOp::Discard { .. } => 3,
    }
}

/// A plain kernel keeps nothing, as the trait provides: the marks above and in `mm` are no code then.
#[cfg(not(feature = "trace"))]
impl Trace for Granule {}

#[cfg(feature = "trace")]
impl Trace for Granule {
    #[inline(always)]
    fn traces(&self, kind: TraceKind) -> bool {
        trace::is_kept(kind)
    }

    fn keep(&self, event: TraceEvent) {
        trace::keep(thread_number(), &event);
    }

    fn write_trace(&self) {
        trace::write(console::print);
    }
}

impl DeviceMem for Granule {
    fn nr_devices(&self) -> usize {
        self.device_memory.devices().len()
    }

    fn device_frames(&self, device: DeviceId) -> Range<Pfn> {
        self.device_memory.devices()[usize::from(device.0)].clone()
    }

    fn start_copy(&self, copy: FrameCopy) -> CopyTicket {
        self.device_memory.start(self, copy)
    }

    fn finish_copy(&self, ticket: CopyTicket) -> Result<(), CopyError> {
        self.device_memory.finish(self, ticket);
        Ok(())
    }

    fn read_device(&self, from: PhysAddr, buf: &mut [u8]) {
        page::read_bytes(&self.linear_map, from, buf);
    }

    fn write_device(&self, to: PhysAddr, bytes: &[u8]) {
        page::write_bytes(&self.linear_map, to, bytes);
    }
}

/// Sleeping is the scheduler's. Before there is one, and in the in-guest tests, the caller is the
/// only thread of its CPU and waits in place; WFE ends at the latest with the timer's event stream,
/// so no wake-up has to be sent.
impl Wait for Granule {
    fn sleep_until(&self, channel: WaitChannel, ready: &mut dyn FnMut() -> bool) {
        if let Some(scheduler) = SCHEDULER.get() {
            return scheduler.sleep_until(channel, ready);
        }
        base::lock_level::assert_may_sleep();
        while !ready() {
            while self.take_interrupt().is_some() {}
            sync::relax();
        }
    }

    fn wake_all(&self, channel: WaitChannel) {
        match SCHEDULER.get() {
            Some(scheduler) => scheduler.wake_all(channel),
            None => sync::notify(),
        }
    }

    fn cond_resched(&self) {
        match SCHEDULER.get() {
            Some(scheduler) => scheduler.cond_resched(),
            None => while self.take_interrupt().is_some() {},
        }
    }
}

/// Who decides which thread runs, once there are threads.
static SCHEDULER: OnceCell<&'static Scheduler<Granule>> = OnceCell::new();

/// Returns the number of the running kernel thread, 0 before there are any. Takes no lock.
#[cfg(feature = "trace")]
pub fn thread_number() -> u16 {
    SCHEDULER.get().map_or(0, |scheduler| scheduler.current_number()) as u16
}

/// Lets the scheduler decide from now on.
pub fn set_scheduler(scheduler: &'static Scheduler<Granule>) {
    SCHEDULER.set(scheduler);
}
