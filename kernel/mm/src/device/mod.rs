// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder owns the frames of devices that have memory of their own.
//!
//! They are like those of RAM: a word each says which folio they belong to and whether their tags mean
//! something; runs of all orders are handed out. But they are in no pool that RAM is allocated from,
//! their folios are on no LRU list, and an entry that names one is never valid (`Pte::on_device`).
//! What brings content there and back is `migrate/`.

use alloc::boxed::Box;
use core::ops::Range;

use base::lock_level::FrameBlocks;
use base::sync::SpinLock;
use base::{Order, Pfn};
use hal::{DeviceId, Machine};
use pgtable::Pte;

use crate::folio::FolioId;
use crate::frame::FrameWords;
use crate::run_map::{BLOCK_UNITS, RunMap};
use crate::system::System;

/// The memory of all devices.
pub(crate) struct DeviceMemory {
    devices: Box<[Device]>,
}

struct Device {
    frames: Range<Pfn>,
    words: FrameWords,
    free: SpinLock<RunMap, FrameBlocks>,
}

impl DeviceMemory {
    /// Takes over the memory of the machine's devices.
    pub(crate) fn new(machine: &impl Machine) -> Self {
        let ids = (0..machine.nr_devices() as u8).map(DeviceId);
        Self { devices: ids.map(|id| Device::new(machine.device_frames(id))).collect() }
    }

    fn of(&self, pfn: Pfn) -> (DeviceId, &Device) {
        let found = (0..).zip(&self.devices).find(|(_, device)| device.frames.contains(&pfn));
        let (id, device) = found.unwrap_or_else(|| panic!("{pfn:?} is no device's"));
        (DeviceId(id), device)
    }

    /// Returns the device that a frame belongs to.
    pub(crate) fn device_of(&self, pfn: Pfn) -> DeviceId {
        self.of(pfn).0
    }

    /// Returns the words of a device, `pfn` one of its frames.
    pub(crate) fn words(&self, pfn: Pfn) -> &FrameWords {
        &self.of(pfn).1.words
    }

    /// Takes an aligned run of 2^`order` frames.
    pub(crate) fn alloc_run(&self, device: DeviceId, order: Order) -> Option<Pfn> {
        let device = self.devices.get(usize::from(device.0))?;
        let unit = device.free.lock().alloc(order)?;
        Some(device.frames.start.add(unit))
    }

    /// Gives a run back whose words say nothing yet.
    pub(crate) fn return_unclaimed(&self, head: Pfn, order: Order) {
        let (_, device) = self.of(head);
        device.free.lock().free(head.get() - device.frames.start.get(), order);
    }

    /// Frees a run.
    pub(crate) fn free_run(&self, head: Pfn, order: Order) {
        self.words(head).release_run(head, order.nr_pages());
        self.return_unclaimed(head, order);
    }

    /// Returns (free frames, all frames) of a device.
    pub(crate) fn nr_frames(&self, device: DeviceId) -> (u64, u64) {
        let device = &self.devices[usize::from(device.0)];
        (
            device.free.lock().nr_free(),
            u64::from(device.frames.end.get() - device.frames.start.get()),
        )
    }
}

impl Device {
    fn new(frames: Range<Pfn>) -> Self {
        let nr_blocks = (frames.end.get() - frames.start.get()) / BLOCK_UNITS;
        let mut free = RunMap::new(nr_blocks as usize);
        (0..nr_blocks).for_each(|block| free.add_block(block));
        Self { words: FrameWords::new(frames.clone()), free: SpinLock::new(free), frames }
    }
}

impl<M: Machine> System<M> {
    /// Returns the folio whose page a present entry names, in RAM or on a device; no frozen entry of a
    /// folio in RAM.
    #[inline(always)]
    pub(crate) fn folio_of(&self, pte: Pte) -> FolioId {
        match pte.is_on_device() {
            false => self.words().folio(pte.pfn()),
            true => self.device_memory().words(pte.pfn()).folio(pte.pfn()),
        }
    }

    /// Returns (free frames, all frames) of a device.
    pub fn device_frames(&self, device: DeviceId) -> (u64, u64) {
        self.device_memory().nr_frames(device)
    }

    /// Returns how many devices have memory of their own.
    pub fn nr_devices(&self) -> usize {
        self.machine().nr_devices()
    }
}
