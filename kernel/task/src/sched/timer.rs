// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds deadlines, and programs each CPU's timer for the next one.
//!
//! A CPU's timer is due at its earliest deadline, or at the end of the running thread's slice if
//! another thread waits. With neither it is off: an idle machine takes no ticks.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use base::percpu::CpuId;
use hal::{Platform, WaitChannel};

use super::{Scheduler, Thread};

/// What happens when the time has come.
pub(super) enum OnExpiry<P: Platform> {
    /// The thread re-checks its condition.
    Wake(&'static Thread<P>),
    /// The function is called, with no lock held.
    Call(Arc<dyn Fn() + Send + Sync>),
}

/// Names a timer, so that it can be cancelled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerKey {
    deadline_ns: u64,
    serial: u64,
    cpu: CpuId,
}

/// The deadlines that one CPU looks after, earliest first.
pub(super) struct TimerQueue<P: Platform> {
    timers: BTreeMap<TimerKey, OnExpiry<P>>,
    next_serial: u64,
}

impl<P: Platform> TimerQueue<P> {
    pub fn new() -> Self {
        Self { timers: BTreeMap::new(), next_serial: 0 }
    }

    fn earliest(&self) -> Option<u64> {
        self.timers.first_key_value().map(|(key, _)| key.deadline_ns)
    }

    fn take_expired(&mut self, now_ns: u64) -> Option<OnExpiry<P>> {
        let first = self.timers.first_entry()?;
        (first.key().deadline_ns <= now_ns).then(|| first.remove())
    }
}

impl<P: Platform> Scheduler<P> {
    /// Calls `callback` at `deadline_ns`, on this CPU, with no lock held.
    pub fn call_at(&self, deadline_ns: u64, callback: Arc<dyn Fn() + Send + Sync>) -> TimerKey {
        self.add_timer(deadline_ns, OnExpiry::Call(callback))
    }

    pub(super) fn add_timer(&self, deadline_ns: u64, action: OnExpiry<P>) -> TimerKey {
        let cpu = self.machine.cpu();
        let mut queue = self.cpus.of(cpu).timers.lock();
        let key = TimerKey { deadline_ns, serial: queue.next_serial, cpu };
        queue.next_serial += 1;
        queue.timers.insert(key, action);
        drop(queue);
        self.program_timer(cpu);
        key
    }

    /// Cancels a timer; one that has expired is gone already, and its function may still run.
    pub fn cancel_timer(&self, key: TimerKey) {
        let removed = self.cpus.of(key.cpu).timers.lock().timers.remove(&key);
        drop(removed);
    }

    pub(super) fn run_timers(&self) {
        let cpu = self.machine.cpu();
        loop {
            let expired = self.cpus.of(cpu).timers.lock().take_expired(self.machine.now_ns());
            match expired {
                Some(OnExpiry::Wake(thread)) => self.wake_thread(thread),
                Some(OnExpiry::Call(callback)) => callback(),
                None => return,
            }
        }
    }

    /// Sets the timer of this CPU, which `cpu` is.
    pub(super) fn program_timer(&self, cpu: CpuId) {
        let own = self.cpus.of(cpu);
        let earliest = own.timers.lock().earliest();
        let slice_end = own.has_ready().then(|| own.slice_end());
        let deadline = match (earliest, slice_end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.machine.set_timer(deadline);
    }

    /// Sleeps until `deadline_ns` or until a signal is pending; tells whether the time has come.
    pub fn sleep_till(&self, deadline_ns: u64) -> bool {
        let me = self.current();
        let woken = self.sleep_interruptible(WaitChannel::of(me), Some(deadline_ns), &mut || false);
        woken == super::Woken::TimedOut
    }
}
