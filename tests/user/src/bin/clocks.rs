// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests clocks and sleeps. A sleep may last longer than asked for, by any amount; no
//! test says how much.

use std::sync::atomic::{AtomicI64, Ordering};

use user_tests::memory::{Mapping, PAGE};
use user_tests::signal::{self, NOTE, NOTED};
use user_tests::sys::{self, Errno};

user_tests::tests!(
    clocks_do_not_go_backwards,
    clocks_agree_between_threads,
    a_coarse_clock_is_not_ahead_of_its_fine_one,
    wall_clock_calls_agree,
    the_resolution_of_fine_clocks_is_a_nanosecond,
    unknown_clocks_are_refused,
    bad_pointers_are_efault,
    a_sleep_lasts_as_long_as_asked_for,
    a_sleep_until_a_time_ends_after_it,
    a_sleep_until_the_past_ends_at_once,
    times_that_make_no_sense_are_refused,
    clocks_that_nobody_can_sleep_by_are_refused,
    an_interrupted_sleep_says_what_is_left,
    an_interrupted_sleep_by_a_clock_says_what_is_left,
    an_interrupted_sleep_until_a_time_says_nothing,
    a_sleep_for_ever_can_be_interrupted,
    a_sleep_goes_on_when_nothing_handles_the_signal,
);

const NS_PER_S: i64 = 1_000_000_000;

/// Longer than any test runs.
const LONG_NS: i64 = 1000 * NS_PER_S;

/// Clocks whose time is that of the hardware.
const FINE: [i32; 5] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_BOOTTIME,
    libc::CLOCK_TAI,
];
const COARSE: [(i32, i32); 2] = [
    (libc::CLOCK_REALTIME_COARSE, libc::CLOCK_REALTIME),
    (libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_MONOTONIC),
];
const OF_CPU: [i32; 2] = [libc::CLOCK_PROCESS_CPUTIME_ID, libc::CLOCK_THREAD_CPUTIME_ID];

/// Those that a sleep may go by.
const SLEEPABLE: [i32; 4] =
    [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI];

type Time = [i64; 2];

fn of_ns(ns: i64) -> Time {
    [ns.div_euclid(NS_PER_S), ns.rem_euclid(NS_PER_S)]
}

fn to_ns([seconds, ns]: Time) -> i64 {
    assert!((0..NS_PER_S).contains(&ns), "{ns} ns in a timespec");
    seconds * NS_PER_S + ns
}

fn all() -> impl Iterator<Item = i32> {
    FINE.into_iter().chain(COARSE.map(|(coarse, _)| coarse)).chain(OF_CPU)
}

fn now(clock: i32) -> i64 {
    let mut time = Time::default();
    let at = (&raw mut time).expose_provenance();
    sys::call(libc::SYS_clock_gettime, [clock as usize, at]).expect("clock_gettime");
    to_ns(time)
}

fn clock_nanosleep(clock: i32, flags: i32, time: Time, left: &mut Time) -> Result<usize, Errno> {
    let time = (&raw const time).expose_provenance();
    let left = std::ptr::from_mut(left).expose_provenance();
    sys::call(libc::SYS_clock_nanosleep, [clock as usize, flags as usize, time, left])
}

fn nanosleep(time: Time, left: &mut Time) -> Result<usize, Errno> {
    let time = (&raw const time).expose_provenance();
    sys::call(libc::SYS_nanosleep, [time, std::ptr::from_mut(left).expose_provenance()])
}

/// Has SIGALRM come every millisecond from now on: one of them meets the process asleep.
fn alarm_again_and_again() {
    let every = [0i64, 1000, 0, 1000];
    let at = (&raw const every).expose_provenance();
    sys::call(libc::SYS_setitimer, [libc::ITIMER_REAL as usize, at, 0]).expect("setitimer");
}

fn clocks_do_not_go_backwards() {
    for clock in all() {
        let mut last = now(clock);
        assert!(last >= 0, "clock {clock}");
        for _ in 0..2000 {
            let next = now(clock);
            assert!(next >= last, "clock {clock} goes from {last} to {next}");
            last = next;
        }
    }
}

