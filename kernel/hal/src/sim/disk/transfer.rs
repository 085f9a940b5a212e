// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves the data of simulated disk requests: late, in pieces, in any order.

use base::sync::schedule_point;

use super::WORDS;
use super::fault::Fate;
use super::queue::Request;
use crate::block_dev::{BlockOp, SECTORS_PER_PAGE};
use crate::sim::SimMachine;

impl SimMachine {
    /// Lets a request complete that nobody waits for, now and then.
    pub(in crate::sim) fn maybe_complete_io(&self) {
        let odds = self.config().adversary.early_io;
        let is_time = self.disks().0.lock().rng.one_in(odds);
        if is_time {
            self.complete_some_io();
        }
    }

    /// Completes one request, whichever the seed picks; returns whether there was one to take up.
    pub(super) fn complete_some_io(&self) -> bool {
        let mut guard = self.disks().0.lock();
        let inside = &mut *guard;
        let taken = inside.queue.take_up(|nr_queued| inside.rng.below(nr_queued));
        drop(guard);
        let Some((number, request)) = taken else { return false };
        self.move_sectors(&request);
        self.disks().0.lock().queue.finish(number);
        true
    }

    /// Moves a request's data; of one that fails or stops short, some leading part.
    fn move_sectors(&self, request: &Request) {
        let nr_sectors = request.nr_sectors();
        let moved = match request.fate {
            Fate::Succeeds => nr_sectors,
            Fate::Fails | Fate::StopsShort => self.disk_draw(nr_sectors as usize) as u64,
        };
        for nth in 0..moved {
            if self.disk_draw(2) == 0 {
                schedule_point();
            }
            let cut = self.disk_draw(WORDS + 1);
            self.move_words(request, nth, 0, cut);
            if cut.is_multiple_of(4) {
                schedule_point();
            }
            self.move_words(request, nth, cut, WORDS);
        }
        if request.op == BlockOp::Read {
            request.frames().for_each(|frame| self.ram().frame(frame).set_synced(false));
        }
    }

    /// Moves some words of a request's `nth` sector.
    fn move_words(&self, request: &Request, nth: u64, first: usize, end: usize) {
        if let BlockOp::Discard { .. } = request.op {
            let mut inside = self.disks().0.lock();
            let medium = &mut inside.media[usize::from(request.disk.0)];
            let words = &mut medium.sector_mut(request.sector + nth)[first..end];
            return words.iter_mut().for_each(|word| *word = !*word);
        }
        let frame = request.frames().nth((nth / SECTORS_PER_PAGE) as usize);
        let frame = self.ram().frame(frame.expect("a request has frames for its sectors"));
        let start = (nth % SECTORS_PER_PAGE) as usize * WORDS;
        let mut inside = self.disks().0.lock();
        let medium = &mut inside.media[usize::from(request.disk.0)];
        let sector = medium.sector_mut(request.sector + nth);
        for (word, on_disk) in (start + first..).zip(&mut sector[first..end]) {
            match request.op {
                // What a failed read leaves behind is anything but what it should be.
                BlockOp::Read if request.fate == Fate::Fails => frame.set_word(word, !*on_disk),
                BlockOp::Read => frame.set_word(word, *on_disk),
                BlockOp::Write => *on_disk = frame.word(word),
                BlockOp::Flush | BlockOp::Discard { .. } => {}
            }
        }
    }

    fn disk_draw(&self, bound: usize) -> usize {
        self.disks().0.lock().rng.below(bound)
    }
}
