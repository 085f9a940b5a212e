// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings the page of a slot back into the swap cache.

use base::sync::stop_point;
use base::{Order, Vpn};
use hal::{BlockOp, Machine, Segment, TraceKind};
use pgtable::SwapEntry;

use super::area::SwapArea;
use super::area_ref::AreaRef;
use super::cache::Lookup;
use super::slot::SlotWord;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::lab::Restore;
use crate::system::System;
use crate::thp::ThpStat;

/// Why a slot's page cannot be brought back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SwapInError {
    /// The slot is not in use: the entry is out of date.
    Stale,
    /// The disk does not give it back.
    Unreadable,
    /// No frame for it.
    OutOfMemory,
    /// Not all slots of the run are only on disk, or some were written and some not.
    Unfit,
}

impl From<OutOfMemory> for SwapInError {
    fn from(_: OutOfMemory) -> Self {
        SwapInError::OutOfMemory
    }
}

impl<M: Machine> System<M> {
    /// Returns the folio that caches a slot, reading one page if need be, and whether it was read.
    /// Who uses the folio locks it and looks whether it still caches the slot.
    ///
    /// # Errors
    ///
    /// [`SwapInError`].
    pub(crate) fn swap_in(&self, entry: SwapEntry) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        let area = self.area_with(entry).ok_or(SwapInError::Stale)?;
        self.swap_in_from(&area, entry.slot)
    }

    /// Does what [`System::swap_in`] does, for who holds the area.
    ///
    /// # Errors
    ///
    /// [`SwapInError`].
    pub(crate) fn swap_in_from(
        &self,
        area: &AreaRef<'_, M>,
        slot: u32,
    ) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        loop {
            match self.swap_in_order(area, slot, Order::PAGE, AllocMode::MayReclaim) {
                // Somebody was faster while this one waited for memory: look again.
                Err(SwapInError::Unfit) => {}
                result => return result,
            }
        }
    }

    /// Returns the folio that caches a slot, whatever its order; if there is none, reads the aligned
    /// run of 2^`order` slots around it into a new one, in one request. Tells whether it was read.
    ///
    /// # Errors
    ///
    /// [`SwapInError`]; [`SwapInError::Unfit`] when the run has a slot that cannot be part of it.
    pub(crate) fn swap_in_order(
        &self,
        area: &AreaRef<'_, M>,
        slot: u32,
        order: Order,
        mode: AllocMode,
    ) -> Result<(FolioRef<'_, M>, bool), SwapInError> {
        match self.cached_or_unread(area, slot, order, mode)? {
            InCache::Cached(folio) => Ok((folio, false)),
            InCache::Unread(unread) => self.read_alone(area, unread).map(|folio| (folio, true)),
        }
    }

    /// Returns the folio that caches a slot, or puts a new one into the cache for the aligned run of
    /// 2^`order` slots around it, which is still to be read.
    ///
    /// # Errors
    ///
    /// [`SwapInError`], but [`SwapInError::Unreadable`].
    pub(crate) fn cached_or_unread(
        &self,
        area: &SwapArea,
        slot: u32,
        order: Order,
        mode: AllocMode,
    ) -> Result<InCache<'_, M>, SwapInError> {
        match self.look_up(area, slot) {
            Lookup::Cached(folio) => return Ok(InCache::Cached(folio)),
            Lookup::Free => return Err(SwapInError::Stale),
            Lookup::OnDisk => {}
        }
        stop_point("only on disk");
        let folio = self.alloc_folio(order, FolioFlags::empty(), MteState::Untagged, mode)?;
        let folio = FolioLock::of_new(folio);
        let first = slot & !(order.nr_pages() - 1);
        let word = self.add_to_cache(area, first, &folio).ok_or(SwapInError::Unfit)?;
        self.count(MmEvent::PgAlloc, order.nr_pages().into());
        Ok(InCache::Unread(Unread { first, word, folio, page: Vpn::new(0) }))
    }

    /// Reads a folio by a request of its own.
    fn read_alone<'s>(
        &'s self,
        area: &SwapArea,
        unread: Unread<'s, M>,
    ) -> Result<FolioRef<'s, M>, SwapInError> {
        let (first, nr) = (unread.first, unread.folio.order().nr_pages());
        let _span = self.machine().span(TraceKind::SwapIn, || [first.into(), nr.into()]);
        if !unread.word.is_zero_page() {
            self.count(MmEvent::SwapRequest, 1);
            let sector = area.sector(first);
            let segments = [unread.segment()];
            let read = self.machine().transfer(area.disk, BlockOp::Read, sector, &segments);
            if let Err(why) = read {
                log::warn!("swap: reading {nr} slots from {first} of area {:?}: {why:?}", area.id);
                self.abandon_cache(area, first, &unread.folio);
                // Of a large folio, other pages may be readable.
                self.count(MmEvent::SwpInError, u64::from(nr == 1));
                return Err(SwapInError::Unreadable);
            }
        }
        let read = self.finish_read(area, unread);
        read.inspect_err(|_| self.count(MmEvent::SwpInError, u64::from(nr == 1)))
    }

    /// Makes a folio whose bytes were read, or are zeroes, what it was when it went: compares its
    /// checksum, restores its tags. Otherwise takes it out of the cache.
    ///
    /// # Errors
    ///
    /// [`SwapInError::Unreadable`].
    pub(super) fn finish_read<'s>(
        &'s self,
        area: &SwapArea,
        unread: Unread<'s, M>,
    ) -> Result<FolioRef<'s, M>, SwapInError> {
        let Unread { first, word, folio, .. } = unread;
        let nr = folio.order().nr_pages();
        if word.is_zero_page() {
            self.machine().zero_frames(folio.head(), nr);
        }
        let is_good = (word.is_zero_page() || self.is_as_written(area, first, &folio))
            && self.restore_tags_from_device(area, first, &folio).is_ok();
        if !is_good {
            self.abandon_cache(area, first, &folio);
            return Err(SwapInError::Unreadable);
        }
        if word.is_zero_page() {
            self.count(MmEvent::SwpInZero, nr.into());
        } else {
            self.count(MmEvent::PswpIn, nr.into());
            self.count_thp(ThpStat::Swpin, folio.order(), 1);
        }
        if self.refault().restore == Restore::AtRead {
            self.restore_all_tags(area, first, &folio);
        }
        if self.is_refault(word.shadow()) {
            self.count(MmEvent::WorkingsetRefault, nr.into());
            folio.set(FolioFlags::WORKINGSET | FolioFlags::ACTIVE);
        }
        folio.set(FolioFlags::UPTODATE);
        self.lru().add_new(self, folio.id(), &folio);
        Ok(folio.unlock())
    }
}

/// A folio in the cache that one thread is to read: locked, and not up to date.
#[must_use = "the folio stays in the cache without content"]
pub(crate) struct Unread<'s, M: Machine> {
    pub first: u32,
    /// What the first slot's word said while nothing cached it.
    pub word: SlotWord,
    pub folio: FolioLock<'s, M>,
    /// For who reads for several pages: one of them.
    pub page: Vpn,
}

impl<M: Machine> Unread<'_, M> {
    /// Returns the memory of its pages.
    pub fn segment(&self) -> Segment {
        Segment { first: self.folio.head(), nr_frames: self.folio.order().nr_pages() }
    }

    /// Returns the slot after its last.
    pub fn end(&self) -> u32 {
        self.first + self.folio.order().nr_pages()
    }
}

/// What a slot has in the cache.
pub(crate) enum InCache<'s, M: Machine> {
    /// A folio that somebody put there before.
    Cached(FolioRef<'s, M>),
    /// One of the caller's, who has to read it.
    Unread(Unread<'s, M>),
}
