// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file allocates and frees frames for the rest of the memory manager.

use base::{Order, Pfn};
use hal::Machine;

use super::word::FrameKind;
use crate::events::MmEvent;
use crate::system::System;

/// No frame can be had in the way that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory;

/// How hard to try, and how deep to dig.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocMode {
    /// Reclaims when memory is short, so it may sleep: no spin lock may be held.
    MayReclaim,
    /// Fails when memory is short, and has the background thread reclaim for those who ask later.
    InBackground,
    /// Fails when memory is short.
    NoReclaim,
    /// Takes the last frames: only for what frees more than it takes.
    Reserve,
}

impl<M: Machine> System<M> {
    /// Allocates one frame, content undefined, word still "free".
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when `mode` permits no more.
    #[inline]
    pub(crate) fn alloc_frame(&self, mode: AllocMode) -> Result<Pfn, OutOfMemory> {
        if self.machine().inject_alloc_failure() {
            return Err(OutOfMemory);
        }
        match self.front().pop(self.machine().cpu()) {
            Some(pfn) => Ok(pfn),
            None => self.alloc_frame_slow(mode),
        }
    }

    #[cold]
    fn alloc_frame_slow(&self, mode: AllocMode) -> Result<Pfn, OutOfMemory> {
        loop {
            if let Some(pfn) = self.refill_and_pop(mode) {
                return Ok(pfn);
            }
            if !self.make_room(Order::PAGE, mode) {
                break;
            }
        }
        // Other CPUs' caches may hold the last frames.
        self.front().drain_all();
        self.refill_and_pop(mode).ok_or(OutOfMemory)
    }

    /// Takes a frame, and others into this CPU's cache. What is kept for reclaim is no stock for those
    /// who come next.
    fn refill_and_pop(&self, mode: AllocMode) -> Option<Pfn> {
        let most = match mode {
            AllocMode::Reserve => self.spare_frames(mode).min(1),
            _ => self.spare_frames(mode),
        };
        self.front().refill_and_pop(self.machine().cpu(), most)
    }

    /// Tells whether `mode` may take `nr` frames now.
    fn may_take(&self, nr: u64, mode: AllocMode) -> bool {
        self.spare_frames(mode) >= nr
    }

    /// Returns how many frames `mode` may take now, and wakes the background thread if there are few.
    fn spare_frames(&self, mode: AllocMode) -> u64 {
        let free = self.front().nr_free();
        let marks = self.watermarks();
        if free < marks.low {
            self.wake_kswapd();
        }
        match mode {
            AllocMode::Reserve => free,
            _ => free.saturating_sub(marks.min),
        }
    }

    /// Reclaims for an allocation of `order`; `false` when that cannot help.
    fn make_room(&self, order: Order, mode: AllocMode) -> bool {
        match mode {
            AllocMode::MayReclaim => self.settle_tlb() || self.direct_reclaim(order),
            AllocMode::InBackground => {
                self.wake_kswapd_for(order);
                false
            }
            AllocMode::NoReclaim | AllocMode::Reserve => false,
        }
    }

    /// Allocates a frame and says what it is.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when `mode` permits no more.
    pub(crate) fn alloc_frame_as(
        &self,
        kind: FrameKind,
        mode: AllocMode,
    ) -> Result<Pfn, OutOfMemory> {
        let pfn = self.alloc_frame(mode)?;
        self.words().claim(pfn, kind);
        Ok(pfn)
    }

    /// Frees one frame, whatever it was. No translation may reach it any more.
    #[inline]
    pub(crate) fn free_frame(&self, pfn: Pfn) {
        self.words().release(pfn);
        self.front().push(self.machine().cpu(), pfn);
    }

    /// Frees single frames, as [`System::free_frame`] does.
    pub(crate) fn free_frames(&self, frames: impl Iterator<Item = Pfn>) {
        let released = frames.inspect(|pfn| self.words().release(*pfn));
        self.front().push_all(self.machine().cpu(), released);
    }

    /// Allocates an aligned run of 2^`order` frames, content undefined, words still "free".
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when `mode` permits no more, or memory is too fragmented.
    #[inline(always)]
    pub(crate) fn alloc_run(&self, order: Order, mode: AllocMode) -> Result<Pfn, OutOfMemory> {
        if order == Order::PAGE {
            return self.alloc_frame(mode);
        }
        self.alloc_large_run(order, mode)
    }

