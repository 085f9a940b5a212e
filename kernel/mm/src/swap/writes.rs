// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes folios on their way out. Neighbouring slots go in one request, and all requests are in
//! flight before the first is waited for.
//!
//! Everything that may wait, for memory or for tags on the disk, is done before the first folio is in
//! write-back: whoever finds one so may rely on a write that is under way.

use arrayvec::ArrayVec;

use hal::{BlockOp, IoTicket, Machine, Segment};

use super::read_together::NR_TOGETHER;
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::system::System;

/// Most folios written together: what one request has room for.
pub(crate) const NR_WRITTEN: usize = NR_TOGETHER;

/// Most pages of a request with several folios.
const NR_PAGES_TOGETHER: u32 = 512;

/// Folios that are being written.
#[must_use = "a write ends in finish()"]
pub(crate) struct Writes<'s, M: Machine> {
    system: &'s System<M>,
    /// Those of the requests, in their order, and then those without one.
    folios: ArrayVec<FolioRef<'s, M>, NR_WRITTEN>,
    requests: ArrayVec<Request, NR_WRITTEN>,
}

/// The write of some folios.
struct Request {
    nr_folios: usize,
    /// `None`: the disk does not take it.
    ticket: Option<IoTicket>,
}

impl<'s, M: Machine> Writes<'s, M> {
    /// Starts to write locked, unmapped folios that no CPU can reach any more, and unlocks them. Clean ones,
    /// and those of zeroes, need no write.
    pub fn start(
        system: &'s System<M>,
        folios: impl IntoIterator<Item = FolioLock<'s, M>>,
    ) -> Self {
        let mut ready = ArrayVec::<FolioLock<'s, M>, NR_WRITTEN>::new();
        let mut others = ArrayVec::<FolioRef<'s, M>, NR_WRITTEN>::new();
        for folio in folios {
            if system.prepare_write_out(&folio) {
                ready.push(folio);
            } else {
                others.push(folio.unlock());
            }
        }
        let mut requests = ArrayVec::new();
        let mut left = &ready[..];
        while !left.is_empty() {
            let (folios, rest) = left.split_at(nr_together(left));
            requests.push(Request { nr_folios: folios.len(), ticket: start(system, folios) });
            left = rest;
        }
        let folios = ready.into_iter().map(FolioLock::unlock).chain(others).collect();
        Self { system, folios, requests }
    }

    /// Waits for all writes, and only then tries again what failed: by then no other is in flight with
    /// which the disk could merge it. Returns the folios; what could not be written is dirty.
    pub fn finish(self) -> ArrayVec<FolioRef<'s, M>, NR_WRITTEN> {
        let Self { system, folios, requests } = self;
        let mut failed = ArrayVec::<&FolioRef<'s, M>, NR_WRITTEN>::new();
        let mut left = &folios[..];
        for Request { nr_folios, ticket } in requests {
            let (of_request, rest) = left.split_at(nr_folios);
            left = rest;
            match ticket.map(|ticket| system.machine().wait(ticket)) {
                Some(Ok(())) => of_request.iter().for_each(|folio| system.end_write_out(folio)),
                Some(Err(_)) => failed.extend(of_request),
                None => {}
            }
        }
        failed.into_iter().for_each(|folio| system.write_again(folio));
        folios
    }
}

/// Returns how many of the first folios make one request: those with neighbouring slots.
fn nr_together<M: Machine>(folios: &[FolioLock<'_, M>]) -> usize {
    let mut nr_pages = folios[0].order().nr_pages();
    let is_next = |pair: &&[FolioLock<'_, M>]| {
        nr_pages += pair[1].order().nr_pages();
        let end = pair[0].swap_entry().map(|entry| entry.add(pair[0].order().nr_pages()));
        end == pair[1].swap_entry() && nr_pages <= NR_PAGES_TOGETHER
    };
    1 + folios.windows(2).take_while(is_next).count()
}

/// Starts the write of folios with neighbouring slots. If the disk does not take it they are dirty again.
fn start<M: Machine>(system: &System<M>, folios: &[FolioLock<'_, M>]) -> Option<IoTicket> {
    let entry = folios[0].swap_entry().expect("a folio that is written is in the swap cache");
    let area = system.swap_area(entry.area).expect("a cached folio's area is in service");
    let segment = |folio: &FolioLock<'_, M>| Segment {
        first: folio.head(),
        nr_frames: folio.order().nr_pages(),
    };
    let segments: ArrayVec<Segment, NR_TOGETHER> = folios.iter().map(segment).collect();
    for folio in folios {
        folio.set(FolioFlags::WRITEBACK);
    }
    system.count(MmEvent::SwapRequest, 1);
    system.count(MmEvent::SwapMerged, folios.len() as u64 - 1);
    let sector = area.sector(entry.slot);
    let started = system.machine().submit(area.disk, BlockOp::Write, sector, &segments);
    if let Err(why) = &started {
        log::warn!("swap: writing slot {} of area {:?}: {why:?}", entry.slot, area.id);
        for folio in folios {
            folio.set(FolioFlags::DIRTY);
            folio.end_writeback();
        }
    }
    started.ok()
}
