// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings pages home from a device: for the CPU that touches one, and for a device that gives
//! its memory back.

use base::sync::stop_point;
use base::{PageRange, Pfn};
use core::ops::ControlFlow;
use hal::{DeviceId, Machine, TraceKind};

use super::copy::Goal;
use super::source::{Kind, Source};
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::OutOfMemory;
use crate::system::System;

/// Why a page stays on its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HomeError {
    /// No frame in RAM, even after reclaim.
    OutOfMemory,
    /// The engine failed.
    Copy,
}

impl From<OutOfMemory> for HomeError {
    fn from(_: OutOfMemory) -> Self {
        HomeError::OutOfMemory
    }
}

impl<M: Machine> System<M> {
    /// Moves a folio from its device to RAM, for everybody who maps it. Who else holds a reference to it
    /// only waits for the lock.
    ///
    /// # Errors
    ///
    /// [`HomeError`]; it is on the device as before.
    pub(crate) fn bring_home(&self, folio: FolioLock<'_, M>) -> Result<(), HomeError> {
        debug_assert!(folio.has(FolioFlags::DEVICE), "{:?} is in RAM", folio.id());
        let size = || [folio.head().get().into(), folio.order().nr_pages().into()];
        let _span = self.machine().span(TraceKind::BringHome, size);
        stop_point("coming home");
        self.hide_from_mirrors(&folio);
        let mut source = Source::new(0, Kind::Device(folio));
        source.dst = self.alloc_dst(source.order(), Goal::Ram, true)?;
        self.start_copies(&mut source, false);
        self.finish_copies(&mut source).map_err(|_| HomeError::Copy)?;
        self.settle(source);
        Ok(())
    }

    /// Takes a locked folio on a device away from the tables of every device that mirrors who maps it.
    /// It does not come back there before the lock is released.
    pub(super) fn hide_from_mirrors(&self, folio: &FolioLock<'_, M>) {
        let _ = self.visit_mappings(folio, |at| {
            at.mm.mirrors().invalidate(PageRange::of_len(at.page, at.nr.into()));
            ControlFlow::Continue(())
        });
    }

    /// Moves everything that is on a device to RAM. Returns how many pages are still there: for want of
    /// memory, or because the engine failed.
    pub fn evict_device(&self, device: DeviceId) -> u64 {
        let frames = self.machine().device_frames(device);
        let mut pfn = frames.start;
        while pfn < frames.end {
            let Some(folio) = self.get_device_folio(pfn) else {
                pfn = pfn.add(1);
                continue;
            };
            let next = folio.head().add(folio.order().nr_pages());
            let locked = folio.lock();
            if locked.is_mapped() {
                let _ = self.bring_home(locked);
            }
            pfn = next;
            self.machine().cond_resched();
        }
        let (free, all) = self.device_frames(device);
        all - free
    }

    /// Takes a reference to the folio of a device's frame, if it is one's.
    fn get_device_folio(&self, pfn: Pfn) -> Option<FolioRef<'_, M>> {
        let id = self.device_memory().words(pfn).folio_if_any(pfn)?;
        let folio = self.folio(id);
        if !folio.try_get() {
            return None;
        }
        // The descriptor may be another folio's by now.
        let folio = FolioRef::adopt(self, id, folio);
        let within = pfn.get().wrapping_sub(folio.head().get());
        let is_its = folio.has(FolioFlags::DEVICE) && within < folio.order().nr_pages();
        is_its.then_some(folio)
    }
}
