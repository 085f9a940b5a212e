// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is devices with memory of their own, and the engine that copies to and from it.
//!
//! Copies are taken up in any order, by whichever thread waits for one; the data moves then, in
//! pieces. What is read from RAM must not be written by a CPU meanwhile, what is written there must
//! not be in use by one. A frame of a device is no RAM: an entry that maps one is a failed walk.

use alloc::collections::BTreeMap;

use base::sync::{relax, schedule_point};
use base::{Pfn, PhysAddr};

use super::SimMachine;
use super::config::SimConfig;
use super::host::State;
use super::ram::{Frame, Ram, WORDS};
use super::rng::{Rng, Stream};
use crate::device_mem::{CopyError, CopyTicket, DeviceId, DeviceMem, FrameCopy};
use crate::tag_mem::PageTags;

/// The devices of a machine.
pub(super) struct Devices {
    ram: Ram,
    engine: State<Engine>,
}

#[derive(Debug)]
struct Engine {
    rng: Rng,
    copies: BTreeMap<u32, Copy>,
    next_ticket: u32,
    /// Frames copied so far, failed ones included.
    nr_copied: u64,
    /// Allocations asked for so far.
    nr_allocs: u64,
    failing_copy: Option<u64>,
    failing_alloc: Option<u64>,
    /// All allocations from `failing_alloc` on fail.
    is_exhausted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    what: FrameCopy,
    fails: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Queued,
    Moving,
    Done,
}

impl Devices {
    pub(super) fn new(config: &SimConfig) -> Self {
        let engine = Engine {
            rng: Rng::new(config.seed, Stream::Device),
            copies: BTreeMap::new(),
            next_ticket: 0,
            nr_copied: 0,
            nr_allocs: 0,
            failing_copy: None,
            failing_alloc: None,
            is_exhausted: false,
        };
        Self { ram: Ram::new(&config.devices, !config.seed), engine: State::new(engine) }
    }
}

impl SimMachine {
    /// Lets the copy of the `n`-th frame from now on fail, counted from 1, and with it all frames of the
    /// same request.
    pub fn fail_nth_device_copy(&self, n: u64) {
        let mut engine = self.devices().engine.lock();
        engine.failing_copy = Some(engine.nr_copied + n);
    }

    /// Lets the `n`-th allocation of device frames from now on fail, counted from 1; `forever` all
    /// after it as well.
    pub fn fail_nth_device_alloc(&self, n: u64, forever: bool) {
        let mut engine = self.devices().engine.lock();
        engine.failing_alloc = Some(engine.nr_allocs + n);
        engine.is_exhausted = forever;
    }

    /// Lets nothing fail any more.
    pub fn clear_device_faults(&self) {
        let mut engine = self.devices().engine.lock();
        (engine.failing_copy, engine.failing_alloc, engine.is_exhausted) = (None, None, false);
    }

    /// Returns (frames the engine was asked to fill, allocations asked for) so far.
    pub fn device_counts(&self) -> (u64, u64) {
        let engine = self.devices().engine.lock();
        (engine.nr_copied, engine.nr_allocs)
    }

    /// Judges that every copy was waited for.
    pub(super) fn assert_no_copy_leaked(&self) {
        if let Some((number, copy)) = self.devices().engine.lock().copies.iter().next() {
            panic!("copy {number} was never waited for: {copy:?}");
        }
    }

    fn any_frame(&self, pfn: Pfn) -> &Frame {
        let devices = &self.devices().ram;
        if devices.is_managed(pfn) { devices.frame(pfn) } else { self.ram().frame(pfn) }
    }

    fn judge_copy(&self, copy: &FrameCopy) {
        for n in 0..copy.nr_frames {
            let (to, from) = (copy.to.add(n), copy.from.map(|from| from.add(n)));
            if self.ram().is_managed(to) {
                self.assert_not_in_flight(to);
                self.mmu().assert_reusable(self.ram(), to);
            }
            if let Some(from) = from.filter(|from| self.ram().is_managed(*from)) {
                self.mmu().assert_not_written_meanwhile(self.ram(), from);
            }
        }
    }

