// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scheduler on two simulated CPUs, under every schedule that the seeds pick: no wake-up, no
//! interrupt and no deadline is lost, and no thread runs twice at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base::percpu::CpuId;
use base::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use hal::sim::{SimConfig, SimMachine, Stopped, explore};
use hal::{Clock, Devices, PowerAction, RunUser, WaitChannel};
use mm::{Mm, System};
use task::{Scheduler, UserState, Woken};

/// How a test says that it is over.
const DONE: PowerAction = PowerAction::Off { status: 0 };

/// Schedules are only explored under the model checker; else a few runs have to do.
const NR_SEEDS: u64 = if cfg!(shuttle) { 200 } else { 20 };

type Sched = &'static Scheduler<SimMachine>;

/// Boots two CPUs, runs `first` in a thread, and goes on until somebody stops the machine.
fn run(seed: u64, first: impl FnOnce(Sched) + Send + 'static) {
    let machine = SimConfig { seed, nr_cpus: 2, ..SimConfig::default() }.build();
    let machine: &'static SimMachine = Box::leak(Box::new(machine));
    let sched = Scheduler::new(machine);
    let second = machine.spawn_on(CpuId::new(1), move || {
        drop(catch_unwind(AssertUnwindSafe(|| sched.run_cpu())));
    });
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        machine.run_on(CpuId::BOOT, || {
            sched.adopt_cpu();
            spawn(sched, move || first(sched));
            loop {
                sched.idle_once();
            }
        })
    }));
    second.join().unwrap();
    // Which of the CPUs learns the reason is open; the machine knows it.
    if let Err(panic) = stopped.unwrap_err().downcast::<Stopped>() {
        std::panic::resume_unwind(panic);
    }
    assert_eq!(machine.stopped(), Some(DONE));
    machine.end_contexts();
}

fn spawn(sched: Sched, job: impl FnOnce() + Send + 'static) {
    sched.spawn(UserState::default(), job).unwrap();
}

/// Two threads hand a token back and forth: each sleeps until it is its turn.
#[test]
fn token_passed_between_cpus_is_never_lost() {
    const ROUNDS: u64 = 8;
    explore(0..NR_SEEDS, |seed| {
        run(seed, |sched| {
            let token = Arc::new(AtomicU64::new(0));
            for own in 0..2 {
                let token = Arc::clone(&token);
                spawn(sched, move || {
                    let channel = WaitChannel::of(&*token);
                    for _ in 0..ROUNDS {
                        sched.sleep_until(channel, &mut || token.load(SeqCst) % 2 == own);
                        token.fetch_add(1, SeqCst);
                        sched.wake_all(channel);
                    }
                });
            }
            let channel = WaitChannel::of(&*token);
            sched.sleep_until(channel, &mut || token.load(SeqCst) == 2 * ROUNDS);
            sched.machine().power(DONE);
        });
    });
}

/// An interrupt ends a sleep, whether it comes before, while or after the thread goes to sleep.
#[test]
fn interrupt_of_a_thread_on_its_way_to_sleep_ends_the_sleep() {
    explore(0..NR_SEEDS, |seed| {
        run(seed, |sched| {
            let sleeper = sched.current();
            let has_sent = Arc::new(AtomicBool::new(false));
            let sent = Arc::clone(&has_sent);
            spawn(sched, move || {
                sched.interrupt(sleeper);
                sent.store(true, SeqCst);
                sched.wake_all(WaitChannel::of(&*sent));
            });
            let woken = sched.sleep_interruptible(WaitChannel(64), None, &mut || false);
            assert_eq!(woken, Woken::Interrupted);
            sleeper.set_interrupted(false);
            let channel = WaitChannel::of(&*has_sent);
            sched.sleep_until(channel, &mut || has_sent.load(SeqCst));
            sched.machine().power(DONE);
        });
    });
}

/// Deadlines pass in order, and none early.
#[test]
fn deadlines_pass_in_order() {
    explore(0..NR_SEEDS, |seed| {
        run(seed, |sched| {
            let nr_late = Arc::new(AtomicU64::new(0));
            for ms in [3u64, 1, 2] {
                let nr_late = Arc::clone(&nr_late);
                spawn(sched, move || {
                    let deadline = ms * 1_000_000;
                    assert!(sched.sleep_till(deadline), "nobody interrupts it");
                    assert!(sched.machine().now_ns() >= deadline);
                    nr_late.fetch_add(1, SeqCst);
                    sched.wake_all(WaitChannel::of(&*nr_late));
                });
            }
            let channel = WaitChannel::of(&*nr_late);
            sched.sleep_until(channel, &mut || nr_late.load(SeqCst) == 3);
            sched.machine().power(DONE);
        });
    });
}

/// Threads that have ended are used again.
#[test]
fn jobs_one_after_the_other_run_once_each() {
    explore(0..NR_SEEDS, |seed| {
        run(seed, |sched| {
            let nr_done = Arc::new(AtomicU64::new(0));
            let channel = WaitChannel::of(&*nr_done);
            for round in 1..=6 {
                let job_done = Arc::clone(&nr_done);
                spawn(sched, move || {
                    sched.yield_now();
                    job_done.fetch_add(1, SeqCst);
                    sched.wake_all(WaitChannel::of(&*job_done));
                });
                sched.sleep_until(channel, &mut || nr_done.load(SeqCst) == round);
            }
            sched.machine().power(DONE);
        });
    });
}

/// A thread that has ended may be given its next job, with another user state, before it has left
/// the CPU. Each job finds its own registers in the CPU, at its start and after others ran.
#[test]
fn reused_thread_runs_with_the_user_state_of_its_job() {
    explore(0..NR_SEEDS, |seed| {
        run(seed, |sched| {
            let system = System::new(sched.machine().clone());
            sched.set_memory(Arc::clone(&system));
            let nr_done = Arc::new(AtomicU64::new(0));
            let user = |tls| {
                let mm = Mm::new(&system).unwrap();
                (tls, UserState { mm: Some(mm), tls, ..UserState::default() })
            };
            // Made before, so that a thread is taken as soon as it is free.
            let users: Vec<_> = (1..=6).map(user).collect();
            for (round, user) in users {
                let job_done = Arc::clone(&nr_done);
                let job = move || {
                    assert_eq!(sched.machine().save_tls(), round, "at the start");
                    sched.yield_now();
                    assert_eq!(sched.machine().save_tls(), round, "after another thread");
                    let old = sched.replace_user(UserState::default());
                    old.mm.as_ref().unwrap().put_user();
                    drop(old);
                    job_done.fetch_add(1, SeqCst);
                };
                sched.spawn(user, job).unwrap();
                // Does not sleep, to be there when the other CPU is about to leave the thread.
                while nr_done.load(SeqCst) != round {
                    sched.yield_now();
                    base::sync::relax();
                }
            }
            sched.machine().power(DONE);
        });
    });
}
