// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests that registers keep their values across all that interrupts a program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use user_tests::fault;
use user_tests::fp::{self, Between};
use user_tests::memory::{Mapping, PAGE};
use user_tests::{pmu, process};

user_tests::tests!(
    fp_registers_survive_system_calls,
    fp_registers_survive_page_faults,
    fp_registers_survive_preemption,
    fp_registers_survive_signals,
    fp_registers_survive_fork,
    fp_control_belongs_to_a_thread,
    general_registers_survive_system_calls,
    general_registers_survive_preemption,
    general_registers_survive_page_faults,
    counters_of_the_pmu_are_not_for_user_code,
);

fn fp_registers_survive_system_calls() {
    for seed in 0..20 {
        for number in [libc::SYS_getpid, libc::SYS_sched_yield, libc::SYS_gettid, 999] {
            fp::assert_kept(seed, Between::call(number, [0, 0]));
        }
    }
}

fn fp_registers_survive_page_faults() {
    let mapping = Mapping::anonymous(64 * PAGE);
    for (seed, page) in mapping.pages().enumerate() {
        fp::assert_kept(seed as u64, Between::Load(page));
    }
}

fn fp_registers_survive_preemption() {
    let seeds = 1..=6;
    thread::scope(|scope| {
        for seed in seeds {
            scope.spawn(move || {
                for _ in 0..30 {
                    fp::assert_kept(seed, Between::Spin(500_000));
                    fp::assert_kept(seed, Between::call(libc::SYS_sched_yield, [0, 0]));
                }
            });
        }
    });
}

fn fp_registers_survive_signals() {
    fp::handle_by_destroying(libc::SIGUSR1);
    let arguments = [std::process::id() as usize, libc::SIGUSR1 as usize];
    for seed in 0..20 {
        fp::assert_kept(seed, Between::call(libc::SYS_kill, arguments));
    }
    assert_eq!(fp::nr_destroyed(), 20);
}

fn fp_registers_survive_fork() {
    // clone with SIGCHLD only: both return behind the call.
    for seed in 0..5 {
        let parent = std::process::id();
        fp::assert_kept(seed, Between::call(libc::SYS_clone, [libc::SIGCHLD as usize, 0]));
        if process::pid() != parent {
            process::exit(0);
        }
        assert_eq!(process::wait(-1, 0).expect("wait4").1, process::Ended::Exited(0));
    }
}

fn fp_control_belongs_to_a_thread() {
    // Rounding towards zero (FPCR.RMode), and a sticky flag (FPSR.IOC).
    const TOWARDS_ZERO: u64 = 0b11 << 22;
    const INVALID_OPERATION: u64 = 1;
    fp::set_control(TOWARDS_ZERO);
    fp::set_status(INVALID_OPERATION);
    let stop = AtomicBool::new(false);
    let others = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let found = (fp::control(), fp::status());
            fp::set_control(0);
            fp::set_status(0);
            while !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            found
        });
        for _ in 0..1000 {
            thread::yield_now();
            assert_eq!((fp::control(), fp::status()), (TOWARDS_ZERO, INVALID_OPERATION));
        }
        stop.store(true, Ordering::Relaxed);
        other.join().expect("join")
    });
    fp::set_control(0);
    assert_eq!(others.0, TOWARDS_ZERO, "as the thread that made it");
}

fn general_registers_survive_system_calls() {
    for seed in 0..20 {
        for number in [libc::SYS_getpid, libc::SYS_sched_yield, 999] {
            fp::assert_general_kept(seed, Between::call(number, [0, 0]));
        }
    }
}

fn general_registers_survive_preemption() {
    thread::scope(|scope| {
        for seed in 0..6 {
            scope.spawn(move || {
                (0..30).for_each(|_| fp::assert_general_kept(seed, Between::Spin(500_000)));
            });
        }
    });
}

fn general_registers_survive_page_faults() {
    let mapping = Mapping::anonymous(64 * PAGE);
    for (seed, page) in mapping.pages().enumerate() {
        fp::assert_general_kept(seed as u64, Between::Load(page));
    }
}

/// They are with the kernel option `pmu.user=on`, which this machine does not have.
fn counters_of_the_pmu_are_not_for_user_code() {
    let fault = fault::catch(|| {
        pmu::instructions();
    });
    assert_eq!(fault.map(|fault| fault.signal), Some(libc::SIGILL));
}