    fn alloc_large_run(&self, order: Order, mode: AllocMode) -> Result<Pfn, OutOfMemory> {
        if self.machine().inject_alloc_failure() {
            return Err(OutOfMemory);
        }
        if let Some(first) = self.take_run(order, mode) {
            return Ok(first);
        }
        // Once: what is reclaimed may be scattered, and whoever wants a run can do with less.
        if self.make_room(order, mode) {
            // Single frames that complete runs may be in the CPUs' caches.
            self.front().drain_all();
            return self.take_run(order, mode).ok_or(OutOfMemory);
        }
        Err(OutOfMemory)
    }

    fn take_run(&self, order: Order, mode: AllocMode) -> Option<Pfn> {
        let may_take = self.may_take(order.nr_pages() as u64, mode);
        if may_take { self.front().alloc_run(order) } else { None }
    }

    /// Frees a run that [`System::alloc_run`] returned. No translation may reach it any more.
    pub(crate) fn free_run(&self, first: Pfn, order: Order) {
        if order == Order::PAGE {
            return self.free_frame(first);
        }
        self.words().release_run(first, order.nr_pages());
        self.front().free_run(first, order);
    }

    /// Makes sure that the kernel's heap has room for `bytes` of objects: beside what paths need
    /// that cannot fail, and beside the folio descriptors of all frames that have none yet. Called
    /// where no spin lock is held.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when the heap is low and there is no whole free block: the caller refuses
    /// its request, so that what is left serves paths that cannot fail.
    pub fn reserve_kernel_heap(&self, bytes: usize) -> Result<(), OutOfMemory> {
        if self.machine().inject_alloc_failure() {
            return Err(OutOfMemory);
        }
        self.grow_kernel_heap(bytes + Self::HEAP_RESERVE + self.folios().bytes_to_come())
    }

    /// Grows the kernel's heap until `bytes` are free.
    #[inline]
    pub(crate) fn grow_kernel_heap(&self, bytes: usize) -> Result<(), OutOfMemory> {
        if self.machine().kernel_heap_room() >= bytes { Ok(()) } else { self.add_to_heap(bytes) }
    }

    #[cold]
    fn add_to_heap(&self, bytes: usize) -> Result<(), OutOfMemory> {
        // Who comes while another is at it waits for that block instead of finding none left.
        let _alone = self.heap_growth().lock();
        // They may be all that keeps a block from being free.
        self.shrink_huge_zero_page();
        while self.machine().kernel_heap_room() < bytes {
            self.front().drain_all();
            if !self.may_take(Order::BLOCK.nr_pages() as u64, AllocMode::NoReclaim) {
                return Err(OutOfMemory);
            }
            let first = self.front().take_block().ok_or(OutOfMemory)?;
            (0..Order::BLOCK.nr_pages())
                .for_each(|n| self.words().claim(first.add(n), FrameKind::Heap));
            if !self.machine().adopt_block(first) {
                self.words().release_run(first, Order::BLOCK.nr_pages());
                self.front().return_block(first);
                return Err(OutOfMemory);
            }
            self.count(MmEvent::HeapGrow, 1);
        }
        Ok(())
    }

    /// Sets heap aside while there are whole blocks: once programs have filled memory there may be
    /// none until they end.
    pub(crate) fn set_heap_aside(&self) {
        if self.grow_kernel_heap(self.nr_frames() as usize * Self::HEAP_PER_FRAME).is_err() {
            log::warn!("mm: little memory: the kernel's heap has no room for all descriptors");
        }
    }

    /// Tells whether the heap has more than what is kept for paths that cannot fail.
    pub(crate) fn has_spare_heap(&self) -> bool {
        self.machine().kernel_heap_room() > Self::HEAP_RESERVE
    }

    /// Heap bytes set aside per frame: 64 for the descriptor of the folio that the frame may become,
    /// and as many for processes, areas and files.
    const HEAP_PER_FRAME: usize = 128;

    /// Heap bytes kept for paths that cannot fail.
    const HEAP_RESERVE: usize = 256 << 10;
}
