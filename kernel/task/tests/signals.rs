// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals of whole processes on two simulated CPUs, under every schedule that the seeds pick. A
//! signal, a stop or a continuation that is lost leaves somebody asleep for ever, which the model
//! checker reports.

mod el0;

use abi::clone::{CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM};
use abi::{Errno, number};
use el0::{DATA, Flow, TEXT, User, exit, run};
use hal::MemFault;
use hal::sim::explore;

const NR_SEEDS: u64 = if cfg!(shuttle) { 1000 } else { 20 };

const SIGKILL: u64 = 9;
const SIGUSR1: u64 = 10;
const SIGCHLD: u64 = 17;
const SIGCONT: u64 = 18;
const SIGSTOP: u64 = 19;
/// A real-time signal: each one that is sent is handled.
const RT: u64 = 40;
const THREAD: u64 =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

const EINTR: u64 = Errno::EINTR.to_return_value();
const SIG_BLOCK: u64 = 0;
const SIG_SETMASK: u64 = 2;
const WUNTRACED: u64 = 2;
const WCONTINUED: u64 = 8;

// Variables of the programs.
const ACTION: u64 = DATA;
const MASK: u64 = DATA + 0x40;
const EMPTY: u64 = DATA + 0x48;
const COUNT: u64 = DATA + 0x50;
const STATUS: u64 = DATA + 0x58;
const STACK: u64 = DATA + 0x1000;

/// How many signals are sent.
const NR_SENT: u64 = 6;
const HANDLER: u64 = 40;

/// Returns a set of signals.
fn set(signals: &[u64]) -> u64 {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

/// Stores an action without restorer, and a mask.
fn prepare(user: &User<'_>, mask: u64) -> Result<(), MemFault> {
    user.store(ACTION, TEXT + 4 * HANDLER)?;
    user.store(ACTION + 8, 0)?;
    user.store(ACTION + 24, 0)?;
    user.store(MASK, mask)
}

/// The first thread handles what the second one sends, to the thread and to the process in turn. It
/// is in sigsuspend, on the way there, or has the signal blocked.
fn sender_and_suspender(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        0 => prepare(user, set(&[RT])).map(|()| Flow::Next),
        1 => user.call(number::RT_SIGACTION, &[RT, ACTION, 0, 8]),
        2 => user.call(number::RT_SIGPROCMASK, &[SIG_BLOCK, MASK, 0, 8]),
        3 => user.call(number::CLONE, &[THREAD, STACK, 0, 0, 0]),
        4 if user.regs.x[0] == 0 => Ok(Flow::To(20)),
        4 => Ok(Flow::Next),
        5 if user.load(COUNT)? == NR_SENT => exit(user),
        5 => user.call(number::RT_SIGSUSPEND, &[EMPTY, 8]),
        6 => {
            user.returned(EINTR);
            Ok(Flow::Next)
        }
        // For a moment, signals are let through here too.
        7 => user.call(number::RT_SIGPROCMASK, &[SIG_SETMASK, EMPTY, 0, 8]),
        8 => user.call(number::RT_SIGPROCMASK, &[SIG_BLOCK, MASK, 0, 8]),
        9 => Ok(Flow::To(5)),
        // The sender; it has inherited the mask.
        20 => {
            user.regs.x[20] = 0;
            Ok(Flow::Next)
        }
        21 if user.regs.x[20] == NR_SENT => user.call(number::EXIT, &[0]),
        21 if user.regs.x[20].is_multiple_of(2) => user.call(number::TGKILL, &[1, 1, RT]),
        21 => user.call(number::KILL, &[1, RT]),
        22 => {
            user.returned(0);
            user.regs.x[20] += 1;
            Ok(Flow::To(21))
        }
        HANDLER => {
            assert_eq!(user.regs.x[0], RT);
            user.regs.x[21] = user.load(COUNT)?;
            Ok(Flow::Next)
        }
        41 => user.store(COUNT, user.regs.x[21] + 1).map(|()| Flow::Next),
        // Back by the kernel's trampoline.
        42 => {
            user.regs.pc = user.regs.x[30] - 4;
            Ok(Flow::Next)
        }
        _ => panic!("step {step}"),
    }
}

