// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests sleeping and waking, alone and under the sleeping locks built on it.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::SeqCst;

use base::lock_level::{LockLevel, Lru};
use base::sync::atomic::{AtomicBool, AtomicU64};
use base::sync::{SpinLock, relax};

use super::rig::{CPU0, CPU1, assert_judged};
use crate::clock::Clock;
use crate::sim::{SimConfig, SimMachine, explore};
use crate::sleep_lock::{RwSleepLock, SleepLock};
use crate::tlb::{Asid, Invalidate, Reach, Tlb};
use crate::wait::{Wait, WaitChannel};

#[test]
fn sleeper_wakes_when_its_condition_holds() {
    explore(0..100, |seed| {
        let machine = SimConfig { seed, ..SimConfig::default() }.build();
        let value = Arc::new(AtomicU64::new(0));
        let sleeper = machine.spawn_on(CPU1, {
            let (machine, value) = (machine.clone(), Arc::clone(&value));
            move || {
                let channel = WaitChannel::of(&*value);
                machine.sleep_until(channel, &mut || value.load(SeqCst) == 2);
                value.load(SeqCst)
            }
        });
        for n in [1, 2] {
            value.store(n, SeqCst);
            machine.wake_all(WaitChannel::of(&*value));
        }
        assert_eq!(sleeper.join().unwrap(), 2);
    });
}

#[test]
fn sleeping_lock_excludes() {
    explore(0..100, |seed| {
        let machine = SimConfig { seed, ..SimConfig::default() }.build();
        let lock = Arc::new(SleepLock::new((0, 0)));
        let threads: Vec<_> = [CPU0, CPU1, CPU0]
            .into_iter()
            .map(|cpu| {
                let (machine, lock) = (machine.clone(), Arc::clone(&lock));
                let body = machine.clone();
                machine.spawn_on(cpu, move || {
                    for _ in 0..4 {
                        let mut pair = lock.lock(&body);
                        pair.0 += 1;
                        body.cond_resched();
                        pair.1 += 1;
                        assert_eq!(pair.0, pair.1);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*lock.lock(&machine), (12, 12));
    });
}

#[test]
fn waiting_writer_gets_its_turn_among_readers() {
    explore(0..100, |seed| {
        let machine = SimConfig { seed, ..SimConfig::default() }.build();
        let lock = Arc::new(RwSleepLock::new(0));
        let spawn = |cpu, is_writer: bool| {
            let (body, lock) = (machine.clone(), Arc::clone(&lock));
            machine.spawn_on(cpu, move || {
                for _ in 0..4 {
                    if is_writer {
                        *lock.write(&body) += 1;
                    } else {
                        let shared = lock.read(&body);
                        let before = *shared;
                        body.cond_resched();
                        assert_eq!(*shared, before);
                    }
                }
            })
        };
        let threads = [spawn(CPU0, false), spawn(CPU1, true), spawn(CPU0, false)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*lock.read(&machine), 4);
    });
}

#[test]
#[cfg(debug_assertions)]
fn condition_may_not_wait_for_a_lock() {
    explore(0..1, |_| {
        let machine = SimConfig::default().build();
        let channel = WaitChannel(8);
        let sleeping = SleepLock::new(());
        assert_judged("sleeping while WaitQueue", || {
            machine.sleep_until(channel, &mut || {
                drop(sleeping.lock(&machine));
                true
            });
        });
        let lru = SpinLock::<(), Lru>::new(());
        assert_judged(&format!("Lru ({}) taken under WaitQueue", Lru::RANK), || {
            machine.sleep_until(channel, &mut || {
                drop(lru.lock());
                true
            });
        });
    });
}

#[test]
#[cfg(debug_assertions)]
fn sleeping_under_a_spin_lock_is_caught() {
    explore(0..1, |_| {
        let machine = SimConfig::default().build();
        let lru = SpinLock::<(), Lru>::new(());
        assert_judged("sleeping while Lru", || {
            let _held = lru.lock();
            machine.cond_resched();
        });
    });
}

#[test]
fn giving_the_cpu_away_completes_its_invalidations_and_keeping_it_does_not() {
    explore(0..20, |_| {
        let machine = SimConfig::default().build();
        let invalidate = |machine: &SimMachine| {
            machine.before();
            machine.invalidate(Invalidate::Asid(Asid(1)), Reach::Broadcast);
        };
        machine.run_on(CPU0, || {
            invalidate(&machine);
            machine.sleep_until(WaitChannel(8), &mut || true);
            machine.cond_resched();
        });
        assert_judged("never completed", || machine.assert_quiescent());
        let asked = Arc::new(AtomicBool::new(false));
        let (sleeper, was_asked) = (machine.clone(), Arc::clone(&asked));
        let thread = machine.spawn_on(CPU0, move || {
            invalidate(&sleeper);
            let mut is_first = true;
            sleeper.sleep_until(WaitChannel(8), &mut || {
                was_asked.store(true, SeqCst);
                !core::mem::take(&mut is_first)
            });
        });
        while !asked.load(SeqCst) {
            relax();
        }
        machine.run_on(CPU1, || machine.wake_all(WaitChannel(8)));
        thread.join().unwrap();
        machine.assert_quiescent();
    });
}

#[cfg(shuttle)]
#[test]
#[should_panic(expected = "deadlock")]
fn sleeper_that_nobody_wakes_is_a_deadlock() {
    explore(0..1, |_| {
        let machine = SimConfig::default().build();
        machine.sleep_until(WaitChannel(8), &mut || false);
    });
}

#[test]
fn time_passes_only_by_looking_and_by_order() {
    explore(0..1, |_| {
        let machine = SimConfig::default().build();
        assert_eq!([machine.now_ns(), machine.now_ns()], [1_000, 2_000]);
        machine.advance_clock(1_000_000);
        assert_eq!(machine.now_ns(), 1_003_000);
    });
}
