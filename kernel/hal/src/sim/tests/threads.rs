// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests contexts, interrupts and the power switch with a scheduler of a few lines.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use super::rig::{CPU0, CPU1, assert_judged};
use crate::clock::Clock;
use crate::cpu::Cpus;
use crate::devices::{Devices, PowerAction};
use crate::sim::{SimConfig, SimContext, SimMachine, Stopped, explore};
use crate::thread::{Interrupt, Threads};
use crate::wait::{Wait, WaitChannel};

/// Runs contexts in turn on one CPU; the boot flow takes part.
struct RoundRobin {
    machine: SimMachine,
    /// The one that runs first, then those that wait.
    contexts: Mutex<VecDeque<Arc<SimContext>>>,
}

impl RoundRobin {
    fn new(machine: &SimMachine) -> Arc<Self> {
        let boot = Arc::new(machine.boot_context());
        Arc::new(Self { machine: machine.clone(), contexts: Mutex::new([boot].into()) })
    }

    /// Adds a thread that runs `body` and then only gives way.
    fn spawn(self: &Arc<Self>, body: impl FnOnce(&Self) + Send + 'static) {
        let this = Arc::clone(self);
        let entry = Box::new(move || {
            body(&this);
            loop {
                this.give_way();
            }
        });
        let context = Arc::new(self.machine.new_context(entry).unwrap());
        self.contexts.lock().unwrap().push_back(context);
    }

    fn give_way(&self) {
        let (from, to) = {
            let mut contexts = self.contexts.lock().unwrap();
            let from = contexts.pop_front().unwrap();
            contexts.push_back(Arc::clone(&from));
            (from, Arc::clone(&contexts[0]))
        };
        if !Arc::ptr_eq(&from, &to) {
            self.machine.switch(&from, &to);
        }
    }
}

fn machine(seed: u64) -> SimMachine {
    SimConfig { seed, ..SimConfig::default() }.build()
}

#[test]
fn contexts_take_turns_in_the_order_of_the_scheduler() {
    explore(0..20, |seed| {
        let machine = machine(seed);
        let order = Arc::new(Mutex::new(Vec::new()));
        machine.run_on(CPU0, || {
            let scheduler = RoundRobin::new(&machine);
            for id in [1, 2] {
                let order = Arc::clone(&order);
                scheduler.spawn(move |scheduler| {
                    for _ in 0..3 {
                        assert_eq!(scheduler.machine.cpu(), CPU0);
                        order.lock().unwrap().push(id);
                        scheduler.give_way();
                    }
                });
            }
            (0..4).for_each(|_| scheduler.give_way());
        });
        machine.end_contexts();
        assert_eq!(*order.lock().unwrap(), [1, 2, 1, 2, 1, 2]);
    });
}

#[test]
fn context_goes_on_where_the_switch_came_from() {
    explore(0..20, |seed| {
        let machine = machine(seed);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let boots =
            [CPU0, CPU1].map(|cpu| machine.run_on(cpu, || Arc::new(machine.boot_context())));
        let moving: Arc<Mutex<Option<Arc<SimContext>>>> = Arc::default();
        let entry = {
            let (machine, seen, boots, moving) =
                (machine.clone(), Arc::clone(&seen), boots.clone(), Arc::clone(&moving));
            Box::new(move || {
                for boot in boots {
                    seen.lock().unwrap().push(machine.cpu());
                    let me = Arc::clone(moving.lock().unwrap().as_ref().unwrap());
                    machine.switch(&me, &boot);
                }
            })
        };
        *moving.lock().unwrap() = Some(Arc::new(machine.new_context(entry).unwrap()));
        for (cpu, boot) in [CPU0, CPU1].into_iter().zip(&boots) {
            let target = Arc::clone(moving.lock().unwrap().as_ref().unwrap());
            machine.run_on(cpu, || machine.switch(boot, &target));
        }
        machine.end_contexts();
        assert_eq!(*seen.lock().unwrap(), [CPU0, CPU1]);
    });
}

