// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests signals: masks, queues, handlers and their frames, stops, timers.

#![expect(unsafe_code, reason = "handlers, and registers across them")]

use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use user_tests::memory::{Mapping, PAGE};
use user_tests::process::{self, Child, Ended};
use user_tests::signal::{self, NOTE, NOTED, SI_KERNEL, SI_TKILL};
use user_tests::{memory, sys};

user_tests::tests!(
    a_handler_is_told_signal_code_and_sender,
    a_blocked_signal_waits_and_is_delivered_when_unblocked,
    realtime_signals_queue_in_order_standard_ones_once,
    fp_registers_survive_a_handler_that_uses_them,
    a_handler_blocks_its_signal_unless_nodefer,
    resethand_handles_once,
    handlers_of_several_signals_nest,
    a_handler_runs_on_the_alternate_stack,
    sigaltstack_refuses_what_linux_refuses,
    a_stack_overflow_is_handled_on_the_alternate_stack,
    an_overflow_without_an_alternate_stack_kills,
    sigsuspend_lets_a_signal_through_and_restores_the_mask,
    sigtimedwait_takes_a_signal_without_its_handler,
    a_timer_interrupts_user_code_and_sleep,
    an_interrupted_wait_starts_again_only_with_restart,
    a_frame_that_makes_no_sense_is_sigsegv,
    a_blocked_fault_kills,
    the_context_of_a_fault_has_address_and_syndrome,
    a_stopped_child_is_reported_and_continues,
    a_stopped_child_can_be_killed,
    a_sleep_goes_on_after_a_stop,
    sigchld_says_how_a_child_ended,
    ignored_sigchld_leaves_no_zombies,
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

static ORDER: [AtomicI32; 16] = [const { AtomicI32::new(0) }; 16];
static NR_ORDER: AtomicUsize = AtomicUsize::new(0);

fn noted_order() -> Vec<i32> {
    ORDER[..NR_ORDER.load(Ordering::SeqCst)].iter().map(|it| it.load(Ordering::SeqCst)).collect()
}

fn add_to_order(number: i32) {
    ORDER[NR_ORDER.fetch_add(1, Ordering::SeqCst)].store(number, Ordering::SeqCst);
}

/// Notes signal and queued value (`si_value` is 24 bytes into `siginfo_t`).
extern "C" fn note_value(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    let value = memory::load(info.expose_provenance() + 24) as i32;
    add_to_order(signal * 100 + value);
}

fn queue(signal: i32, value: i32) {
    let mut info = [0i32; 32];
    (info[0], info[2], info[6]) = (signal, libc::SI_QUEUE, value);
    let at = (&raw const info).expose_provenance();
    let pid = signal::pid() as usize;
    sys::call(libc::SYS_rt_sigqueueinfo, [pid, signal as usize, at]).expect("rt_sigqueueinfo");
}

fn realtime_signals_queue_in_order_standard_ones_once() {
    let signals = [40, 41, libc::SIGUSR1];
    for signal in signals {
        signal::handle(signal, 0, ALL, note_value);
    }
    let before = signal::mask(libc::SIG_BLOCK, signal::set(&signals));
    for value in 1..=3 {
        for signal in [41, 40, libc::SIGUSR1] {
            queue(signal, value);
        }
    }
    signal::mask(libc::SIG_SETMASK, before);
    // Each handler blocks all signals, so they run one after the other.
    assert_eq!(noted_order(), [1001, 4001, 4002, 4003, 4101, 4102, 4103]);
}

extern "C" fn clobber_fp(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the registers named are declared as written.
    unsafe {
        asm!(
            "movi v0.16b, #0xff", "movi v8.16b, #0xff", "movi v31.16b, #0xff",
            "mov {0}, #0x400000", "msr fpcr, {0}",
            out(reg) _, out("v0") _, out("v8") _, out("v31") _,
        );
    }
}

fn fp_registers_survive_a_handler_that_uses_them() {
    signal::handle(libc::SIGUSR1, 0, 0, clobber_fp);
    let tid = sys::call(libc::SYS_gettid, []).unwrap();
    let (v0, v8, v31): (u64, u64, u64);
    let fpcr: u64;
    // SAFETY: tkill keeps every register but x0; the handler's changes are undone.
    unsafe {
        asm!(
            "movi v0.16b, #0x11", "movi v8.16b, #0x22", "movi v31.16b, #0x33",
            "svc #0",
            "umov {v0}, v0.d[1]", "umov {v8}, v8.d[1]", "umov {v31}, v31.d[0]",
            "mrs {fpcr}, fpcr",
            v0 = lateout(reg) v0, v8 = lateout(reg) v8, v31 = lateout(reg) v31,
            fpcr = lateout(reg) fpcr,
            in("x8") libc::SYS_tkill, inlateout("x0") tid => _, in("x1") libc::SIGUSR1,
            out("v0") _, out("v8") _, out("v31") _,
        );
    }
    assert_eq!(v0, 0x1111_1111_1111_1111);
    assert_eq!(v8, 0x2222_2222_2222_2222);
    assert_eq!(v31, 0x3333_3333_3333_3333);
    assert_eq!(fpcr, 0);
}

/// Raises its own signal again once, and notes how deep it is.
extern "C" fn raise_again(signal: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    static DEPTH: AtomicI32 = AtomicI32::new(0);
    let depth = DEPTH.fetch_add(1, Ordering::SeqCst) + 1;
    if NR_ORDER.load(Ordering::SeqCst) == 0 && depth == 1 {
        signal::raise(signal);
    }
    add_to_order(depth);
    DEPTH.fetch_sub(1, Ordering::SeqCst);
}

fn a_handler_blocks_its_signal_unless_nodefer() {
    signal::handle(libc::SIGUSR1, 0, 0, raise_again);
    signal::raise(libc::SIGUSR1);
    assert_eq!(noted_order(), [1, 1], "one after the other");
    process::in_child(|| {
        NR_ORDER.store(0, Ordering::SeqCst);
        signal::handle(libc::SIGUSR1, libc::SA_NODEFER, 0, raise_again);
        signal::raise(libc::SIGUSR1);
        assert_eq!(noted_order(), [2, 1], "one inside the other");
    });
}

fn resethand_handles_once() {
    signal::handle(libc::SIGUSR1, libc::SA_RESETHAND, 0, NOTE);
    signal::raise(libc::SIGUSR1);
    assert_eq!(NOTED.count(), 1);
    let child = process::fork(|| {
        signal::raise(libc::SIGUSR1);
        0
    });
    assert_eq!(child.wait(), Ended::Killed(libc::SIGUSR1));
}

fn handlers_of_several_signals_nest() {
    let both = signal::set(&[libc::SIGUSR1, libc::SIGUSR2]);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        signal::handle(signal, 0, 0, note_value);
    }
    let before = signal::mask(libc::SIG_BLOCK, both);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        signal::raise(signal);
    }
    signal::mask(libc::SIG_SETMASK, before);
    // Frames are built lowest signal first, and the last one built runs first.
    let order: Vec<_> = noted_order().into_iter().map(|it| it / 100).collect();
    assert_eq!(order, [libc::SIGUSR2, libc::SIGUSR1]);
}

