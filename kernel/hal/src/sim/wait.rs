// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts simulated threads to sleep: host threads block, by the bucket of their channel.
//!
//! Channels share buckets, so sleepers are woken for nothing, as the port says they may be. A
//! sleeper that nobody wakes is a deadlock, which the model checker reports.
//!
//! A test that runs its own scheduler on [`Threads`](crate::Threads) must not block a host thread
//! that stands for a whole CPU: it installs a hook that gives the CPU to another thread, and a
//! sleeper polls its condition between calls of the hook. A test of a whole scheduler hands all
//! waiting to it, as the kernel does.

use alloc::boxed::Box;
use std::sync::OnceLock;

use base::lock_level::{self, LevelToken, WaitQueue};
use base::sync::schedule_point;

use super::SimMachine;
use super::host::{self, Condvar, Mutex};
use crate::tlb::Reach;
use crate::wait::{Wait, WaitChannel};

const BUCKETS: usize = 16;

/// Gives the CPU to another thread and returns when the caller runs again.
type YieldHook = Box<dyn Fn() + Send + Sync>;

/// Sleeping threads.
pub(super) struct Sleepers {
    buckets: [Bucket; BUCKETS],
    hook: OnceLock<YieldHook>,
    scheduler: OnceLock<Box<dyn Wait + Send + Sync>>,
}

#[derive(Default)]
struct Bucket {
    /// Held while a condition is evaluated, and by wakers: no wake-up gets lost in between.
    lock: Mutex<()>,
    woken: Condvar,
}

impl Sleepers {
    pub(super) fn new() -> Self {
        Self {
            buckets: core::array::from_fn(|_| Bucket::default()),
            hook: OnceLock::new(),
            scheduler: OnceLock::new(),
        }
    }

    fn bucket(&self, channel: WaitChannel) -> &Bucket {
        &self.buckets[(channel.0 >> 3) as usize % BUCKETS]
    }
}

impl SimMachine {
    /// Lets sleepers give their CPU away through `hook` in place of blocking the host thread.
    ///
    /// # Panics
    ///
    /// When there is a hook already.
    pub fn set_yield_hook(&self, hook: impl Fn() + Send + Sync + 'static) {
        let is_first = self.sleepers().hook.set(Box::new(hook)).is_ok();
        assert!(is_first, "one scheduler per machine");
    }

    /// Hands all sleeping and waking to a scheduler.
    ///
    /// # Panics
    ///
    /// When there is one already.
    pub fn set_scheduler(&self, scheduler: impl Wait + Send + Sync + 'static) {
        let is_first = self.sleepers().scheduler.set(Box::new(scheduler)).is_ok();
        assert!(is_first, "one scheduler per machine");
    }
}

impl SimMachine {
    /// Judges a thread that is about to sleep, or may have to: it holds no spin lock.
    pub(super) fn assert_may_sleep(&self) {
        lock_level::assert_may_sleep();
    }

    /// Does what a switch to another thread does to the CPU: it completes the invalidations that it
    /// has started. A thread that need not wait after all does not get there.
    pub(super) fn give_cpu_away(&self) {
        if let Some(cpu) = self.bound_cpu() {
            self.mmu().complete_invalidations(cpu, Reach::Broadcast);
        }
    }
}

impl Wait for SimMachine {
    fn sleep_until(&self, channel: WaitChannel, ready: &mut dyn FnMut() -> bool) {
        self.assert_may_sleep();
        self.maybe_complete_io();
        if let Some(scheduler) = self.sleepers().scheduler.get() {
            return scheduler.sleep_until(channel, ready);
        }
        let bucket = self.sleepers().bucket(channel);
        let mut guard = host::lock(&bucket.lock);
        loop {
            // The condition runs under a spin lock of this level on a real machine.
            let level = LevelToken::<WaitQueue>::enter();
            if ready() {
                return;
            }
            drop(level);
            self.give_cpu_away();
            guard = match self.sleepers().hook.get() {
                None => host::wait(&bucket.woken, guard),
                Some(hook) => {
                    drop(guard);
                    hook();
                    host::lock(&bucket.lock)
                }
            };
        }
    }

    fn wake_all(&self, channel: WaitChannel) {
        if let Some(scheduler) = self.sleepers().scheduler.get() {
            return scheduler.wake_all(channel);
        }
        let bucket = self.sleepers().bucket(channel);
        let _level = LevelToken::<WaitQueue>::enter();
        let _guard = host::lock(&bucket.lock);
        bucket.woken.notify_all();
    }

    fn cond_resched(&self) {
        self.assert_may_sleep();
        schedule_point();
        self.maybe_complete_io();
        if let Some(scheduler) = self.sleepers().scheduler.get() {
            return scheduler.cond_resched();
        }
        if let Some(hook) = self.sleepers().hook.get() {
            hook();
        }
    }
}
