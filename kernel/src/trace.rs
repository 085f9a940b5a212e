// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the events that boot options ask for, and writes them to the console. Part of
//! kernels built with the feature `trace` only (docs/adr/0006-trace-is-a-build.md).
//!
//! | option | meaning |
//! |---|---|
//! | `trace=fault,swap,...` | categories that are kept, or `all` |
//! | `trace.events=N` | events that are kept for each CPU, 16384 without it |

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use arch::cpu;
use arch::timer::Ticks;
use base::lock_level;
use base::percpu::CacheAligned;
use base::sync::{self, OnceCell};
use hal::trace::{TraceEvent, TraceKind};

use crate::machine;
use crate::trace_ring::{self, NoMemory, Rings};

const EVENTS: usize = 16384;

/// The set of categories that are kept. Nothing is kept before there are rings.
static SELECTED: AtomicU32 = AtomicU32::new(0);

static RINGS: OnceCell<AllRings> = OnceCell::new();

static TICKS: OnceCell<Ticks> = OnceCell::new();

/// The rings of each CPU.
type AllRings = Vec<CacheAligned<Rings>>;

/// Starts to keep what the boot options ask for.
pub fn init(categories: &str, nr_events: Option<&str>, nr_cpus: usize) {
    let selected = match trace_ring::selection(categories) {
        Ok(selected) => selected,
        Err(word) => return log::error!("trace: {word:?} is no category; nothing is kept"),
    };
    let nr_events = nr_events.map_or(Ok(EVENTS), str::parse);
    let Ok(nr_events) = nr_events else {
        return log::error!("trace.events is no number; nothing is kept");
    };
    match rings(nr_cpus, nr_events) {
        Ok(rings) => {
            RINGS.set(rings);
            TICKS.set(Ticks::read());
            sync::observe(sync::Observer { now_ns, waited });
            SELECTED.store(selected, Ordering::Release);
        }
        Err(NoMemory) => log::error!("trace: no memory for so many events; nothing is kept"),
    }
}

fn rings(nr_cpus: usize, nr_events: usize) -> Result<AllRings, NoMemory> {
    (0..nr_cpus).map(|_| Rings::new(nr_events).map(CacheAligned)).collect()
}

/// Tells whether events of this kind are kept.
#[inline(always)]
pub fn is_kept(kind: TraceKind) -> bool {
    SELECTED.load(Ordering::Relaxed) & kind.category().bit() != 0
}

fn now_ns() -> u64 {
    TICKS.get().map_or(0, |ticks| ticks.now_ns())
}

/// Keeps a wait for a spin lock.
fn waited(start_ns: u64, lock: usize, rank: u8) {
    let kind = TraceKind::SpinWait;
    if is_kept(kind) {
        let duration_ns = now_ns().saturating_sub(start_ns);
        let args = [lock as u64, rank.into()];
        keep(machine::thread_number(), &TraceEvent { kind, start_ns, duration_ns, args });
    }
}

/// Keeps an event of a thread.
pub fn keep(thread: u16, event: &TraceEvent) {
    if let Some(rings) = RINGS.get() {
        rings[cpu::current().get()].0.push(thread, event);
    }
}

/// Writes what was kept, a line at a time. Nothing is kept meanwhile, but for the event that another
/// CPU is about to write at this moment. Allocates nothing and, with [`print_in_panic`](crate::console::print_in_panic),
/// takes no lock.
pub fn write(print: fn(fmt::Arguments<'_>)) {
    let selected = SELECTED.swap(0, Ordering::AcqRel);
    if let Some(rings) = RINGS.get() {
        print(format_args!("--- trace begin ---\n"));
        for kind in TraceKind::ALL {
            let [a, b] = kind.args().map(|name| if name.is_empty() { "-" } else { name });
            let (name, category) = (kind.name(), kind.category().name());
            print(format_args!("kind {name} {category} {a} {b}\n"));
        }
        for (name, rank) in lock_level::ORDER {
            print(format_args!("level {rank} {name}\n"));
        }
        rings.iter().enumerate().for_each(|(cpu, rings)| write_rings(cpu, &rings.0, print));
        print(format_args!("--- trace end ---\n"));
    }
    SELECTED.store(selected, Ordering::Release);
}

fn write_rings(cpu: usize, rings: &Rings, print: fn(fmt::Arguments<'_>)) {
    print(format_args!("cpu {cpu} lost {}\n", rings.nr_lost()));
    for (thread, event) in rings.events() {
        let TraceEvent { kind, start_ns, duration_ns, args: [a, b] } = event;
        let name = kind.name();
        print(format_args!("{name} {start_ns} {duration_ns} {thread} {a:#x} {b:#x}\n"));
    }
}
