// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and threads on two simulated CPUs, under every schedule that the seeds pick: children
//! end while they are waited for, orphans find init, threads come while their process goes, one of
//! several threads replaces the program. What is lost leaves somebody asleep for ever, which the model
//! checker reports.

mod el0;

use abi::clone::{
    CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD,
    CLONE_VFORK, CLONE_VM,
};
use abi::futex::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAKE};
use abi::{Errno, number};
use el0::{DATA, Flow, User, exit, run};
use hal::MemFault;
use hal::sim::explore;

const NR_SEEDS: u64 = if cfg!(shuttle) { 500 } else { 20 };

const SIGCHLD: u64 = 17;
const ANY: u64 = u64::MAX;
const ECHILD: u64 = Errno::ECHILD.to_return_value();
const EAGAIN: u64 = Errno::EAGAIN.to_return_value();
const THREAD: u64 =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

// Variables of the programs.
const STATUS: u64 = DATA;
const WORD: u64 = DATA + 8;
const PATH: u64 = DATA + 0x10;
const ARGS: u64 = DATA + 0x20;
const STACK: u64 = DATA + 0x1000;

/// Init has two children, which have a child each and do not wait for it. Init waits for all four.
fn families(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        0 | 2 => user.call(number::CLONE, &[SIGCHLD, 0, 0, 0, 0]),
        1 | 3 if user.regs.x[0] == 0 => Ok(Flow::To(20)),
        1 | 3 => Ok(Flow::Next),
        4 => user.call(number::WAIT4, &[ANY, STATUS, 0, 0]),
        5 if user.regs.x[0] == ECHILD => {
            assert_eq!(user.regs.x[20], 4, "processes that were waited for");
            exit(user)
        }
        5 => {
            let status = user.load(STATUS)?;
            assert!(status == 3 << 8 || status == 4 << 8, "{status:#x}");
            user.regs.x[20] += 1;
            Ok(Flow::To(4))
        }
        20 => user.call(number::CLONE, &[SIGCHLD, 0, 0, 0, 0]),
        21 if user.regs.x[0] == 0 => user.call(number::EXIT, &[4]),
        21 => user.call(number::EXIT_GROUP, &[3]),
        _ => panic!("step {step}"),
    }
}

#[test]
fn every_process_that_ends_is_waited_for_once() {
    explore(0..NR_SEEDS, |seed| run(seed, families));
}

/// A child's threads make threads, while one of them ends the process.
fn crowd(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        0 => user.call(number::CLONE, &[SIGCHLD, 0, 0, 0, 0]),
        1 if user.regs.x[0] == 0 => Ok(Flow::To(20)),
        1 => user.call(number::WAIT4, &[ANY, STATUS, 0, 0]),
        2 => {
            assert_eq!(user.load(STATUS)?, 7 << 8);
            Ok(Flow::Next)
        }
        3 => user.call(number::WAIT4, &[ANY, STATUS, 0, 0]),
        4 => {
            user.returned(ECHILD);
            exit(user)
        }
        20..=22 => user.call(number::CLONE, &[THREAD, STACK, 0, 0, 0]),
        // Whoever gets here first; the others are on their way, or not even made.
        23 => user.call(number::EXIT_GROUP, &[7]),
        _ => panic!("step {step}"),
    }
}

#[test]
fn threads_made_while_their_process_ends_end_too() {
    explore(0..NR_SEEDS, |seed| run(seed, crowd));
}

/// A thread that is not the first replaces the program, while the first one sleeps and a third one
/// comes and goes. The new program knows itself by its argument count.
fn usurper(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        0 => {
            user.regs.x[20] = user.load(user.regs.sp)?;
            Ok(Flow::Next)
        }
        1 if user.regs.x[20] == 2 => user.call(number::GETTID, &[]),
        1 => Ok(Flow::To(5)),
        2 => {
            user.returned(1);
            exit(user)
        }
        // "/init" as path, and as both arguments.
        5 => {
            user.store(PATH, u64::from_le_bytes(*b"/init\0\0\0"))?;
            user.store(ARGS, PATH)?;
            user.store(ARGS + 8, PATH)?;
            user.store(ARGS + 16, 0).map(|()| Flow::Next)
        }
        6 | 7 => user.call(number::CLONE, &[THREAD, STACK, 0, 0, 0]),
        8 => user.call(number::GETTID, &[]),
        // The first one sleeps for ever, the second one execs, others leave.
        9 if user.regs.x[0] == 1 => {
            user.call(number::FUTEX, &[WORD, (FUTEX_WAIT | FUTEX_PRIVATE_FLAG).into(), 0, 0])
        }
        9 if user.regs.x[0] == 2 => user.call(number::EXECVE, &[PATH, ARGS, 0]),
        9 => user.call(number::EXIT, &[0]),
        _ => panic!("step {step}"),
    }
}

#[test]
fn a_thread_that_execs_becomes_the_process() {
    explore(0..NR_SEEDS, |seed| run(seed, usurper));
}

/// A thread waits for another one's end, by the futex that the kernel wakes then; the number was
/// stored before the thread was made.
fn joiner(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        0 => user.store(WORD, 1).map(|()| Flow::Next),
        1 => user.call(number::CLONE, &[THREAD | CLONE_CHILD_CLEARTID, STACK, 0, 0, WORD]),
        2 if user.regs.x[0] == 0 => user.call(number::EXIT, &[0]),
        2 => Ok(Flow::Next),
        3 => user.call(number::FUTEX, &[WORD, FUTEX_WAIT.into(), 1, 0]),
        4 => {
            let outcome = user.regs.x[0];
            assert!(outcome == 0 || outcome == EAGAIN, "{outcome:#x}");
            // Not woken for nothing.
            assert_eq!(user.load(WORD)?, 0);
            user.regs.x[20] += 1;
            if user.regs.x[20] == 3 { exit(user) } else { Ok(Flow::To(0)) }
        }
        _ => panic!("step {step}"),
    }
}

#[test]
fn the_end_of_a_thread_wakes_who_waits_for_it() {
    explore(0..NR_SEEDS, |seed| run(seed, joiner));
}

/// A vfork: the parent goes on when its memory is its own again.
fn borrower(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        0 => user.call(number::CLONE, &[CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0]),
        1 if user.regs.x[0] == 0 => Ok(Flow::To(10)),
        1 => {
            assert_eq!(user.load(WORD)?, 5, "what the child stored in its parent's memory");
            Ok(Flow::Next)
        }
        2 => user.call(number::WAIT4, &[ANY, STATUS, 0, 0]),
        3 => {
            assert_eq!(user.load(STATUS)?, 6 << 8);
            exit(user)
        }
        10 => user.store(WORD, 5).map(|()| Flow::Next),
        // Nobody waits there.
        11 => user.call(number::FUTEX, &[WORD, FUTEX_WAKE.into(), 1]),
        12 => user.call(number::EXIT, &[6]),
        _ => panic!("step {step}"),
    }
}

#[test]
fn a_parent_in_vfork_goes_on_after_its_child() {
    explore(0..NR_SEEDS, |seed| run(seed, borrower));
}
