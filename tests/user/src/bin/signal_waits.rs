// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests waiting for signals, and waiting that signals and timers interrupt.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

use user_tests::memory::{Mapping, PAGE};
use user_tests::process::{self, Ended};
use user_tests::signal::{self, NOTE, NOTED, SI_KERNEL};
use user_tests::{memory, sys};

user_tests::tests!(
    sigsuspend_lets_a_signal_through_and_restores_the_mask,
    sigtimedwait_takes_a_signal_without_its_handler,
    a_timer_interrupts_user_code_and_sleep,
    an_interrupted_wait_starts_again_only_with_restart,
);

fn sigsuspend_lets_a_signal_through_and_restores_the_mask() {
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    signal::mask(libc::SIG_SETMASK, signal::set(&[libc::SIGUSR1, libc::SIGUSR2]));
    // Pending before, and sent by another process while it sleeps.
    signal::raise(libc::SIGUSR1);
    signal::suspend(signal::set(&[libc::SIGUSR2]));
    assert_eq!(NOTED.count(), 1);
    let parent = signal::pid();
    let child = process::fork(|| signal::kill(parent, libc::SIGUSR1).map_or(1, |()| 0));
    signal::suspend(signal::set(&[libc::SIGUSR2]));
    assert_eq!(NOTED.last(), (libc::SIGUSR1, 0, child.pid()));
    let mask = signal::mask(libc::SIG_BLOCK, 0);
    assert_eq!(mask, signal::set(&[libc::SIGUSR1, libc::SIGUSR2]));
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn sigtimedwait_takes_a_signal_without_its_handler() {
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    let usr1 = signal::set(&[libc::SIGUSR1]);
    signal::mask(libc::SIG_BLOCK, usr1);
    assert_eq!(signal::timed_wait(usr1, 0).map(drop), Err(libc::EAGAIN));
    assert_eq!(signal::timed_wait(usr1, 1_000_000).map(drop), Err(libc::EAGAIN));
    assert_eq!(signal::timed_wait(usr1, 1_000_000_000).map(drop), Err(libc::EINVAL));
    signal::queue(libc::SIGUSR1, 77);
    let (signal, info) = signal::timed_wait(usr1, 0).unwrap();
    assert_eq!((signal, info[0], info[2], info[6]), (10, 10, libc::SI_QUEUE, 77));
    let parent = signal::pid();
    let child = process::fork(|| signal::kill(parent, libc::SIGUSR1).map_or(1, |()| 0));
    let (signal, info) = signal::timed_wait(usr1, 999_999_999).unwrap();
    assert_eq!((signal, info[4]), (libc::SIGUSR1, child.pid()));
    assert_eq!(NOTED.count(), 0);
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn set_timer(value_us: i64, interval_us: i64) -> [i64; 4] {
    let (new, mut old) = ([0, interval_us, 0, value_us], [0i64; 4]);
    let at = (&raw const new).expose_provenance();
    sys::call(libc::SYS_setitimer, [0, at, (&raw mut old).expose_provenance()]).expect("setitimer");
    old
}

fn a_timer_interrupts_user_code_and_sleep() {
    signal::handle(libc::SIGALRM, 0, 0, NOTE);
    set_timer(1000, 0);
    while NOTED.count() == 0 {
        core::hint::spin_loop();
    }
    assert_eq!(NOTED.last().1, SI_KERNEL);
    // A period; each one ends a sleep.
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGALRM]));
    set_timer(1000, 1000);
    (0..3).for_each(|_| signal::suspend(0));
    let [_, interval, _, left] = set_timer(0, 0);
    assert!(interval == 1000 && (1..=1000).contains(&left), "{interval} {left}");
    assert_eq!(set_timer(0, 0), [0; 4]);
}

/// Waits for a child that sends a signal, waits until the handler has run, and exits.
fn wait_interrupted(flags: i32) -> Result<usize, i32> {
    signal::handle(libc::SIGUSR1, flags, 0, note_shared);
    let shared = Mapping::new(
        PAGE,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    )
    .unwrap();
    SHARED.store(shared.start(), Ordering::SeqCst);
    let parent = signal::pid();
    let child = process::fork(|| {
        signal::kill(parent, libc::SIGUSR1).unwrap();
        while memory::load(shared.start()) == 0 {
            let _ = sys::call(libc::SYS_sched_yield, []);
        }
        0
    });
    let outcome = sys::call(libc::SYS_wait4, [child.pid() as usize, 0, 0, 0]);
    if outcome.is_err() {
        child.wait();
        return outcome;
    }
    outcome.map(|pid| usize::from(pid as i32 == child.pid()))
}

static SHARED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_shared(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    memory::store(SHARED.load(Ordering::SeqCst), 1);
}

fn an_interrupted_wait_starts_again_only_with_restart() {
    assert_eq!(wait_interrupted(libc::SA_RESTART), Ok(1));
    process::in_child(|| {
        // The child may be so fast that the signal comes before the call: then nothing was
        // interrupted, and the child waits for nobody.
        let outcome = wait_interrupted(0);
        assert!(matches!(outcome, Err(libc::EINTR) | Ok(1)), "{outcome:?}");
    });
}