fn clocks_agree_between_threads() {
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, libc::CLOCK_MONOTONIC_RAW] {
        let latest = AtomicI64::new(now(clock));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        // What another thread has read before cannot be later than what comes now.
                        let before = latest.load(Ordering::SeqCst);
                        let own = now(clock);
                        assert!(own >= before, "clock {clock}: {own} after {before}");
                        latest.fetch_max(own, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}

fn a_coarse_clock_is_not_ahead_of_its_fine_one() {
    for (coarse, fine) in COARSE {
        for _ in 0..1000 {
            let (early, late) = (now(coarse), now(fine));
            assert!(early <= late, "clock {coarse}: {early}, clock {fine}: {late}");
        }
    }
    // These two are ahead by what they count in addition: suspended time, and leap seconds.
    assert!(now(libc::CLOCK_MONOTONIC) <= now(libc::CLOCK_BOOTTIME));
    assert!(now(libc::CLOCK_REALTIME) <= now(libc::CLOCK_TAI));
}

fn wall_clock_calls_agree() {
    let mut time = [0i64; 2];
    let before = now(libc::CLOCK_REALTIME);
    let at = (&raw mut time).expose_provenance();
    sys::call(libc::SYS_gettimeofday, [at, 0]).expect("gettimeofday");
    let after = now(libc::CLOCK_REALTIME);
    assert!((0..1_000_000).contains(&time[1]), "{} us in a timeval", time[1]);
    let us = time[0] * 1_000_000 + time[1];
    assert!((before / 1000..=after / 1000).contains(&us), "{before} ns, {us} us, {after} ns");
    assert_eq!(sys::call(libc::SYS_gettimeofday, [0, 0]), Ok(0));
}

fn the_resolution_of_fine_clocks_is_a_nanosecond() {
    for clock in all() {
        let mut time = Time::default();
        let at = (&raw mut time).expose_provenance();
        assert_eq!(sys::call(libc::SYS_clock_getres, [clock as usize, at]), Ok(0));
        let ns = to_ns(time);
        match COARSE.iter().any(|(coarse, _)| *coarse == clock) {
            true => assert!((1..NS_PER_S).contains(&ns), "clock {clock}: {ns} ns"),
            false => assert_eq!(ns, 1, "clock {clock}"),
        }
        assert_eq!(sys::call(libc::SYS_clock_getres, [clock as usize, 0]), Ok(0));
    }
}

fn unknown_clocks_are_refused() {
    // 10 was one once; a negative number is a process's, or a device's, and this is neither.
    for clock in [10, 12, 15, 99, i32::MAX, -1] {
        let mut time = of_ns(0);
        let at = (&raw mut time).expose_provenance();
        let clock = clock as usize;
        for number in [libc::SYS_clock_gettime, libc::SYS_clock_getres] {
            assert_eq!(sys::call(number, [clock, at]), Err(libc::EINVAL), "clock {clock:#x}");
        }
        // Before the pointers are looked at.
        assert_eq!(sys::call(libc::SYS_clock_gettime, [clock, 8]), Err(libc::EINVAL));
    }
    for clock in [10, 12, 15, 99] {
        let result = clock_nanosleep(clock, 0, of_ns(0), &mut of_ns(0));
        assert_eq!(result, Err(libc::EINVAL), "clock {clock}");
    }
}

fn bad_pointers_are_efault() {
    let read_only = Mapping::new(PAGE, libc::PROT_READ, user_tests::memory::ANON).expect("mmap");
    let monotonic = libc::CLOCK_MONOTONIC as usize;
    for bad in [8, 0xffff_0000_0000_0000, read_only.start()] {
        for number in [libc::SYS_clock_gettime, libc::SYS_clock_getres] {
            assert_eq!(sys::call(number, [monotonic, bad]), Err(libc::EFAULT), "{bad:#x}");
        }
        assert_eq!(sys::call(libc::SYS_gettimeofday, [bad, 0]), Err(libc::EFAULT));
    }
    assert_eq!(sys::call(libc::SYS_clock_gettime, [monotonic, 0]), Err(libc::EFAULT));
    for bad in [0, 8, 0xffff_0000_0000_0000] {
        assert_eq!(sys::call(libc::SYS_nanosleep, [bad, 0]), Err(libc::EFAULT));
        let result = sys::call(libc::SYS_clock_nanosleep, [monotonic, 0, bad, 0]);
        assert_eq!(result, Err(libc::EFAULT));
    }
    // Where the rest would go is looked at only when there is a rest.
    let short = of_ns(1);
    let at = (&raw const short).expose_provenance();
    assert_eq!(sys::call(libc::SYS_nanosleep, [at, 8]), Ok(0));
}

fn a_sleep_lasts_as_long_as_asked_for() {
    for ns in [0, 1, 100_000, 3_000_000] {
        let before = now(libc::CLOCK_MONOTONIC);
        assert_eq!(nanosleep(of_ns(ns), &mut of_ns(0)), Ok(0));
        assert!(now(libc::CLOCK_MONOTONIC) - before >= ns, "{ns} ns");
        for clock in SLEEPABLE {
            let before = now(libc::CLOCK_MONOTONIC);
            assert_eq!(clock_nanosleep(clock, 0, of_ns(ns), &mut of_ns(0)), Ok(0));
            assert!(now(libc::CLOCK_MONOTONIC) - before >= ns, "{ns} ns of clock {clock}");
        }
    }
}

fn a_sleep_until_a_time_ends_after_it() {
    for clock in SLEEPABLE {
        let end = now(clock) + 3_000_000;
        assert_eq!(clock_nanosleep(clock, libc::TIMER_ABSTIME, of_ns(end), &mut of_ns(0)), Ok(0));
        assert!(now(clock) >= end, "clock {clock}");
    }
}

fn a_sleep_until_the_past_ends_at_once() {
    // Nothing can be said of how soon; but nothing else would end it.
    for clock in SLEEPABLE {
        for end in [0, 1, now(clock)] {
            let mut left = of_ns(77);
            let result = clock_nanosleep(clock, libc::TIMER_ABSTIME, of_ns(end), &mut left);
            assert_eq!((result, left), (Ok(0), of_ns(77)), "clock {clock}, {end} ns");
        }
    }
}

fn times_that_make_no_sense_are_refused() {
    for time in [[0, NS_PER_S], [0, -1], [-1, 0], [i64::MIN, 0], [0, i64::MAX], [1, 2 * NS_PER_S]] {
        assert_eq!(nanosleep(time, &mut of_ns(0)), Err(libc::EINVAL), "{time:?}");
        for flags in [0, libc::TIMER_ABSTIME] {
            let result = clock_nanosleep(libc::CLOCK_MONOTONIC, flags, time, &mut of_ns(0));
            assert_eq!(result, Err(libc::EINVAL), "{time:?}");
        }
    }
}

fn clocks_that_nobody_can_sleep_by_are_refused() {
    let clocks = [
        libc::CLOCK_THREAD_CPUTIME_ID,
        libc::CLOCK_MONOTONIC_RAW,
        libc::CLOCK_REALTIME_COARSE,
        libc::CLOCK_MONOTONIC_COARSE,
    ];
    for clock in clocks {
        for flags in [0, libc::TIMER_ABSTIME] {
            let result = clock_nanosleep(clock, flags, of_ns(1), &mut of_ns(0));
            assert_eq!(result, Err(libc::EOPNOTSUPP), "clock {clock}");
        }
        // Before the pointer is looked at.
        let result = sys::call(libc::SYS_clock_nanosleep, [clock as usize, 0, 8, 0]);
        assert_eq!(result, Err(libc::EOPNOTSUPP), "clock {clock}");
    }
}

/// Expects of a sleep that was interrupted that what it says is left, and what has passed, are no
/// less than what was asked for.
fn assert_interrupted(sleep: impl FnOnce(Time, &mut Time) -> Result<usize, Errno>) {
    signal::handle(libc::SIGALRM, 0, 0, NOTE);
    let mut left = of_ns(0);
    let before = now(libc::CLOCK_MONOTONIC);
    alarm_again_and_again();
    assert_eq!(sleep(of_ns(LONG_NS), &mut left), Err(libc::EINTR));
    let passed = now(libc::CLOCK_MONOTONIC) - before;
    assert!(NOTED.count() > 0);
    let left = to_ns(left);
    assert!(left <= LONG_NS && left + passed >= LONG_NS, "{left} ns left, {passed} ns passed");
}

fn an_interrupted_sleep_says_what_is_left() {
    assert_interrupted(nanosleep);
}

fn an_interrupted_sleep_by_a_clock_says_what_is_left() {
    for clock in SLEEPABLE {
        assert_interrupted(|time, left| clock_nanosleep(clock, 0, time, left));
    }
    // A handler that restarts calls does not restart this one.
    signal::handle(libc::SIGALRM, libc::SA_RESTART, 0, NOTE);
    assert_eq!(nanosleep(of_ns(LONG_NS), &mut of_ns(0)), Err(libc::EINTR));
}

fn an_interrupted_sleep_until_a_time_says_nothing() {
    signal::handle(libc::SIGALRM, 0, 0, NOTE);
    alarm_again_and_again();
    for clock in SLEEPABLE {
        let (end, mut left) = (of_ns(now(clock) + LONG_NS), of_ns(77));
        let result = clock_nanosleep(clock, libc::TIMER_ABSTIME, end, &mut left);
        assert_eq!((result, left), (Err(libc::EINTR), of_ns(77)), "clock {clock}");
    }
}

fn a_sleep_for_ever_can_be_interrupted() {
    signal::handle(libc::SIGALRM, 0, 0, NOTE);
    alarm_again_and_again();
    let most = [i64::MAX, NS_PER_S - 1];
    assert_eq!(nanosleep(most, &mut of_ns(0)), Err(libc::EINTR));
    for clock in SLEEPABLE {
        for flags in [0, libc::TIMER_ABSTIME] {
            let result = clock_nanosleep(clock, flags, most, &mut of_ns(0));
            assert_eq!(result, Err(libc::EINTR), "clock {clock}, flags {flags}");
        }
    }
}

fn a_sleep_goes_on_when_nothing_handles_the_signal() {
    user_tests::process::ignore(libc::SIGALRM);
    alarm_again_and_again();
    let before = now(libc::CLOCK_MONOTONIC);
    assert_eq!(nanosleep(of_ns(20_000_000), &mut of_ns(0)), Ok(0));
    assert!(now(libc::CLOCK_MONOTONIC) - before >= 20_000_000);
}
