// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds simulated disks: many requests in flight, completed in any order, or not at all.
//!
//! The life of a request:
//!
//! 1. `submit` checks and judges it, waits for room in the queue and puts it there. Which fault
//!    hits it is settled now, in submission order.
//! 2. Some time until its `wait` returns, whichever thread looks at the disks next completes it:
//!    the order is the seed's. Data moves at that moment, sector by sector, with schedule points in
//!    between: a page written to meanwhile is torn on disk.
//! 3. `wait` returns the outcome and retires it. One that is never waited for is a leak, which
//!    [`SimMachine::assert_quiescent`] reports.
//!
//! Until it is complete, nobody else may overwrite its frames, and nobody may map a frame that is
//! being read.

mod fault;
mod media;
mod queue;
mod transfer;

use alloc::vec::Vec;

use base::Pfn;
use base::sync::{relax, schedule_point};

pub use fault::IoFault;
use fault::{Fate, Faults};
use media::Media;
use queue::{Phase, Queue, Request};

use super::SimMachine;
use super::config::SimConfig;
use super::descriptor;
use super::host::State;
use super::rng::{Rng, Stream};
use crate::block_dev::{BlockDevs, BlockOp, DiskId, IoError, IoTicket, SECTOR_SIZE, Segment};

/// 64-bit words in a sector.
const WORDS: usize = SECTOR_SIZE / 8;

/// What a disk did so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DiskCounts {
    /// Read requests.
    pub reads: u64,
    /// Write requests.
    pub writes: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Discard requests.
    pub discards: u64,
    /// Sectors of read requests.
    pub sectors_read: u64,
    /// Sectors of write requests.
    pub sectors_written: u64,
    /// Requests that failed.
    pub failures: u64,
    /// The most requests that were in flight at once.
    pub most_in_flight: usize,
}

/// All disks.
#[derive(Debug)]
pub(super) struct Disks(State<Inside>);

#[derive(Debug)]
struct Inside {
    media: Vec<Media>,
    faults: Faults,
    queue: Queue,
    rng: Rng,
}

impl Disks {
    pub(super) fn new(config: &SimConfig) -> Self {
        let media = config.disks.iter().enumerate();
        Self(State::new(Inside {
            media: media.map(|(disk, sectors)| Media::new(*sectors, config.seed, disk)).collect(),
            faults: Faults::default(),
            queue: Queue::new(config.disks.len()),
            rng: Rng::new(config.seed, Stream::Disk),
        }))
    }
}

impl SimMachine {
    /// Returns what a disk did so far.
    pub fn disk_counts(&self, disk: DiskId) -> DiskCounts {
        self.disks().0.lock().queue.counts(disk)
    }

    /// Reads a disk past all requests: what is on the medium now.
    pub fn read_medium(&self, disk: DiskId, sector: u64, buf: &mut [u8]) {
        self.disks().0.lock().media[usize::from(disk.0)].read(sector, buf);
    }

    /// Writes a disk past all requests.
    pub fn write_medium(&self, disk: DiskId, sector: u64, bytes: &[u8]) {
        self.disks().0.lock().media[usize::from(disk.0)].write(sector, bytes);
    }

    /// Lets requests fail as `fault` says, beside the faults already set.
    pub fn fail_io(&self, fault: IoFault) {
        self.disks().0.lock().faults.add(fault);
    }

    /// Lets no further request fail.
    pub fn clear_io_faults(&self) {
        self.disks().0.lock().faults = Faults::default();
    }

    /// Judges a frame that gets new contents by other means than a disk.
    pub(super) fn assert_not_in_flight(&self, frame: Pfn) {
        let in_flight = self.disks().0.lock().queue.use_of(frame);
        if let Some((number, op)) = in_flight {
            panic!("{frame:?} is overwritten while request {number} ({op:?}) is in flight");
        }
    }

    /// Judges an entry that is about to be stored: what it maps is not still being read.
    pub(super) fn assert_no_read_in_flight(&self, entry: u64) {
        let inside = self.disks().0.lock();
        if inside.queue.is_idle() || !descriptor::is_valid(entry) {
            return;
        }
        let (first, nr_frames) = descriptor::frames_named(entry);
        for frame in (first.get()..first.get() + nr_frames).map(Pfn::new) {
            if let Some((number, BlockOp::Read)) = inside.queue.use_of(frame) {
                panic!("{frame:?} is mapped while request {number} (Read) is in flight");
            }
        }
    }

    /// Judges that every request was waited for.
    pub(super) fn assert_no_request_leaked(&self) {
        if let Some((number, request)) = self.disks().0.lock().queue.oldest() {
            panic!("request {number} was never waited for: {request:?}");
        }
    }

    fn check_request(&self, request: &Request) -> Result<(), IoError> {
        let limit = self.nr_sectors(request.disk);
        let end = request.sector.checked_add(request.nr_sectors()).ok_or(IoError::OutOfRange)?;
        if limit == 0 || end > limit {
            return Err(IoError::OutOfRange);
        }
        let moves_data = matches!(request.op, BlockOp::Read | BlockOp::Write);
        assert!(moves_data != request.segments.is_empty(), "what moves data has segments");
        for frame in request.frames() {
            assert!(self.ram().is_managed(frame), "{frame:?} is not managed memory");
            match request.op {
                BlockOp::Read => {
                    self.assert_not_in_flight(frame);
                    self.mmu().assert_reusable(self.ram(), frame);
                }
                BlockOp::Write => self.mmu().assert_not_written_meanwhile(self.ram(), frame),
                BlockOp::Flush | BlockOp::Discard { .. } => {}
            }
        }
        Ok(())
    }
}

impl BlockDevs for SimMachine {
    fn nr_disks(&self) -> usize {
        self.config().disks.len()
    }

    fn nr_sectors(&self, disk: DiskId) -> u64 {
        self.config().disks.get(usize::from(disk.0)).copied().unwrap_or(0)
    }

    fn submit(
        &self,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        segments: &[Segment],
    ) -> Result<IoTicket, IoError> {
        self.assert_may_sleep();
        schedule_point();
        let segments = segments.to_vec();
        let mut request =
            Request { disk, op, sector, segments, fate: Fate::Succeeds, phase: Phase::Queued };
        self.check_request(&request)?;
        let number = loop {
            let mut inside = self.disks().0.lock();
            if inside.queue.nr_in_flight(disk) < self.config().queue_depth {
                request.fate = inside.faults.strike(disk, op, sector, request.nr_sectors());
                break inside.queue.enqueue(request);
            }
            drop(inside);
            if !self.complete_some_io() {
                relax();
            }
        };
        self.maybe_complete_io();
        Ok(IoTicket::new(number))
    }

    fn wait(&self, ticket: IoTicket) -> Result<(), IoError> {
        self.assert_may_sleep();
        loop {
            schedule_point();
            let retired = self.disks().0.lock().queue.retire(ticket.raw());
            match retired {
                Some(true) => return Err(IoError::Device),
                Some(false) => return Ok(()),
                None if self.complete_some_io() => {}
                // Another thread is moving the data of all that is left.
                None => relax(),
            }
        }
    }
}