static HANDLER_SP: AtomicUsize = AtomicUsize::new(0);
static HANDLER_STACK: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_stack(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    HANDLER_SP.store((&raw const signal).addr(), Ordering::SeqCst);
    let (_, flags, _) = signal::altstack(None).expect("sigaltstack");
    HANDLER_STACK.store(flags, Ordering::SeqCst);
    NOTE(signal, info, context);
}

fn a_handler_runs_on_the_alternate_stack() {
    let stack = Mapping::anonymous(4 * PAGE);
    let wish = (stack.start(), 0, stack.len_bytes());
    assert_eq!(signal::altstack(Some(wish)).map(|old| old.0 != stack.start()), Ok(true));
    assert_eq!(signal::altstack(None), Ok(wish));
    signal::handle(libc::SIGUSR1, libc::SA_ONSTACK, 0, note_stack);
    signal::handle(libc::SIGUSR2, 0, 0, note_stack);
    signal::raise(libc::SIGUSR1);
    assert!(stack.range().contains(&HANDLER_SP.load(Ordering::SeqCst)));
    assert_eq!(HANDLER_STACK.load(Ordering::SeqCst), libc::SS_ONSTACK);
    assert_eq!(signal::altstack(None), Ok(wish), "not in use any more");
    signal::raise(libc::SIGUSR2);
    assert!(!stack.range().contains(&HANDLER_SP.load(Ordering::SeqCst)));
    assert_eq!(HANDLER_STACK.load(Ordering::SeqCst), 0);
}

extern "C" fn change_stack_in_use(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    let outcome = signal::altstack(Some((0, libc::SS_DISABLE, 0)));
    add_to_order(outcome.map_or_else(|error| error, |_| 0));
}

fn sigaltstack_refuses_what_linux_refuses() {
    let stack = Mapping::anonymous(4 * PAGE);
    let at = stack.start();
    assert_eq!(signal::altstack(Some((at, 0, 5119))), Err(libc::ENOMEM));
    assert_eq!(signal::altstack(Some((at, 4, 4 * PAGE))), Err(libc::EINVAL));
    assert!(signal::altstack(Some((at, 0, 4 * PAGE))).is_ok());
    signal::handle(libc::SIGUSR1, libc::SA_ONSTACK, 0, change_stack_in_use);
    signal::raise(libc::SIGUSR1);
    assert_eq!(noted_order(), [libc::EPERM]);
    assert!(signal::altstack(Some((at, libc::SS_DISABLE, 4 * PAGE))).is_ok());
    assert_eq!(signal::altstack(None), Ok((0, libc::SS_DISABLE, 0)));
    assert_eq!(sys::call(libc::SYS_sigaltstack, [1, 0]), Err(libc::EFAULT));
}

