// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts instructions, of this program and of the kernel.
//!
//! The count comes from the PMU's event INST_RETIRED (Arm ARM D13.12): here from its register, which
//! the kernel option `pmu.user=on` lets EL0 read; on Linux through perf_event_open. An emulator that
//! counts instructions (`-icount`) has that event; what idle CPUs wait is not in it. Elsewhere there
//! is the clock, which counts instructions where one takes a nanosecond (`-icount shift=0`), but the
//! waiting too. With several CPUs it is the clock as well: each has a PMU of its own, and threads move.

#![expect(unsafe_code, reason = "a loop of known length, and a new descriptor")]

use core::arch::asm;
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use user_tests::{fault, pmu, sys};

/// Rounds of the loop that a counter is tried with.
const NR_ROUNDS: u64 = 100_000;

/// Where a count comes from.
#[derive(Debug)]
enum Source {
    /// The PMU's register.
    Register,
    /// An event of Linux.
    Event(File),
    /// The monotonic clock.
    Clock(Instant),
}

/// A source, and whether it counts instructions.
#[derive(Debug)]
struct Counter {
    source: Source,
    is_exact: bool,
}

static COUNTER: OnceLock<Counter> = OnceLock::new();

/// Returns the number of instructions so far, or of nanoseconds.
#[inline]
pub fn now() -> u64 {
    counter().source.read()
}

/// Says what is counted, and how.
pub fn describe() -> (&'static str, &'static str) {
    let Counter { source, is_exact } = counter();
    let unit = if *is_exact { "instructions" } else { "nanoseconds" };
    match source {
        Source::Register => (unit, "PMU register"),
        Source::Event(_) => (unit, "perf_event_open"),
        Source::Clock(_) => (unit, "clock"),
    }
}

/// Returns how much `work` takes.
pub fn count(work: impl FnOnce()) -> u64 {
    let start = now();
    work();
    now() - start
}

fn counter() -> &'static Counter {
    COUNTER.get_or_init(|| {
        let is_alone = thread::available_parallelism().is_ok_and(|nr_cpus| nr_cpus.get() == 1);
        let sources = [Source::register, Source::event].into_iter().filter(|_| is_alone);
        match sources.filter_map(|open| open()).find(Source::counts_instructions) {
            Some(source) => Counter { source, is_exact: true },
            None => {
                let source = Source::Clock(Instant::now());
                let is_exact = source.counts_instructions();
                Counter { source, is_exact }
            }
        }
    })
}

impl Source {
    /// Tries the register: where EL0 may not read it, the instruction is undefined.
    fn register() -> Option<Self> {
        let undefined = fault::catch(|| {
            pmu::instructions();
        });
        undefined.is_none().then_some(Self::Register)
    }

    /// Opens an event that counts on CPU 0, whatever runs there.
    fn event() -> Option<Self> {
        const PERF_COUNT_HW_INSTRUCTIONS: u64 = 1;
        const SIZE_VER0: u64 = 64;
        // struct perf_event_attr up to its first version: type and size, config, all else 0.
        let attributes = [SIZE_VER0 << 32, PERF_COUNT_HW_INSTRUCTIONS, 0, 0, 0, 0, 0, 0];
        let at = (&raw const attributes).expose_provenance();
        // The CPU itself is counted on: pid -1, cpu 0, no group, no flags.
        let arguments = [at, usize::MAX, 0, usize::MAX, 0];
        let fd = sys::call(libc::SYS_perf_event_open, arguments).ok()?;
        // SAFETY: the descriptor is new, nobody else's.
        Some(Self::Event(unsafe { File::from_raw_fd(fd as i32) }))
    }

    #[inline]
    fn read(&self) -> u64 {
        match self {
            Self::Register => pmu::instructions(),
            Self::Event(file) => {
                let mut count = [0; 8];
                let mut file = file;
                file.read_exact(&mut count).expect("a count");
                u64::from_le_bytes(count)
            }
            Self::Clock(start) => start.elapsed().as_nanos() as u64,
        }
    }

    /// Returns whether a loop counts as many as it has instructions. The best of some runs is taken,
    /// one without an interrupt; what reading costs is in both lengths.
    fn counts_instructions(&self) -> bool {
        let run = |rounds| {
            let start = self.read();
            spin(rounds);
            self.read() - start
        };
        let best = |rounds: u64| (0..8).map(|_| run(rounds)).min().unwrap_or(0);
        let more = best(2 * NR_ROUNDS).saturating_sub(best(NR_ROUNDS));
        more.abs_diff(2 * NR_ROUNDS) < NR_ROUNDS / 100
    }
}

/// Runs two instructions a round.
pub fn spin(rounds: u64) {
    // SAFETY: the loop touches one register.
    unsafe {
        asm!("2:", "subs {rounds}, {rounds}, #1", "b.ne 2b", rounds = inout(reg) rounds => _,
            options(nomem, nostack));
    }
}