    /// Does one copy that nobody does yet, whichever the seed picks; `false` when there is none.
    fn do_some_copy(&self) -> bool {
        let taken = {
            let mut engine = self.devices().engine.lock();
            let queued = |(n, copy): (&u32, &Copy)| (copy.phase == Phase::Queued).then_some(*n);
            let all: alloc::vec::Vec<u32> = engine.copies.iter().filter_map(queued).collect();
            let pick = engine.rng.below(all.len());
            let number = all.get(pick).copied();
            number.map(|number| {
                let copy = engine.copies.get_mut(&number).expect("it was there");
                copy.phase = Phase::Moving;
                (number, *copy)
            })
        };
        let Some((number, copy)) = taken else { return false };
        self.judge_copy(&copy.what);
        for n in 0..copy.what.nr_frames {
            self.move_frame(&copy, n);
        }
        let mut engine = self.devices().engine.lock();
        engine.copies.get_mut(&number).expect("it was there").phase = Phase::Done;
        true
    }

    fn move_frame(&self, copy: &Copy, n: u32) {
        let to = self.any_frame(copy.what.to.add(n));
        let from = copy.what.from.map(|from| self.any_frame(from.add(n)));
        let word = |index: usize| from.map_or(0, |from| from.word(index));
        // What a failed copy leaves behind is anything but what it should be.
        let garble = |word: u64| if copy.fails { !word } else { word };
        let cut = self.devices().engine.lock().rng.below(WORDS + 1);
        schedule_point();
        (0..cut).for_each(|index| to.set_word(index, garble(word(index))));
        schedule_point();
        (cut..WORDS).for_each(|index| to.set_word(index, garble(word(index))));
        if copy.what.with_tags {
            let tags = from.map_or(PageTags::ZERO, Frame::tags);
            to.set_tags(&PageTags(tags.0.map(garble)), 0..PageTags::WORDS);
        }
        to.set_synced(false);
    }
}

impl DeviceMem for SimMachine {
    fn nr_devices(&self) -> usize {
        self.config().devices.len()
    }

    fn device_frames(&self, device: DeviceId) -> core::ops::Range<Pfn> {
        let bank = self.config().devices[usize::from(device.0)];
        bank.first..bank.first.add(bank.nr_blocks * 512)
    }

    fn start_copy(&self, copy: FrameCopy) -> CopyTicket {
        self.assert_may_sleep();
        schedule_point();
        let is_device = |pfn: Pfn| self.devices().ram.is_managed(pfn);
        assert!(
            is_device(copy.to) || copy.from.is_some_and(is_device),
            "{copy:?} is no copy to or from a device"
        );
        self.judge_copy(&copy);
        let mut engine = self.devices().engine.lock();
        let first = engine.nr_copied + 1;
        engine.nr_copied += u64::from(copy.nr_frames);
        let fails = engine.failing_copy.is_some_and(|n| (first..=engine.nr_copied).contains(&n));
        let number = engine.next_ticket;
        engine.next_ticket += 1;
        engine.copies.insert(number, Copy { what: copy, fails, phase: Phase::Queued });
        CopyTicket::new(number)
    }

    fn finish_copy(&self, ticket: CopyTicket) -> Result<(), CopyError> {
        self.assert_may_sleep();
        loop {
            schedule_point();
            let is_done = self.devices().engine.lock().copies[&ticket.raw()].phase == Phase::Done;
            if is_done {
                let copy = self.devices().engine.lock().copies.remove(&ticket.raw());
                let fails = copy.expect("a ticket is waited for once").fails;
                return if fails { Err(CopyError) } else { Ok(()) };
            }
            if !self.do_some_copy() {
                relax();
            }
        }
    }

    fn read_device(&self, from: PhysAddr, buf: &mut [u8]) {
        schedule_point();
        let (frame, offset) = self.devices().ram.at(from);
        frame.read(offset, buf);
    }

    fn write_device(&self, to: PhysAddr, bytes: &[u8]) {
        schedule_point();
        let (frame, offset) = self.devices().ram.at(to);
        frame.write(offset, bytes);
    }

    fn inject_device_failure(&self) -> bool {
        let mut engine = self.devices().engine.lock();
        engine.nr_allocs += 1;
        let nr = engine.nr_allocs;
        engine.failing_alloc.is_some_and(|n| n == nr || engine.is_exhausted && nr > n)
    }
}
