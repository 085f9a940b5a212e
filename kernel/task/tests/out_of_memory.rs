// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory used up by one of several processes on two simulated CPUs, under every schedule that the
//! seeds pick: that one ends, and nobody with it.

mod el0;

use abi::mman::{
    MADV_DONTNEED, MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE,
};
use abi::number;
use el0::{DATA, Flow, User, exit, run_on};
use hal::MemFault;
use hal::sim::{Bank, SimConfig, explore};

const NR_SEEDS: u64 = if cfg!(shuttle) { 30 } else { 20 };

const SIGCHLD: u64 = 17;
const SIGKILL: u32 = 9;
const ANY: u64 = u64::MAX;
const PAGE: u64 = 4096;

/// More than the machine has.
const TOO_MANY: u64 = 1024;
/// What the modest one has.
const MODEST: u64 = 4;

// Variables of the program.
const STATUS: u64 = DATA;

/// Starts a mapping whose address comes back in x0.
fn map(user: &mut User<'_>, nr_pages: u64, flags: u64) -> Result<Flow, MemFault> {
    let (prot, flags) = (PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_NORESERVE);
    user.call(number::MMAP, &[0, nr_pages * PAGE, prot, flags, ANY, 0])
}

/// Stores to page x21 of the mapping at x20, and goes on with the next.
fn touch(user: &mut User<'_>) -> Result<(), MemFault> {
    user.store(user.regs.x[20] + user.regs.x[21] * PAGE, 1)?;
    user.regs.x[21] += 1;
    Ok(())
}

/// Init has two children. One takes more and more memory; the other takes a little, gives it back and
/// takes it again, as long as there is the first.
fn greedy_and_modest(step: u64, user: &mut User<'_>) -> Result<Flow, MemFault> {
    match step {
        // x26: a word that all share; not 0 when the greedy one is gone.
        0 => map(user, 1, MAP_SHARED),
        1 => {
            user.regs.x[26] = user.regs.x[0];
            user.store(user.regs.x[26], 0)?;
            Ok(Flow::Next)
        }
        2 | 4 => user.call(number::CLONE, &[SIGCHLD, 0, 0, 0, 0]),
        3 if user.regs.x[0] == 0 => Ok(Flow::To(20)),
        5 if user.regs.x[0] == 0 => Ok(Flow::To(30)),
        3 | 5 => {
            user.regs.x[20 + step as usize] = user.regs.x[0];
            Ok(Flow::Next)
        }
        6 => user.call(number::WAIT4, &[user.regs.x[23], STATUS, 0, 0]),
        7 => {
            assert_eq!(user.load(STATUS)? as u32, SIGKILL, "status of the greedy one");
            user.store(user.regs.x[26], 1)?;
            Ok(Flow::Next)
        }
        8 => user.call(number::WAIT4, &[user.regs.x[25], STATUS, 0, 0]),
        9 => {
            assert_eq!(user.load(STATUS)? as u32, 5 << 8, "status of the modest one");
            Ok(Flow::Next)
        }
        10 => exit(user),
        20 => map(user, TOO_MANY, MAP_PRIVATE),
        21 => {
            (user.regs.x[20], user.regs.x[21]) = (user.regs.x[0], 0);
            Ok(Flow::Next)
        }
        22 => {
            assert!(user.regs.x[21] < TOO_MANY, "memory without end");
            touch(user)?;
            Ok(Flow::To(22))
        }
        30 => map(user, MODEST, MAP_PRIVATE),
        31 => {
            (user.regs.x[20], user.regs.x[21]) = (user.regs.x[0], 0);
            Ok(Flow::Next)
        }
        32 if user.regs.x[21] < MODEST => {
            touch(user)?;
            Ok(Flow::To(32))
        }
        32 => user.call(number::MADVISE, &[user.regs.x[20], MODEST * PAGE, MADV_DONTNEED]),
        33 => {
            user.returned(0);
            user.regs.x[21] = 0;
            Ok(if user.load(user.regs.x[26])? == 0 { Flow::To(32) } else { Flow::Next })
        }
        34 => user.call(number::EXIT_GROUP, &[5]),
        _ => panic!("step {step}"),
    }
}

#[test]
fn one_process_pays_for_all() {
    explore(0..NR_SEEDS, |seed| {
        let config = SimConfig::default();
        let banks = vec![Bank { nr_blocks: 1, ..config.banks[0] }];
        run_on(SimConfig { seed, banks, ..config }, greedy_and_modest);
    });
}