#[test]
fn every_signal_sent_is_handled_once() {
    explore(0..NR_SEEDS, |seed| run(seed, sender_and_suspender));
}

/// The parent stops and continues a child of two threads, and asks it for a sign of life.
fn stopper(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    let child = user.regs.x[20];
    match step {
        0 => prepare(user, set(&[SIGUSR1])).map(|()| Flow::Next),
        1 => user.call(number::RT_SIGPROCMASK, &[SIG_BLOCK, MASK, 0, 8]),
        2 => user.call(number::CLONE, &[SIGCHLD, 0, 0, 0, 0]),
        3 if user.regs.x[0] == 0 => Ok(Flow::To(30)),
        3 => {
            user.regs.x[20] = user.regs.x[0];
            Ok(Flow::Next)
        }
        // Whether the stop was seen or not, the continuation wins.
        4 => user.call(number::KILL, &[child, SIGSTOP]),
        5 => user.call(number::KILL, &[child, SIGCONT]),
        6 => user.call(number::KILL, &[child, SIGUSR1]),
        7 => user.call(number::RT_SIGTIMEDWAIT, &[MASK, 0, 0, 8]),
        8 if user.regs.x[0] == EINTR => Ok(Flow::To(7)),
        8 => {
            user.returned(SIGUSR1);
            Ok(Flow::Next)
        }
        9 => user.call(number::KILL, &[child, SIGSTOP]),
        10 => user.call(number::WAIT4, &[child, STATUS, WUNTRACED, 0]),
        11 => {
            user.returned(child);
            assert_eq!(user.load(STATUS)?, 0x137f);
            Ok(Flow::Next)
        }
        // Stopped anew before both threads have got going: both must be counted anew.
        12 => user.call(number::KILL, &[child, SIGCONT]),
        13 => user.call(number::KILL, &[child, SIGSTOP]),
        14 => user.call(number::WAIT4, &[child, STATUS, WUNTRACED, 0]),
        15 => {
            user.returned(child);
            assert_eq!(user.load(STATUS)?, 0x137f);
            Ok(Flow::Next)
        }
        16 => user.call(number::KILL, &[child, SIGCONT]),
        17 => user.call(number::WAIT4, &[child, STATUS, WCONTINUED, 0]),
        18 => {
            user.returned(child);
            assert_eq!(user.load(STATUS)?, 0xffff);
            Ok(Flow::Next)
        }
        19 => user.call(number::KILL, &[child, SIGSTOP]),
        20 => user.call(number::KILL, &[child, SIGKILL]),
        21 => user.call(number::WAIT4, &[child, STATUS, 0, 0]),
        22 => {
            user.returned(child);
            assert_eq!(user.load(STATUS)?, SIGKILL);
            exit(user)
        }
        // The child's first thread answers.
        30 => user.call(number::CLONE, &[THREAD, STACK, 0, 0, 0]),
        31 if user.regs.x[0] == 0 => Ok(Flow::To(36)),
        31 => Ok(Flow::Next),
        32 => user.call(number::RT_SIGTIMEDWAIT, &[MASK, 0, 0, 8]),
        33 if user.regs.x[0] == EINTR => Ok(Flow::To(32)),
        33 => user.call(number::KILL, &[1, SIGUSR1]),
        34 => Ok(Flow::To(32)),
        // Its second thread makes system calls.
        36 => user.call(number::SCHED_YIELD, &[]),
        37 => user.call(number::RT_SIGTIMEDWAIT, &[EMPTY, 0, 0, 8]),
        38 => Ok(Flow::To(36)),
        _ => panic!("step {step}"),
    }
}

#[test]
fn no_stop_and_no_continuation_is_lost() {
    explore(0..NR_SEEDS, |seed| run(seed, stopper));
}
