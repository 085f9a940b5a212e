// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests what a parent is told of its children: their ends, stops and continuations.

use user_tests::process::{self, Child, Ended};
use user_tests::{signal, sys};

user_tests::tests!(
    a_stopped_child_is_reported_and_continues,
    a_stopped_child_can_be_killed,
    a_sleep_goes_on_after_a_stop,
    sigchld_says_how_a_child_ended,
    ignored_sigchld_leaves_no_zombies,
);

/// Waits for news of a child, whatever it is, and returns the status.
fn news(child: &Child, options: i32) -> i32 {
    let mut status = 0i32;
    let at = (&raw mut status).expose_provenance();
    let pid = child.pid() as usize;
    let found = sys::call(libc::SYS_wait4, [pid, at, options as usize, 0]).expect("wait4");
    assert_eq!(found, pid);
    status
}

/// Takes a SIGCHLD, which may come a moment after wait4 has told the same.
fn sigchld() -> (i32, i32, i32) {
    let (_, info) =
        signal::timed_wait(signal::set(&[libc::SIGCHLD]), 999_999_999).expect("SIGCHLD");
    (info[2], info[4], info[6])
}

fn a_stopped_child_is_reported_and_continues() {
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGCHLD]));
    let child = signal::sleeper();
    for round in 0..3 {
        child.kill(libc::SIGSTOP);
        assert_eq!(news(&child, libc::WUNTRACED), 0x137f, "round {round}");
        assert_eq!(sigchld(), (libc::CLD_STOPPED, child.pid(), libc::SIGSTOP));
        child.kill(libc::SIGCONT);
        assert_eq!(news(&child, libc::WCONTINUED), 0xffff, "round {round}");
        assert_eq!(sigchld(), (libc::CLD_CONTINUED, child.pid(), libc::SIGCONT));
    }
    child.kill(libc::SIGTERM);
    assert_eq!(child.wait(), Ended::Killed(libc::SIGTERM));
}

fn a_sleep_goes_on_after_a_stop() {
    const LENGTH_NS: u128 = 50_000_000;
    let child = process::fork(|| {
        let start = std::time::Instant::now();
        let time = libc::timespec { tv_sec: 0, tv_nsec: LENGTH_NS as i64 };
        let at = (&raw const time).expose_provenance();
        assert_eq!(sys::call(libc::SYS_nanosleep, [at, 0]), Ok(0));
        assert!(start.elapsed().as_nanos() >= LENGTH_NS);
        // Called without a reason, it has nothing to go on with.
        assert_eq!(sys::call(libc::SYS_restart_syscall, []), Err(libc::EINTR));
        0
    });
    for _ in 0..3 {
        child.kill(libc::SIGSTOP);
        assert_eq!(news(&child, libc::WUNTRACED), 0x137f);
        child.kill(libc::SIGCONT);
        assert_eq!(news(&child, libc::WCONTINUED), 0xffff);
    }
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn a_stopped_child_can_be_killed() {
    let child = signal::sleeper();
    child.kill(libc::SIGSTOP);
    assert_eq!(news(&child, libc::WUNTRACED), 0x137f);
    // Not while it is stopped.
    child.kill(libc::SIGTERM);
    assert_eq!(process::wait(child.pid(), libc::WNOHANG).map(|(pid, _)| pid), Ok(0));
    child.kill(libc::SIGKILL);
    assert_eq!(child.wait(), Ended::Killed(libc::SIGKILL));
}

fn sigchld_says_how_a_child_ended() {
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGCHLD]));
    let child = process::fork(|| 7);
    assert_eq!(sigchld(), (libc::CLD_EXITED, child.pid(), 7));
    assert_eq!(child.wait(), Ended::Exited(7));
    let child = signal::sleeper();
    child.kill(libc::SIGKILL);
    assert_eq!(sigchld(), (libc::CLD_KILLED, child.pid(), libc::SIGKILL));
    assert_eq!(child.wait(), Ended::Killed(libc::SIGKILL));
}

fn ignored_sigchld_leaves_no_zombies() {
    let ignore = signal::Action { handler: libc::SIG_IGN, ..Default::default() };
    signal::sigaction(libc::SIGCHLD, Some(&ignore)).unwrap();
    let child = process::fork(|| 0);
    assert_eq!(process::wait(child.pid(), 0), Err(libc::ECHILD));
}