/// Uses stack without end.
#[inline(never)]
#[expect(unconditional_recursion, reason = "a stack overflow is wanted")]
fn recurse(depth: u64) -> u64 {
    let room = core::hint::black_box([depth; 512]);
    recurse(depth + 1) + room[(depth % 512) as usize]
}

extern "C" fn leave(signal: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the call ends the process.
    unsafe { libc::_exit(100 + signal) }
}

fn a_stack_overflow_is_handled_on_the_alternate_stack() {
    let stack = Mapping::anonymous(4 * PAGE);
    signal::altstack(Some((stack.start(), 0, stack.len_bytes()))).unwrap();
    signal::handle(libc::SIGSEGV, libc::SA_ONSTACK, 0, leave);
    let child = process::fork(|| recurse(0) as i32);
    assert_eq!(child.wait(), Ended::Exited(100 + libc::SIGSEGV));
}

fn an_overflow_without_an_alternate_stack_kills() {
    signal::handle(libc::SIGSEGV, 0, 0, leave);
    let child = process::fork(|| recurse(0) as i32);
    assert_eq!(child.wait(), Ended::Killed(libc::SIGSEGV));
}

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
    queue(libc::SIGUSR1, 77);
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

fn a_frame_that_makes_no_sense_is_sigsegv() {
    // The library's handler would return.
    signal::sigaction(libc::SIGSEGV, Some(&signal::Action::default())).unwrap();
    let child = process::fork(|| {
        let _ = sys::call(libc::SYS_rt_sigreturn, []);
        0
    });
    assert_eq!(child.wait(), Ended::Killed(libc::SIGSEGV));
}

fn a_blocked_fault_kills() {
    let fault = || {
        memory::load(8);
        0
    };
    signal::handle(libc::SIGSEGV, 0, 0, leave);
    assert_eq!(process::fork(fault).wait(), Ended::Exited(100 + libc::SIGSEGV));
    signal::mask(libc::SIG_BLOCK, signal::set(&[libc::SIGSEGV]));
    assert_eq!(process::fork(fault).wait(), Ended::Killed(libc::SIGSEGV));
    signal::mask(libc::SIG_SETMASK, 0);
    let ignore = signal::Action { handler: libc::SIG_IGN, ..Default::default() };
    signal::sigaction(libc::SIGSEGV, Some(&ignore)).unwrap();
    assert_eq!(process::fork(fault).wait(), Ended::Killed(libc::SIGSEGV));
}

static CONTEXT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Notes fault_address, the ESR record and si_addr; skips the instruction. Offsets are those of
/// arch/arm64/include/uapi/asm/{ucontext,sigcontext}.h.
extern "C" fn note_context(_: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let sigcontext = context.expose_provenance() + 176;
    let pc = sigcontext + 264;
    memory::store(pc, memory::load(pc) + 4);
    let mut record = sigcontext + 288;
    let mut esr = 0;
    // Magic number and size are 32 bits each; a magic number of 0 ends the records.
    while memory::load(record) as u32 != 0 {
        if memory::load(record) as u32 == 0x4553_5201 {
            esr = memory::load(record + 8);
        }
        record += (memory::load(record) >> 32) as usize;
    }
    let addr = memory::load(info.expose_provenance() + 16);
    for (cell, value) in CONTEXT.iter().zip([memory::load(sigcontext), esr, addr]) {
        cell.store(value, Ordering::SeqCst);
    }
}

fn the_context_of_a_fault_has_address_and_syndrome() {
    signal::handle(libc::SIGSEGV, 0, 0, note_context);
    let hole =
        Mapping::new(PAGE, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unwrap();
    memory::store(hole.start() + 16, 1);
    let [fault_address, esr, addr] =
        [0, 1, 2].map(|index: usize| CONTEXT[index].load(Ordering::SeqCst));
    assert_eq!([fault_address, addr], [hole.start() as u64 + 16; 2]);
    // A data abort from a lower level by a store (WnR).
    assert_eq!((esr >> 26, esr >> 6 & 1), (0x24, 1), "{esr:#x}");
    // An address of the kernel: no more is told than that nothing is mapped.
    memory::load(0xffff_8000_0000_0000);
    let esr = CONTEXT[1].load(Ordering::SeqCst);
    assert_eq!((esr >> 26, esr & 0x3f), (0x24, 4), "{esr:#x}");
}

/// A child that waits to be ended.
fn sleeper() -> Child {
    process::fork(|| {
        signal::mask(libc::SIG_SETMASK, 0);
        loop {
            signal::suspend(0);
        }
    })
}

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
    let child = sleeper();
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
    let child = sleeper();
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
    let child = sleeper();
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
    let child = sleeper();
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