#[test]
fn misuse_of_a_context_is_caught() {
    explore(0..1, |_| {
        let machine = machine(0);
        machine.run_on(CPU0, || {
            let (boot, other) = (machine.boot_context(), machine.boot_context());
            assert_judged("that runs on", || machine.switch(&boot, &other));
        });
        machine.run_on(CPU1, || {
            let boot = machine.boot_context();
            let entry = machine.new_context(Box::new(|| {})).unwrap();
            assert_judged("entry returned", || machine.switch(&boot, &entry));
        });
        let machine = self::machine(0);
        machine.fail_nth_alloc(1);
        assert!(machine.new_context(Box::new(|| {})).is_err());
    });
}

#[test]
fn panic_of_a_context_reaches_the_boot_flow() {
    explore(0..20, |seed| {
        let machine = machine(seed);
        assert_judged("that was the end", || {
            machine.run_on(CPU0, || {
                let scheduler = RoundRobin::new(&machine);
                scheduler.spawn(|_| panic!("that was the end"));
                scheduler.give_way();
            });
        });
    });
}

#[test]
fn power_stops_every_cpu() {
    explore(0..20, |seed| {
        let machine = machine(seed);
        let idle = machine.spawn_on(CPU1, {
            let machine = machine.clone();
            move || {
                let wait = || machine.wait_for_interrupt();
                catch_unwind(AssertUnwindSafe(wait)).unwrap_err().downcast::<Stopped>().unwrap()
            }
        });
        let action = PowerAction::Off { status: 3 };
        let stopped = catch_unwind(AssertUnwindSafe(|| {
            machine.run_on(CPU0, || {
                let scheduler = RoundRobin::new(&machine);
                scheduler.spawn(move |scheduler| scheduler.machine.power(action));
                scheduler.give_way();
            });
        }));
        assert_eq!(*stopped.unwrap_err().downcast::<Stopped>().unwrap(), Stopped(action));
        assert_eq!(*idle.join().unwrap(), Stopped(action));
        assert_eq!(machine.stopped(), Some(action));
    });
}

#[test]
fn sleepers_poll_between_turns_of_others() {
    explore(0..20, |seed| {
        let machine = machine(seed);
        machine.run_on(CPU0, || {
            let scheduler = RoundRobin::new(&machine);
            let hook = Arc::downgrade(&scheduler);
            machine.set_yield_hook(move || hook.upgrade().unwrap().give_way());
            let value = Arc::new(AtomicU64::new(0));
            let setter = Arc::clone(&value);
            scheduler.spawn(move |scheduler| {
                scheduler.give_way();
                setter.store(1, SeqCst);
                scheduler.machine.wake_all(WaitChannel(64));
            });
            machine.sleep_until(WaitChannel(64), &mut || value.load(SeqCst) == 1);
        });
        machine.end_contexts();
    });
}

#[test]
fn interrupts_wake_the_cpu_they_are_for() {
    explore(0..20, |seed| {
        let machine = machine(seed);
        let idle = machine.spawn_on(CPU1, {
            let machine = machine.clone();
            move || {
                machine.wait_for_interrupt();
                [machine.take_interrupt(), machine.take_interrupt()]
            }
        });
        machine.run_on(CPU0, || {
            machine.kick(CPU1);
            assert_eq!(machine.take_interrupt(), None);
            machine.set_timer(Some(5_000_000));
            machine.wait_for_interrupt();
            assert!(machine.now_ns() >= 5_000_000);
            assert_eq!(machine.take_interrupt(), Some(Interrupt::Timer));
            machine.console_type(b"hi");
            machine.wait_for_interrupt();
            assert_eq!(machine.take_interrupt(), Some(Interrupt::Console));
            assert_eq!(machine.console_read(&mut [0; 8]), 2);
            assert_eq!(machine.take_interrupt(), None);
        });
        assert_eq!(idle.join().unwrap(), [Some(Interrupt::Kick), None]);
    });
}

#[test]
fn console_keeps_what_is_written_and_entropy_replays() {
    explore(0..1, |_| {
        let draw = |seed: u64| {
            let mut bytes = [0; 20];
            machine(seed).entropy(&mut bytes);
            bytes
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let machine = machine(0);
        machine.console_write(b"granule: ");
        machine.console_write(b"power off");
        let output = String::from_utf8(machine.console_output()).unwrap();
        assert_eq!(output, "granule: power off");
    });
}
