// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads folios of many slots together, for swapoff (`read_ahead.rs`) and for faults
//! (`fault/read_ahead.rs`).
//!
//! Neighbouring slots go in one request, and all requests are in flight before the first is waited for.
//! Reading alone, a thread would sleep once for each page, and on a busy machine it is the turn of others
//! whenever it wakes.
//!
//! Folios are locked while they are read, many by one thread; so nothing in here waits for a folio. One that
//! could not be read leaves the cache, and is for who asks for just this slot: of a request that fails,
//! most pages are good.

use alloc::vec::Vec;
use core::ops::DerefMut;

use arrayvec::ArrayVec;

use base::Vpn;
use hal::{BlockOp, IoTicket, Machine, Segment, TraceKind};

use super::area::SwapArea;
use super::swap_in::Unread;
use crate::events::MmEvent;
use crate::folio::FolioRef;
use crate::system::System;

/// Most segments of a request; virtio-blk takes them from 32 on (`drivers::virtio::MAX_SEGMENTS`).
pub(super) const NR_TOGETHER: usize = 32;

/// Folios that are read by one request.
pub(crate) struct Request {
    nr_folios: usize,
    is_zero: bool,
    /// `None`: nothing was started.
    ticket: Option<IoTicket>,
}

/// A list of folios, or of requests, with room for one more for each folio there can be.
pub(crate) trait Batch<T>: DerefMut<Target = [T]> + Extend<T> {
    /// Empties the list.
    fn drain_all(&mut self) -> impl Iterator<Item = T>;
}

impl<T> Batch<T> for Vec<T> {
    fn drain_all(&mut self) -> impl Iterator<Item = T> {
        self.drain(..)
    }
}

impl<T, const N: usize> Batch<T> for ArrayVec<T, N> {
    fn drain_all(&mut self) -> impl Iterator<Item = T> {
        self.drain(..)
    }
}

impl<M: Machine> System<M> {
    /// Reads folios, waits for all, and hands each that has its content now to `done`, unlocked, with
    /// its page. The others have left the cache again.
    pub(crate) fn read_together<'s>(
        &'s self,
        area: &SwapArea,
        unread: &mut impl Batch<Unread<'s, M>>,
        requests: &mut impl Batch<Request>,
        mut done: impl FnMut(Vpn, FolioRef<'s, M>),
    ) {
        unread.sort_unstable_by_key(|unread| unread.first);
        let Some(first) = unread.first().map(|unread| unread.first) else { return };
        let machine = self.machine();
        let size = || [first.into(), unread.len() as u64];
        let _span = machine.span(TraceKind::ReadAhead, size);
        let mut left = &unread[..];
        while !left.is_empty() {
            let (folios, rest) = left.split_at(nr_together(left));
            requests.extend([self.start_reading(area, folios)]);
            left = rest;
        }
        let mut unread = unread.drain_all();
        for Request { nr_folios, is_zero, ticket } in requests.drain_all() {
            let is_read = ticket.is_some_and(|ticket| machine.wait(ticket).is_ok());
            for unread in unread.by_ref().take(nr_folios) {
                if is_read || is_zero {
                    let size = || [unread.first.into(), unread.segment().nr_frames.into()];
                    let _span = machine.span(TraceKind::SwapIn, size);
                    let page = unread.page;
                    // One that does not come back as it was is read again, alone.
                    if let Ok(folio) = self.finish_read(area, unread) {
                        done(page, folio);
                    }
                } else {
                    self.abandon_cache(area, unread.first, &unread.folio);
                }
            }
        }
    }

    /// Starts the request for folios that [`nr_together`] has put together.
    fn start_reading(&self, area: &SwapArea, folios: &[Unread<'_, M>]) -> Request {
        let (nr_folios, is_zero) = (folios.len(), folios[0].word.is_zero_page());
        let mut request = Request { nr_folios, is_zero, ticket: None };
        if !is_zero {
            let segments: ArrayVec<Segment, NR_TOGETHER> =
                folios.iter().map(Unread::segment).collect();
            self.count(MmEvent::SwapRequest, 1);
            self.count(MmEvent::SwapMerged, nr_folios as u64 - 1);
            let sector = area.sector(folios[0].first);
            let read = self.machine().submit(area.disk, BlockOp::Read, sector, &segments);
            request.ticket = read.ok();
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
