// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts references to folios and frees them with the last.

use base::sync::atomic::{Ordering, fence};
use base::{Order, Pfn};
use hal::{DeviceId, Machine};

use super::{Folio, FolioFlags, FolioId, flags};
use crate::events::MmEvent;
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::system::System;
use crate::thp::ThpStat;

/// A reference to a folio, put when dropped.
#[must_use = "the reference is put as soon as this is dropped"]
pub(crate) struct FolioRef<'s, M: Machine> {
    system: &'s System<M>,
    id: FolioId,
    folio: &'s Folio,
}

impl<'s, M: Machine> FolioRef<'s, M> {
    /// Takes over a reference that was counted already.
    #[inline(always)]
    pub(crate) fn adopt(system: &'s System<M>, id: FolioId, folio: &'s Folio) -> Self {
        Self { system, id, folio }
    }

    /// Returns the descriptor's index.
    pub(crate) fn id(&self) -> FolioId {
        self.id
    }

    /// Returns the memory manager the folio belongs to.
    pub(crate) fn system(&self) -> &'s System<M> {
        self.system
    }

    /// Gives the counted reference to somebody who will put it.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> FolioId {
        self.into_parts().0
    }

    /// Gives the counted reference to somebody who will put it, and knows the folio meanwhile.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (FolioId, &'s Folio) {
        let parts = (self.id, self.folio);
        core::mem::forget(self);
        parts
    }
}

impl<M: Machine> core::ops::Deref for FolioRef<'_, M> {
    type Target = Folio;
    #[inline(always)]
    fn deref(&self) -> &Folio {
        self.folio
    }
}

impl<M: Machine> Clone for FolioRef<'_, M> {
    fn clone(&self) -> Self {
        self.folio.get();
        Self { system: self.system, id: self.id, folio: self.folio }
    }
}

impl<M: Machine> Drop for FolioRef<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.folio.put() {
            self.system.free_folios(&[self.id]);
        }
    }
}

