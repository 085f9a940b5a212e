// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts who uses a swap area: swapoff waits for the last.
//!
//! An entry keeps its slot in use, and with it the area in service, while its table is locked. Who
//! lowers a count may have taken the last slot out of use with that, and holds nothing any more that
//! would stop swapoff: a page-table lock does not, because swapoff visits no table when nothing is in
//! use. So everybody who looks at an area holds a reference from before the first look until after
//! the last (docs/experiments/002-swapoff.md).

use alloc::sync::Arc;
use core::ops::Deref;

use base::sync::atomic::{AtomicU32, Ordering, fence};
use base::sync::stop_point;
use hal::{Machine, WaitChannel};
use pgtable::{AreaId, SwapEntry};

use super::area::SwapArea;
#[cfg(feature = "lab")]
use crate::lab::Fault;
use crate::system::System;

/// A reference to a swap area.
pub(crate) struct AreaRef<'s, M: Machine> {
    system: &'s System<M>,
    /// `None` only while it is dropped.
    area: Option<Arc<SwapArea>>,
    /// Swapoff does not wait for it ([`Fault::AreaNotHeld`]).
    #[cfg(feature = "lab")]
    is_stray: bool,
}

/// How many swapoffs wait for the last user of their area.
pub(super) type NrLeaving = AtomicU32;

impl<M: Machine> System<M> {
    /// Returns the area of a number, if one is in service.
    pub(super) fn swap_area(&self, id: AreaId) -> Option<AreaRef<'_, M>> {
        let area = self.swap().areas.read()[id.get()].clone()?;
        let area = self.area_ref(area);
        #[cfg(feature = "lab")]
        let area = area.stray_if(self.commits(Fault::AreaNotHeld));
        Some(area)
    }

    /// Returns the area that an entry names a slot of, if there is one.
    pub(crate) fn area_with(&self, entry: SwapEntry) -> Option<AreaRef<'_, M>> {
        self.swap_area(entry.area).filter(|area| area.has_slot(entry.slot))
    }

    /// Makes a reference of one that was taken from the list.
    pub(super) const fn area_ref(&self, area: Arc<SwapArea>) -> AreaRef<'_, M> {
        AreaRef {
            system: self,
            area: Some(area),
            #[cfg(feature = "lab")]
            is_stray: false,
        }
    }

    /// Sleeps until `area`, which is on no list, is the only reference.
    pub(super) fn wait_for_users(&self, area: &AreaRef<'_, M>) {
        let leaving = &self.swap().leaving;
        leaving.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence of who drops a reference: it finds somebody waiting, or the look below
        // finds it gone.
        fence(Ordering::SeqCst);
        stop_point("last user waited for");
        self.machine().sleep_until(WaitChannel::of(leaving), &mut || area.is_last());
        leaving.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::Acquire);
    }
}

impl<M: Machine> AreaRef<'_, M> {
    fn is_last(&self) -> bool {
        self.area.as_ref().is_some_and(|area| Arc::strong_count(area) == 1 + area.nr_strays())
    }

    #[cfg(feature = "lab")]
    fn stray_if(mut self, is_stray: bool) -> Self {
        self.lab.nr_strays.fetch_add(is_stray.into(), Ordering::Relaxed);
        self.is_stray = is_stray;
        self
    }
}

impl<M: Machine> Deref for AreaRef<'_, M> {
    type Target = SwapArea;

    #[inline(always)]
    fn deref(&self) -> &SwapArea {
        self.area.as_ref().expect("an area is there until its reference is dropped")
    }
}

impl<M: Machine> Drop for AreaRef<'_, M> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(feature = "lab")]
        self.lab.nr_strays.fetch_sub(self.is_stray.into(), Ordering::Relaxed);
        drop(self.area.take());
        let leaving = &self.system.swap().leaving;
        fence(Ordering::SeqCst);
        if leaving.load(Ordering::Relaxed) != 0 {
            self.system.machine().wake_all(WaitChannel::of(leaving));
        }
    }
}

/// What experiments keep of an area.
#[cfg(feature = "lab")]
#[derive(Default)]
pub(super) struct AreaLab {
    /// References that swapoff does not wait for.
    nr_strays: core::sync::atomic::AtomicUsize,
    /// Swapoff has given up the clusters, where Linux frees them.
    is_gone: core::sync::atomic::AtomicBool,
}

#[cfg(feature = "lab")]
impl SwapArea {
    fn nr_strays(&self) -> usize {
        self.lab.nr_strays.load(Ordering::Relaxed)
    }

    /// Remembers that swapoff is through.
    pub(super) fn give_up_clusters(&self) {
        self.lab.is_gone.store(true, Ordering::Relaxed);
    }

    /// Checks that nobody reaches the clusters after swapoff. That their memory is still there is owed
    /// to the reference that swapoff did not wait for.
    pub(super) fn assert_is_there(&self) {
        let is_gone = self.lab.is_gone.load(Ordering::Relaxed);
        assert!(!is_gone, "swap: {:?} is used after swapoff", self.id);
    }
}

#[cfg(not(feature = "lab"))]
impl SwapArea {
    const fn nr_strays(&self) -> usize {
        0
    }

    pub(super) const fn give_up_clusters(&self) {}

    #[inline(always)]
    pub(super) const fn assert_is_there(&self) {}
}
