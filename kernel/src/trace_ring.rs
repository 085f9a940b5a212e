// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the last events of a CPU in a ring of 32 bytes each, and reads which are wanted.
//!
//! Names of threads have a ring of their own: what the others say of threads is of no use without.
//! One CPU writes a ring, with interrupts masked; any CPU reads it, when no more than the next event
//! can be written meanwhile.
//! An event is start, then duration, thread and kind in one word, then two arguments.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use hal::trace::{TraceCategory, TraceEvent, TraceKind};

/// Words of an event.
const WORDS: usize = 4;

/// Bits of the second word: 40 of the duration, 18 minutes at most, 16 of the thread, 8 of the kind.
const THREAD_SHIFT: u32 = 8;
const DURATION_SHIFT: u32 = 24;
const DURATION_MAX: u64 = (1 << 40) - 1;

/// What is kept for one CPU.
pub struct Rings {
    names: Ring,
    events: Ring,
}

/// Names that are kept: threads of one CPU, one after the other.
const NAMES: usize = 512;

impl Rings {
    /// Builds rings for `nr_events` events, and for names.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn new(nr_events: usize) -> Result<Self, NoMemory> {
        Ok(Self { names: Ring::new(NAMES)?, events: Ring::new(nr_events)? })
    }

    /// Keeps an event. Called on the rings' own CPU.
    pub fn push(&self, thread: u16, event: &TraceEvent) {
        let is_name = event.kind == TraceKind::ThreadName;
        let ring = if is_name { &self.names } else { &self.events };
        ring.push(thread, event);
    }

    /// Returns how many events are lost, names not counted.
    pub fn nr_lost(&self) -> u64 {
        self.events.nr_lost()
    }

    /// Iterates over names, then over events, oldest first, with their threads.
    pub fn events(&self) -> impl Iterator<Item = (u16, TraceEvent)> {
        self.names.events().chain(self.events.events())
    }
}

/// The last events of one CPU.
struct Ring {
    words: Box<[AtomicU64]>,
    /// Events ever written.
    nr_written: AtomicU64,
}

/// There is no memory for a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl Ring {
    fn new(nr_events: usize) -> Result<Self, NoMemory> {
        let mut words = Vec::new();
        words.try_reserve_exact((nr_events + 1) * WORDS).map_err(|_| NoMemory)?;
        words.resize_with((nr_events + 1) * WORDS, || AtomicU64::new(0));
        Ok(Self { words: words.into_boxed_slice(), nr_written: AtomicU64::new(0) })
    }

    fn capacity(&self) -> u64 {
        (self.words.len() / WORDS) as u64
    }

    /// Writes an event over the oldest. Called on the ring's own CPU.
    fn push(&self, thread: u16, event: &TraceEvent) {
        let nr_written = self.nr_written.load(Ordering::Relaxed);
        let place = (nr_written % self.capacity()) as usize * WORDS;
        let duration = event.duration_ns.min(DURATION_MAX) << DURATION_SHIFT;
        let second = duration | u64::from(thread) << THREAD_SHIFT | event.kind as u64;
        let words = [event.start_ns, second, event.args[0], event.args[1]];
        for (to, word) in self.words[place..place + WORDS].iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        // A reader that sees the number sees the words.
        self.nr_written.store(nr_written + 1, Ordering::Release);
    }

    /// Returns how many events are lost, because they were or may be written over.
    fn nr_lost(&self) -> u64 {
        // The next event may be on its way into the oldest one's place.
        self.nr_written.load(Ordering::Acquire).saturating_sub(self.capacity() - 1)
    }

    /// Iterates over the events, oldest first, with their threads.
    fn events(&self) -> impl Iterator<Item = (u16, TraceEvent)> {
        let nr_written = self.nr_written.load(Ordering::Acquire);
        let oldest = nr_written.saturating_sub(self.capacity() - 1);
        (oldest..nr_written).filter_map(|number| self.event(number))
    }

    fn event(&self, number: u64) -> Option<(u16, TraceEvent)> {
        let place = (number % self.capacity()) as usize * WORDS;
        let word = |index: usize| self.words[place + index].load(Ordering::Relaxed);
        let second = word(1);
        let event = TraceEvent {
            kind: *TraceKind::ALL.get(usize::from(second as u8))?,
            start_ns: word(0),
            duration_ns: second >> DURATION_SHIFT,
            args: [word(2), word(3)],
        };
        Some(((second >> THREAD_SHIFT) as u16, event))
    }
}

/// Reads boot option `trace`: names of categories with commas between, or `all`. Returns a set of
/// [`TraceCategory::bit`]s, or the word that is none.
pub fn selection(value: &str) -> Result<u32, &str> {
    let all = TraceCategory::ALL.iter().fold(0, |set, category| set | category.bit());
    value.split(',').try_fold(TraceCategory::Thread.bit(), |set, word| {
        let found = TraceCategory::ALL.iter().find(|category| category.name() == word);
        match found {
            Some(category) => Ok(set | category.bit()),
            None if word == "all" => Ok(all),
            None => Err(word),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> TraceEvent {
        let kind = TraceKind::ALL[number as usize % TraceKind::ALL.len()];
        TraceEvent { kind, start_ns: number, duration_ns: number << 20, args: [number, !number] }
    }

    #[test]
    fn the_last_events_are_kept_as_they_were() {
        let ring = Ring::new(8).expect("memory");
        for number in 0..20u64 {
            ring.push(number as u16, &event(number));
        }
        let expected: Vec<_> = (12..20).map(|number| (number as u16, event(number))).collect();
        assert_eq!(ring.events().collect::<Vec<_>>(), expected);
        assert_eq!(ring.nr_lost(), 12);
    }

    #[test]
    fn a_name_outlives_the_events_behind_it() {
        let rings = Rings::new(4).expect("memory");
        let name = TraceEvent { kind: TraceKind::ThreadName, ..event(0) };
        rings.push(9, &name);
        (1..=6).for_each(|number| {
            rings.push(9, &TraceEvent { kind: TraceKind::Fault, ..event(number) })
        });
        let kept: Vec<u64> = rings.events().map(|(_, event)| event.start_ns).collect();
        assert_eq!((kept, rings.nr_lost()), (Vec::from([0, 3, 4, 5, 6]), 2));
    }

    #[test]
    fn a_ring_that_is_not_full_has_what_was_written() {
        let ring = Ring::new(8).expect("memory");
        assert_eq!(ring.events().count(), 0);
        let long = TraceEvent { duration_ns: u64::MAX, ..event(3) };
        ring.push(u16::MAX, &long);
        let kept = TraceEvent { duration_ns: DURATION_MAX, ..long };
        assert_eq!(ring.events().collect::<Vec<_>>(), [(u16::MAX, kept)]);
        assert_eq!(ring.nr_lost(), 0);
    }

    #[test]
    fn a_selection_is_a_list_of_categories() {
        let thread = TraceCategory::Thread.bit();
        let both = thread | TraceCategory::Swap.bit() | TraceCategory::Tlb.bit();
        assert_eq!(selection("swap,tlb"), Ok(both));
        assert_eq!(selection("all"), Ok(0x3ff));
        assert_eq!(selection("swap,tbl"), Err("tbl"));
        assert_eq!(selection(""), Err(""));
    }
}
