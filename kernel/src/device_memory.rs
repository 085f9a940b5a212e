// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the devices with memory of their own: their frames, and the engine that copies.
//!
//! The memory is that of an ivshmem function (BAR 2), or a part of RAM that boot option `device_mem=`
//! sets aside where there is none. The engine is a thread: a copy is queued, done some time, and waited
//! for. Before there are threads the caller is the engine.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use arch::linear_map::LinearMap;
use arch::{mte, page};
use base::lock_level::Device;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use base::{Pfn, PhysAddr};
use hal::{CopyTicket, FrameCopy, PageTags, Wait, WaitChannel};

use crate::device_layout::DeviceLayout;
use crate::machine::Granule;

/// Copies that are queued or not waited for yet, at most.
const SLOTS: usize = 1024;

const FREE: u8 = 0;
const QUEUED: u8 = 1;
/// Queued, and somebody sleeps until it is done.
const AWAITED: u8 = 2;
const DONE: u8 = 3;

/// The memory of devices, and their engine.
pub struct DeviceMemory {
    /// Who has what; `None`: there are no devices.
    layout: Option<DeviceLayout>,
    slots: Box<[AtomicU8]>,
    queue: SpinLock<Queue, Device>,
    nr_queued: AtomicUsize,
    nr_free: AtomicUsize,
    has_thread: AtomicBool,
}

/// Never grows: there is room for every slot.
struct Queue {
    free: Vec<u16>,
    queued: VecDeque<(u16, FrameCopy)>,
}

impl DeviceMemory {
    /// Takes over a range of mapped memory.
    pub fn new(memory: Option<&Range<PhysAddr>>) -> Self {
        let layout = memory.and_then(DeviceLayout::divide);
        if let Some(layout) = &layout {
            let each = layout.devices[0].end.get() - layout.devices[0].start.get();
            log::info!("devices: 2 with {} MiB each at {:?}", each >> 8, memory.map(|m| m.start));
        }
        let nr = if layout.is_some() { SLOTS } else { 0 };
        let queue = Queue { free: (0..nr as u16).collect(), queued: VecDeque::with_capacity(nr) };
        Self {
            layout,
            slots: (0..nr).map(|_| AtomicU8::new(FREE)).collect(),
            queue: SpinLock::new(queue),
            nr_queued: AtomicUsize::new(0),
            nr_free: AtomicUsize::new(nr),
            has_thread: AtomicBool::new(false),
        }
    }

    /// Returns the frames of each device.
    pub fn devices(&self) -> &[Range<Pfn>] {
        self.layout.as_ref().map_or(&[], |layout| &layout.devices)
    }

    /// Queues a copy. Sleeps while there is no room for one more.
    pub fn start(&self, machine: &Granule, copy: FrameCopy) -> CopyTicket {
        let slot = loop {
            if let Some(slot) = self.take_slot() {
                break slot;
            }
            let is_free = &mut || self.nr_free.load(Ordering::Acquire) > 0;
            machine.sleep_until(WaitChannel::of(&self.nr_free), is_free);
        };
        self.slots[usize::from(slot)].store(QUEUED, Ordering::Release);
        if !self.has_thread.load(Ordering::Relaxed) {
            self.carry_out(machine, slot, &copy);
            return CopyTicket::new(slot.into());
        }
        let mut queue = self.queue.lock();
        queue.queued.push_back((slot, copy));
        let was_idle = self.nr_queued.fetch_add(1, Ordering::Release) == 0;
        drop(queue);
        // The engine sleeps only when there is nothing.
        if was_idle {
            machine.wake_all(WaitChannel::of(&self.nr_queued));
        }
        CopyTicket::new(slot.into())
    }

    fn take_slot(&self) -> Option<u16> {
        let mut queue = self.queue.lock();
        let slot = queue.free.pop()?;
        self.nr_free.fetch_sub(1, Ordering::AcqRel);
        Some(slot)
    }

    /// Sleeps until a copy is done, and retires it.
    pub fn finish(&self, machine: &Granule, ticket: CopyTicket) {
        let slot = &self.slots[ticket.raw() as usize];
        // Who finds it done, here or below, finds the bytes.
        let (queued, found) = (Ordering::Relaxed, Ordering::Acquire);
        if slot.compare_exchange(QUEUED, AWAITED, queued, found).is_ok() {
            let is_done = &mut || slot.load(Ordering::Acquire) == DONE;
            machine.sleep_until(WaitChannel::of(slot), is_done);
        }
        slot.store(FREE, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        queue.free.push(ticket.raw() as u16);
        let was_full = self.nr_free.fetch_add(1, Ordering::Release) == 0;
        drop(queue);
        if was_full {
            machine.wake_all(WaitChannel::of(&self.nr_free));
        }
    }

    /// Is the engine, for ever.
    pub fn run(&self, machine: &Granule) -> ! {
        self.has_thread.store(true, Ordering::Relaxed);
        loop {
            let is_due = &mut || self.nr_queued.load(Ordering::Acquire) > 0;
            machine.sleep_until(WaitChannel::of(&self.nr_queued), is_due);
            if let Some((slot, copy)) = self.take_copy() {
                self.carry_out(machine, slot, &copy);
                machine.cond_resched();
            }
        }
    }

    fn take_copy(&self) -> Option<(u16, FrameCopy)> {
        let mut queue = self.queue.lock();
        let next = queue.queued.pop_front()?;
        self.nr_queued.fetch_sub(1, Ordering::AcqRel);
        Some(next)
    }

    fn carry_out(&self, machine: &Granule, slot: u16, copy: &FrameCopy) {
        let map = &machine.linear_map;
        for n in 0..copy.nr_frames {
            let (to, from) = (copy.to.add(n), copy.from.map(|from| from.add(n)));
            match from {
                Some(from) => page::copy(map.frame(to), map.frame(from), machine.features.mops),
                None => page::zero(map.frame(to).into(), machine.features.mops),
            }
            if copy.with_tags {
                let tags = from.map_or(PageTags::ZERO, |from| self.read_tags(map, from));
                self.write_tags(map, to, &tags);
            }
        }
        let slot = &self.slots[usize::from(slot)];
        // Release: who finds it done finds the bytes.
        if slot.swap(DONE, Ordering::Release) == AWAITED {
            machine.wake_all(WaitChannel::of(slot));
        }
    }

    fn layout(&self) -> &DeviceLayout {
        self.layout.as_ref().expect("a device's frame is named by who has a device")
    }

    fn read_tags(&self, map: &LinearMap, pfn: Pfn) -> PageTags {
        if !self.layout().is_page(pfn) {
            return mte::read_tags(map.frame(pfn));
        }
        let mut bytes = [0; PageTags::BYTES];
        page::read_bytes(map, self.layout().tags_of(pfn), &mut bytes);
        let mut tags = PageTags::ZERO;
        for (word, bytes) in tags.0.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        tags
    }

    fn write_tags(&self, map: &LinearMap, pfn: Pfn, tags: &PageTags) {
        if !self.layout().is_page(pfn) {
            return mte::write_tags(map.frame(pfn), tags);
        }
        let mut bytes = [0; PageTags::BYTES];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&tags.0) {
            *bytes = word.to_le_bytes();
        }
        page::write_bytes(map, self.layout().tags_of(pfn), &bytes);
    }
}
