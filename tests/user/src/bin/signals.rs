// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests signals: whom they reach, what they say, masks and queues, what is refused.

use core::sync::atomic::{AtomicUsize, Ordering};

use user_tests::signal::{self, NOTE, NOTED, ORDER, SI_TKILL};
use user_tests::{process, sys};

user_tests::tests!(
    a_handler_is_told_signal_code_and_sender,
    a_blocked_signal_waits_and_is_delivered_when_unblocked,
    realtime_signals_queue_in_order_standard_ones_once,
    kill_says_what_linux_says,
    sigaction_refuses_what_linux_refuses,
    a_child_inherits_handlers_and_mask_but_no_pending_signals,
    a_thread_in_user_code_is_reached,
);

const ALL: u64 = !0;

fn a_handler_is_told_signal_code_and_sender() {
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    signal::raise(libc::SIGUSR1);
    assert_eq!(NOTED.last(), (libc::SIGUSR1, SI_TKILL, signal::pid()));
    signal::kill(signal::pid(), libc::SIGUSR1).unwrap();
    assert_eq!(NOTED.last(), (libc::SIGUSR1, 0, signal::pid()));
    assert_eq!(NOTED.count(), 2);
}

fn a_blocked_signal_waits_and_is_delivered_when_unblocked() {
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    let usr1 = signal::set(&[libc::SIGUSR1]);
    let before = signal::mask(libc::SIG_BLOCK, ALL);
    signal::raise(libc::SIGUSR1);
    signal::kill(signal::pid(), libc::SIGUSR1).unwrap();
    assert_eq!((signal::pending() & usr1, NOTED.count()), (usr1, 0));
    let blocked = signal::mask(libc::SIG_SETMASK, before);
    assert_eq!(blocked, !signal::set(&[libc::SIGKILL, libc::SIGSTOP]));
    // One for the thread, one for the process.
    assert_eq!((signal::pending() & usr1, NOTED.count()), (0, 2));
}

fn realtime_signals_queue_in_order_standard_ones_once() {
    let signals = [40, 41, libc::SIGUSR1];
    for signal in signals {
        signal::handle(signal, 0, ALL, signal::NOTE_VALUE);
    }
    let before = signal::mask(libc::SIG_BLOCK, signal::set(&signals));
    for value in 1..=3 {
        for signal in [41, 40, libc::SIGUSR1] {
            signal::queue(signal, value);
        }
    }
    signal::mask(libc::SIG_SETMASK, before);
    // Each handler blocks all signals, so they run one after the other.
    assert_eq!(ORDER.taken(), [1001, 4001, 4002, 4003, 4101, 4102, 4103]);
}

fn kill_says_what_linux_says() {
    let own = signal::pid();
    assert_eq!(signal::kill(own, 0), Ok(()));
    assert_eq!(signal::kill(own, 65), Err(libc::EINVAL));
    assert_eq!(signal::kill(own, -1), Err(libc::EINVAL));
    assert_eq!(signal::kill(32_000, 0), Err(libc::ESRCH));
    assert_eq!(signal::kill(-32_000, libc::SIGTERM), Err(libc::ESRCH));
    let tgkill = |pid: i32, tid: i32, signal: i32| {
        sys::call(libc::SYS_tgkill, [pid as usize, tid as usize, signal as usize]).map(drop)
    };
    assert_eq!(tgkill(own, own, 0), Ok(()));
    assert_eq!(tgkill(own, 0, 0), Err(libc::EINVAL));
    assert_eq!(tgkill(1, own, 0), if own == 1 { Ok(()) } else { Err(libc::ESRCH) });
    assert_eq!(tgkill(own, own, 65), Err(libc::EINVAL));
    // A zombie is there.
    let child = signal::sleeper();
    child.kill(libc::SIGKILL);
    let mut info = [0i32; 32];
    let at = (&raw mut info).expose_provenance();
    let options = (libc::WEXITED | libc::WNOWAIT) as usize;
    let waitid = [libc::P_PID as usize, child.pid() as usize, at, options, 0];
    sys::call(libc::SYS_waitid, waitid).unwrap();
    assert_eq!(
        (info[0], info[2], info[4], info[6]),
        (libc::SIGCHLD, libc::CLD_KILLED, child.pid(), 9)
    );
    assert_eq!(signal::kill(child.pid(), libc::SIGTERM), Ok(()));
    let pid = child.pid();
    child.wait();
    assert_eq!(signal::kill(pid, 0), Err(libc::ESRCH));
}

fn sigaction_refuses_what_linux_refuses() {
    let action = signal::Action { handler: libc::SIG_IGN, ..Default::default() };
    for (signal, expected) in [
        (0, Err(libc::EINVAL)),
        (65, Err(libc::EINVAL)),
        (libc::SIGKILL, Err(libc::EINVAL)),
        (libc::SIGSTOP, Err(libc::EINVAL)),
        (64, Ok(())),
    ] {
        assert_eq!(signal::sigaction(signal, Some(&action)).map(drop), expected, "{signal}");
    }
    assert!(signal::sigaction(libc::SIGKILL, None).is_ok());
    let with_size = |size| sys::call(libc::SYS_rt_sigaction, [10, 0, 0, size]);
    assert_eq!((with_size(16), with_size(8)), (Err(libc::EINVAL), Ok(0)));
    assert_eq!(sys::call(libc::SYS_rt_sigaction, [10, 1 << 60, 0, 8]), Err(libc::EFAULT));
    assert_eq!(sys::call(libc::SYS_rt_sigprocmask, [9, 0, 0, 8]), Ok(0));
    let set = 0u64;
    let at = (&raw const set).expose_provenance();
    assert_eq!(sys::call(libc::SYS_rt_sigprocmask, [9, at, 0, 8]), Err(libc::EINVAL));
}

fn a_child_inherits_handlers_and_mask_but_no_pending_signals() {
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGUSR1, libc::SIGUSR2]));
    signal::raise(libc::SIGUSR1);
    process::in_child(|| {
        assert_eq!(signal::pending(), 0);
        let mask = signal::mask(libc::SIG_BLOCK, 0);
        assert_eq!(mask, signal::set(&[libc::SIGUSR1, libc::SIGUSR2]));
        signal::raise(libc::SIGUSR1);
        signal::mask(libc::SIG_SETMASK, 0);
        assert_eq!(NOTED.last(), (libc::SIGUSR1, SI_TKILL, signal::pid()));
    });
    assert_eq!(signal::pending(), signal::set(&[libc::SIGUSR1]));
}

fn a_thread_in_user_code_is_reached() {
    static TID: AtomicUsize = AtomicUsize::new(0);
    signal::handle(libc::SIGUSR1, 0, 0, NOTE);
    let thread = std::thread::spawn(|| {
        TID.store(sys::call(libc::SYS_gettid, []).unwrap(), Ordering::SeqCst);
        while NOTED.count() == 0 {
            core::hint::spin_loop();
        }
    });
    while TID.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let arguments = [signal::pid() as usize, TID.load(Ordering::SeqCst), libc::SIGUSR1 as usize];
    sys::call(libc::SYS_tgkill, arguments).unwrap();
    thread.join().unwrap();
    // Blocked here, the process's signal finds the other thread.
    let thread = std::thread::spawn(|| {
        while NOTED.count() == 1 {
            core::hint::spin_loop();
        }
    });
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGUSR1]));
    signal::kill(signal::pid(), libc::SIGUSR1).unwrap();
    thread.join().unwrap();
    assert_eq!(NOTED.count(), 2);
}
