// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures system calls, threads, futexes and signals, per call.

#![expect(unsafe_code, reason = "a loop of system calls that has two instructions of its own")]

use core::arch::asm;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use user_tests::fault;
use user_tests::memory::{self, ANON, Mapping, PAGE};
use user_tests::signal::{self, NOTE};
use user_tests::sys;
use user_tests::tags::{self, ALL_BUT_ZERO, TAGGED_ADDR_ENABLE, TCF_SYNC};

use crate::choice::Choice;
use crate::counter::{count, spin};
use crate::report;

/// The section's name.
pub const SECTION: &str = "calls";

/// Measures an operation. `None`: not on this machine.
pub type Measure = fn() -> Option<u64>;

const ROWS: [(&str, Measure); 8] = [
    ("null_call", null_call),
    ("thread_create_join", create_and_join),
    ("thread_switch", switch),
    ("futex_wake_nobody", wake_nobody),
    ("futex_round_trip", round_trip),
    ("signal_to_self", signal_to_self),
    ("access_fault_handled", access_fault),
    ("tag_fault_handled", tag_fault),
];

/// Rows that a second CPU takes part in, where there is one.
pub const BETWEEN_CPUS: [(&str, Measure); 3] = [
    ("thread_create_join_smp", create_and_join),
    ("futex_round_trip_smp", round_trip),
    ("signal_to_self_smp", signal_to_self),
];

/// Measures the rows that were chosen.
pub fn print(choice: &Choice) {
    for (name, measure) in ROWS.into_iter().filter(|row| choice.has(SECTION, row.0)) {
        if let Some(each) = measure() {
            report::value(name, each);
        }
    }
}

/// Measures a system call that does nothing.
fn null_call() -> Option<u64> {
    const NR_ROUNDS: u64 = 100_000;
    let calls = count(|| {
        // SAFETY: getppid changes nothing but X0.
        unsafe {
            asm!("2:", "svc #0", "subs {rounds}, {rounds}, #1", "b.ne 2b",
                rounds = inout(reg) NR_ROUNDS => _, in("x8") libc::SYS_getppid,
                lateout("x0") _, options(nostack));
        }
    });
    Some(calls.saturating_sub(count(|| spin(NR_ROUNDS))) / NR_ROUNDS)
}

/// Measures a thread that ends at once, from its creation until it was waited for.
fn create_and_join() -> Option<u64> {
    const NR_ROUNDS: u64 = 1000;
    let come_and_go = |rounds| (0..rounds).for_each(|_| thread::spawn(|| ()).join().expect("join"));
    come_and_go(NR_ROUNDS / 10);
    Some(count(|| come_and_go(NR_ROUNDS)) / NR_ROUNDS)
}

/// Measures a switch between two threads of which each yields to the other (sched_yield).
fn switch() -> Option<u64> {
    const NR_ROUNDS: u64 = 10_000;
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    static NR_YIELDS: AtomicU64 = AtomicU64::new(0);
    let other = thread::spawn(|| {
        while !IS_OVER.load(Ordering::Relaxed) {
            NR_YIELDS.fetch_add(1, Ordering::Relaxed);
            thread::yield_now();
        }
    });
    while NR_YIELDS.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let before = NR_YIELDS.load(Ordering::Relaxed);
    let taken = count(|| (0..NR_ROUNDS).for_each(|_| thread::yield_now()));
    let yields_of_other = NR_YIELDS.load(Ordering::Relaxed) - before;
    IS_OVER.store(true, Ordering::Relaxed);
    other.join().expect("join");
    // With more yields of one than of the other, a yield is not always a switch.
    (yields_of_other.abs_diff(NR_ROUNDS) < NR_ROUNDS / 10)
        .then(|| taken / (NR_ROUNDS + yields_of_other))
}

/// Measures a wake-up call for a futex that nobody waits for.
fn wake_nobody() -> Option<u64> {
    const NR_ROUNDS: u64 = 10_000;
    let word = AtomicU32::new(0);
    Some(count(|| (0..NR_ROUNDS).for_each(|_| wake(&word))) / NR_ROUNDS)
}

/// Measures one thread waking another and sleeping until that one wakes it: two wake-up calls, two
/// waits and two switches.
fn round_trip() -> Option<u64> {
    const NR_ROUNDS: u32 = 10_000;
    static BALL: AtomicU32 = AtomicU32::new(0);
    let play = |own: u32| {
        for round in 0..NR_ROUNDS {
            let turn = 2 * round + own;
            wait_for(&BALL, turn);
            BALL.store(turn + 1, Ordering::Release);
            wake(&BALL);
        }
    };
    let other = thread::spawn(move || play(1));
    let taken = count(|| play(0));
    other.join().expect("join");
    Some(taken / u64::from(NR_ROUNDS))
}

fn wait_for(word: &AtomicU32, wanted: u32) {
    loop {
        let found = word.load(Ordering::Acquire);
        if found == wanted {
            return;
        }
        let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
        // EAGAIN when it has changed meanwhile.
        let _ = sys::call(libc::SYS_futex, [address(word), operation, found as usize]);
    }
}

fn wake(word: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    sys::call(libc::SYS_futex, [address(word), operation, 1]).expect("FUTEX_WAKE");
}

fn address(word: &AtomicU32) -> usize {
    word.as_ptr().expose_provenance()
}

/// Measures a signal that a thread sends to itself and handles: tgkill, delivery, sigreturn.
fn signal_to_self() -> Option<u64> {
    const NR_ROUNDS: u64 = 10_000;
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    Some(count(|| (0..NR_ROUNDS).for_each(|_| signal::raise(libc::SIGUSR1))) / NR_ROUNDS)
}

/// Measures a load that may not be, and its handler, which goes on behind it.
fn access_fault() -> Option<u64> {
    let page = Mapping::new(PAGE, libc::PROT_NONE, ANON).expect("mmap");
    Some(faults(page.start()))
}

/// Measures a load with a wrong tag, checked synchronously, and its handler.
fn tag_fault() -> Option<u64> {
    tags::needed().ok()?;
    let before = tags::control().expect("PR_GET_TAGGED_ADDR_CTRL");
    let page = Mapping::tagged(PAGE);
    memory::store(page.start(), 1);
    tags::set_control(TAGGED_ADDR_ENABLE | TCF_SYNC | ALL_BUT_ZERO).expect("MTE");
    let each = faults(tags::with_tag(page.start(), 3));
    tags::set_control(before).expect("PR_SET_TAGGED_ADDR_CTRL");
    Some(each)
}

fn faults(address: usize) -> u64 {
    const NR_ROUNDS: u64 = 10_000;
    let mut taken = 0;
    fault::catch(|| {
        taken = count(|| (0..NR_ROUNDS).for_each(|_| memory::touch(address)));
    });
    assert_eq!(u64::from(fault::nr_faults()), NR_ROUNDS, "each load faults");
    taken / NR_ROUNDS
}
