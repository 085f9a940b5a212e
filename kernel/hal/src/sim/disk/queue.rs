// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the queue of a simulated disk controller: requests from submission to retirement.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::Pfn;

use super::DiskCounts;
use super::fault::Fate;
use crate::block_dev::{BlockOp, DiskId, SECTORS_PER_PAGE, Segment};

/// A request between submission and retirement.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) disk: DiskId,
    pub(super) op: BlockOp,
    pub(super) sector: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) fate: Fate,
    pub(super) phase: Phase,
}

/// 1. Queued -> Moving when a thread takes it up; 2. Moving -> Done when its data has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Queued,
    Moving,
    Done,
}

/// The requests of all disks.
#[derive(Debug)]
pub(super) struct Queue {
    /// By ticket number.
    requests: BTreeMap<u32, Request>,
    next_ticket: u32,
    /// Frames of requests that are not done, with what the disk does to each.
    in_flight: BTreeMap<(Pfn, u32), BlockOp>,
    counts: Vec<DiskCounts>,
}

impl Request {
    pub(super) fn nr_sectors(&self) -> u64 {
        if let BlockOp::Discard { nr_sectors } = self.op {
            return nr_sectors.into();
        }
        let frames = self.segments.iter().map(|segment| u64::from(segment.nr_frames));
        frames.sum::<u64>() * SECTORS_PER_PAGE
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = Pfn> {
        let frames = |s: &Segment| (s.first.get()..s.first.get() + s.nr_frames).map(Pfn::new);
        self.segments.iter().flat_map(frames)
    }
}

impl Queue {
    pub(super) fn new(nr_disks: usize) -> Self {
        Self {
            requests: BTreeMap::new(),
            next_ticket: 0,
            in_flight: BTreeMap::new(),
            counts: alloc::vec![DiskCounts::default(); nr_disks],
        }
    }

    pub(super) fn counts(&self, disk: DiskId) -> DiskCounts {
        self.counts[usize::from(disk.0)]
    }

    /// Returns how many requests of a disk are not done.
    pub(super) fn nr_in_flight(&self, disk: DiskId) -> usize {
        self.requests.values().filter(|r| r.disk == disk && r.phase != Phase::Done).count()
    }

    /// Puts a request in and returns its ticket number.
    pub(super) fn enqueue(&mut self, request: Request) -> u32 {
        let number = self.next_ticket;
        self.next_ticket = number.checked_add(1).expect("fewer than 2^32 requests in a test");
        for frame in request.frames() {
            self.in_flight.insert((frame, number), request.op);
        }
        let disk = request.disk;
        self.requests.insert(number, request);
        let in_flight = self.nr_in_flight(disk);
        let counts = &mut self.counts[usize::from(disk.0)];
        counts.most_in_flight = counts.most_in_flight.max(in_flight);
        number
    }

    /// Takes up a request that nobody works on: the one that `pick` chooses among so many.
    pub(super) fn take_up(&mut self, pick: impl FnOnce(usize) -> usize) -> Option<(u32, Request)> {
        let mut queued: Vec<(&u32, &mut Request)> =
            self.requests.iter_mut().filter(|(_, r)| r.phase == Phase::Queued).collect();
        let picked = pick(queued.len());
        let (number, request) = queued.get_mut(picked)?;
        request.phase = Phase::Moving;
        Some((**number, request.clone()))
    }

    /// Records that the data of a request has moved.
    pub(super) fn finish(&mut self, number: u32) {
        let request = self.requests.get_mut(&number).expect("a moving request is not retired");
        request.phase = Phase::Done;
        let sectors = request.nr_sectors();
        let counts = &mut self.counts[usize::from(request.disk.0)];
        counts.failures += u64::from(request.fate == Fate::Fails);
        let (requests, moved) = match request.op {
            BlockOp::Read => (&mut counts.reads, Some(&mut counts.sectors_read)),
            BlockOp::Write => (&mut counts.writes, Some(&mut counts.sectors_written)),
            BlockOp::Flush => (&mut counts.flushes, None),
            BlockOp::Discard { .. } => (&mut counts.discards, None),
        };
        *requests += 1;
        if let Some(moved) = moved {
            *moved += sectors;
        }
        for frame in request.frames() {
            self.in_flight.remove(&(frame, number));
        }
    }

    /// Retires a request that is done; returns whether it failed, `None` while it is not done.
    ///
    /// # Panics
    ///
    /// When there is no such request.
    pub(super) fn retire(&mut self, number: u32) -> Option<bool> {
        let request = self.requests.get(&number);
        let request = request.expect("a ticket is waited for once, on its own machine");
        let is_done = request.phase == Phase::Done;
        let retired = is_done.then(|| self.requests.remove(&number)).flatten();
        retired.map(|request| request.fate == Fate::Fails)
    }

    /// Returns the request that a disk moves to or from a frame.
    pub(super) fn use_of(&self, frame: Pfn) -> Option<(u32, BlockOp)> {
        let mut uses = self.in_flight.range((frame, 0)..=(frame, u32::MAX));
        uses.next().map(|((_, number), op)| (*number, *op))
    }

    /// Tells whether no frame is used by any disk.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Returns the oldest request that was not waited for.
    pub(super) fn oldest(&self) -> Option<(u32, &Request)> {
        self.requests.iter().next().map(|(number, request)| (*number, request))
    }
}