impl Folio {
    /// Takes one more reference; the caller has one, or holds what keeps one alive.
    #[inline(always)]
    pub(crate) fn get(&self) {
        let before = self.refcount.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before != 0 && before < u32::MAX / 2, "folio: get of refcount {before}");
    }

    /// Drops one reference; `true` if it was the last: the caller frees the folio.
    #[inline(always)]
    #[must_use = "nobody else frees the folio"]
    pub(crate) fn put(&self) -> bool {
        let before = self.refcount.fetch_sub(1, Ordering::Release);
        debug_assert_ne!(before, 0, "folio: put of a free folio");
        if before == 1 {
            // Every user's accesses to the folio happen before its last put, and that before the
            // free: release above, acquire here.
            fence(Ordering::Acquire);
        }
        before == 1
    }

    /// Takes a reference unless the folio is being freed.
    pub(crate) fn try_get(&self) -> bool {
        let mut count = self.refcount.load(Ordering::Relaxed);
        while count != 0 {
            let taken = self.refcount.compare_exchange(
                count,
                count + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }
}

impl<M: Machine> System<M> {
    /// Returns the descriptor named by `id`.
    #[inline(always)]
    pub(crate) fn folio(&self, id: FolioId) -> &Folio {
        self.folios().get(id)
    }

    /// Takes one more reference to a folio that something the caller holds keeps alive.
    #[inline]
    pub(crate) fn get_folio(&self, id: FolioId) -> FolioRef<'_, M> {
        let folio = self.folio(id);
        folio.get();
        FolioRef::adopt(self, id, folio)
    }

    /// Allocates a folio of 2^`order` frames with content undefined, tags meaningless, refcount 1.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no frame or no room for a descriptor.
    #[inline(always)]
    pub(crate) fn alloc_folio(
        &self,
        order: Order,
        initial: FolioFlags,
        mte: MteState,
        mode: AllocMode,
    ) -> Result<FolioRef<'_, M>, OutOfMemory> {
        let head = self.alloc_run(order, mode)?;
        let Some(id) = self.alloc_descriptor() else {
            self.return_unclaimed(head, order);
            return Err(OutOfMemory);
        };
        self.words().claim_folio(head, order.nr_pages(), id, mte);
        if order != Order::PAGE && !initial.contains(FolioFlags::SHMEM) {
            self.count_thp(ThpStat::NrAnon, order, 1);
        }
        Ok(self.new_descriptor(id, head, flags::initial(order, self.machine().cpu(), initial)))
    }

    /// Allocates a folio of 2^`order` frames of a device, content undefined, refcount 1.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when the device has no run of free frames, or there is no room for a
    /// descriptor.
    pub(crate) fn alloc_device_folio(
        &self,
        device: DeviceId,
        order: Order,
    ) -> Result<FolioRef<'_, M>, OutOfMemory> {
        if self.machine().inject_device_failure() {
            return Err(OutOfMemory);
        }
        let head = self.device_memory().alloc_run(device, order).ok_or(OutOfMemory)?;
        let Some(id) = self.alloc_descriptor() else {
            self.device_memory().return_unclaimed(head, order);
            return Err(OutOfMemory);
        };
        let words = self.device_memory().words(head);
        words.claim_folio(head, order.nr_pages(), id, MteState::Untagged);
        let initial = FolioFlags::DEVICE | FolioFlags::UPTODATE | FolioFlags::DIRTY;
        Ok(self.new_descriptor(id, head, flags::initial(order, self.machine().cpu(), initial)))
    }

    /// Makes a descriptor just allocated that of the folio at `head`, refcount 1.
    #[inline]
    pub(crate) fn new_descriptor(&self, id: FolioId, head: Pfn, flags: u32) -> FolioRef<'_, M> {
        let folio = self.folio(id);
        folio.flags.store(flags, Ordering::Relaxed);
        folio.head.store(head.get(), Ordering::Relaxed);
        folio.refcount.store(1, Ordering::Release);
        FolioRef { system: self, id, folio }
    }

    #[inline]
    pub(crate) fn alloc_descriptor(&self) -> Option<FolioId> {
        if self.machine().inject_alloc_failure() {
            return None;
        }
        let cpu = self.machine().cpu();
        self.folios().alloc(cpu, || self.has_spare_heap()).or_else(|| {
            // The heap is low. It grows while there are whole free blocks. It had room for all
            // descriptors at the start, so what else is kept must make do with less now.
            let _ = self.grow_kernel_heap(64 << 10);
            self.folios().alloc(cpu, || true)
        })
    }

    fn return_unclaimed(&self, head: Pfn, order: Order) {
        match order {
            Order::PAGE => self.front().push(self.machine().cpu(), head),
            _ => self.front().free_run(head, order),
        }
    }

    /// Drops one reference, and frees the folio with the last.
    #[inline]
    pub(crate) fn put_folio(&self, id: FolioId) {
        if self.folio(id).put() {
            self.free_folios(&[id]);
        }
    }

    /// Frees folios whose last reference was put. Each list and cache on the way is locked once for
    /// all of them.
    pub(crate) fn free_folios(&self, ids: &[FolioId]) {
        if ids.is_empty() {
            return;
        }
        self.lru().remove_all(self, ids);
        self.deferred_splits().remove_all(self, ids);
        let mut nr_pages = 0;
        let singles = ids.iter().filter_map(|id| {
            let folio = self.folio(*id);
            assert!(!folio.is_mapped(), "folio {id:?} freed while mapped");
            assert!(folio.is_nowhere(), "folio {id:?} freed while {:?}", folio.place());
            debug_assert!(!folio.is_pinned(), "folio {id:?} freed while pinned");
            debug_assert!(!folio.has(FolioFlags::LOCKED), "folio {id:?} freed while locked");
            if folio.has_any(FolioFlags::GHOST | FolioFlags::DEVICE) {
                if folio.has(FolioFlags::DEVICE) {
                    self.device_memory().free_run(folio.head(), folio.order());
                }
                return None;
            }
            if !folio.is_large() {
                nr_pages += 1;
                return Some(folio.head());
            }
            let order = folio.order();
            nr_pages += order.nr_pages() as u64;
            if folio.is_anon() {
                self.count_thp(ThpStat::NrAnon, order, -1);
            }
            self.free_run(folio.head(), order);
            None
        });
        self.free_frames(singles);
        self.folios().free_all(self.machine().cpu(), ids);
        self.count(MmEvent::PgFree, nr_pages);
    }
}
