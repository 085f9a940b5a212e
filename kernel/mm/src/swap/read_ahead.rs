// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads many slots together: swapoff knows what it will need next.
//!
//! Neighbouring slots go in one request, and all requests are in flight before the first is waited for.
//! Reading alone, a thread would sleep once for each page, and on a busy machine it is the turn of others
//! whenever it wakes.
//!
//! Folios are locked while they are read, many by one thread; so nothing in here waits for a folio. One that
//! could not be read leaves the cache, and is for who asks for just this slot: of a request that fails,
//! most pages are good.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use base::{Order, Vpn};
use hal::{BlockOp, IoTicket, Machine, Segment, TraceKind};
use pgtable::{AreaId, SwapEntry};

use super::area::SwapArea;
use super::swap_in::{InCache, SwapInError, Unread};
use crate::events::MmEvent;
use crate::frame::{AllocMode, OutOfMemory};
use crate::system::System;

/// Most folios read together: half a table's.
const NR_AHEAD: usize = 256;

/// Most segments of a request; virtio-blk takes them from 32 on (`drivers::virtio::MAX_SEGMENTS`).
const NR_TOGETHER: usize = 32;

/// Folios of one area that are about to be read, and the pages that are to map them.
pub(crate) struct ReadAhead<'s, M: Machine> {
    /// Pages of one table and the slots that they name.
    pub pages: Vec<(Vpn, SwapEntry)>,
    pub reads: Reads<'s, M>,
}

impl<'s, M: Machine> ReadAhead<'s, M> {
    /// Makes room for all that is ever read together.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when the kernel's heap has no room.
    pub(super) fn new(system: &'s System<M>, area: &'s SwapArea) -> Result<Self, OutOfMemory> {
        let a_folio =
            size_of::<(Vpn, SwapEntry)>() + size_of::<Unread<'s, M>>() + size_of::<Request>();
        system.reserve_kernel_heap(NR_AHEAD * a_folio)?;
        let (unread, requests) = (Vec::with_capacity(NR_AHEAD), Vec::with_capacity(NR_AHEAD));
        let reads = Reads { system, area, unread, requests };
        Ok(Self { pages: Vec::with_capacity(NR_AHEAD), reads })
    }

    /// Returns the area's number.
    pub fn area(&self) -> AreaId {
        self.reads.area.id
    }

    /// Takes the first of `pages`, as many as are read together.
    pub fn choose(&mut self, pages: impl Iterator<Item = (Vpn, SwapEntry)>) {
        self.pages.clear();
        self.pages.extend(pages.take(NR_AHEAD));
    }
}

/// Folios in the swap cache that are to be read.
#[must_use = "they are read in finish()"]
pub(crate) struct Reads<'s, M: Machine> {
    system: &'s System<M>,
    area: &'s SwapArea,
    unread: Vec<Unread<'s, M>>,
    requests: Vec<Request>,
}

/// Folios that are read by one request.
struct Request {
    nr_folios: usize,
    is_zero: bool,
    /// `None`: nothing was started.
    ticket: Option<IoTicket>,
}

impl<M: Machine> Reads<'_, M> {
    /// Has the aligned run of 2^`order` slots around `entry` read, unless a folio caches the slot.
    ///
    /// # Errors
    ///
    /// [`SwapInError`], but [`SwapInError::Unreadable`].
    pub fn add(
        &mut self,
        entry: SwapEntry,
        order: Order,
        mode: AllocMode,
    ) -> Result<(), SwapInError> {
        if !self.area.has_slot(entry.slot) {
            return Err(SwapInError::Stale);
        }
        match self.system.cached_or_unread(self.area, entry.slot, order, mode)? {
            InCache::Cached(_) => {}
            InCache::Unread(unread) => self.unread.push(unread),
        }
        Ok(())
    }

    /// Reads everything, and waits for it.
    pub fn finish(&mut self) {
        self.unread.sort_unstable_by_key(|unread| unread.first);
        let Some(first) = self.unread.first().map(|unread| unread.first) else { return };
        let machine = self.system.machine();
        let size = || [first.into(), self.unread.len() as u64];
        let _span = machine.span(TraceKind::ReadAhead, size);
        let mut left = &self.unread[..];
        while !left.is_empty() {
            let (folios, rest) = left.split_at(nr_together(left));
            self.requests.push(self.start(folios));
            left = rest;
        }
        let mut unread = self.unread.drain(..);
        for Request { nr_folios, is_zero, ticket } in self.requests.drain(..) {
            let is_read = ticket.is_some_and(|ticket| machine.wait(ticket).is_ok());
            for unread in unread.by_ref().take(nr_folios) {
                if is_read || is_zero {
                    let size = || [unread.first.into(), unread.segment().nr_frames.into()];
                    let _span = machine.span(TraceKind::SwapIn, size);
                    // One that does not come back as it was is read again, alone.
                    let _ = self.system.finish_read(self.area, unread);
                } else {
                    self.system.abandon_cache(self.area, unread.first, &unread.folio);
                }
            }
        }
    }

    fn start(&self, folios: &[Unread<'_, M>]) -> Request {
        let (nr_folios, is_zero) = (folios.len(), folios[0].word.is_zero_page());
        let mut request = Request { nr_folios, is_zero, ticket: None };
        if !is_zero {
            let segments: ArrayVec<Segment, NR_TOGETHER> =
                folios.iter().map(Unread::segment).collect();
            let sector = self.area.sector(folios[0].first);
            self.system.count(MmEvent::SwapRequest, 1);
            let machine = self.system.machine();
            request.ticket = machine.submit(self.area.disk, BlockOp::Read, sector, &segments).ok();
        }
        request
    }
}

/// Returns how many of the first folios make one request: those with neighbouring slots. Zeroes need
/// none, and are alone.
fn nr_together<M: Machine>(folios: &[Unread<'_, M>]) -> usize {
    let is_next = |pair: &&[Unread<'_, M>]| {
        let is_zero = pair.iter().any(|folio| folio.word.is_zero_page());
        !is_zero && pair[0].end() == pair[1].first
    };
    1 + folios.windows(2).take(NR_TOGETHER - 1).take_while(is_next).count()
}
