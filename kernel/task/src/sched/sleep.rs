// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets the running thread sleep, and wakes those who do.
//!
//! No wake-up is lost: a sleeper evaluates its condition and enters the queue under the queue's
//! lock; a waker changes the condition first and takes that lock then. The same holds for an
//! interrupt: the sleeper names its channel before it looks at the flag, the waker sets the flag
//! before it looks at the channel (both sequentially consistent), so one of them sees the other.

use base::lock_level;
use base::sync::atomic::Ordering;
use hal::{Platform, WaitChannel};

use super::timer::OnExpiry;
use super::{Scheduler, Thread};

/// Why a sleep is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The condition holds.
    Ready,
    /// The deadline has passed.
    TimedOut,
    /// A signal is pending.
    Interrupted,
}

impl<P: Platform> Scheduler<P> {
    /// Sleeps until `ready` returns `true`; no signal ends it ([`hal::Wait::sleep_until`]).
    pub fn sleep_until(&self, channel: WaitChannel, ready: &mut dyn FnMut() -> bool) {
        self.sleep(channel, false, None, ready);
    }

    /// Sleeps until `ready` returns `true`, a signal is pending or the time has come.
    pub fn sleep_interruptible(
        &self,
        channel: WaitChannel,
        deadline_ns: Option<u64>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Woken {
        self.sleep(channel, true, deadline_ns, ready)
    }

    fn sleep(
        &self,
        channel: WaitChannel,
        interruptible: bool,
        deadline_ns: Option<u64>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Woken {
        lock_level::assert_may_sleep();
        let me = self.current();
        me.channel.store(channel.0, Ordering::SeqCst);
        let mut timer = None;
        loop {
            let mut sleepers = self.queues.lock(channel);
            let is_late = || deadline_ns.is_some_and(|deadline| deadline <= self.machine.now_ns());
            let woken = if ready() {
                Some(Woken::Ready)
            } else if interruptible && me.is_interrupted() {
                Some(Woken::Interrupted)
            } else {
                is_late().then_some(Woken::TimedOut)
            };
            if let Some(woken) = woken {
                drop(sleepers);
                timer.inspect(|timer| self.cancel_timer(*timer));
                return woken;
            }
            sleepers.push((channel, me));
            // With the queue locked, so that the timer's wake-up finds the thread in it.
            if let (None, Some(deadline)) = (timer, deadline_ns) {
                timer = Some(self.add_timer(deadline, OnExpiry::Wake(me)));
            }
            drop(sleepers);
            self.switch_away();
        }
    }

    /// Tells whether a thread sleeps at the moment.
    pub fn is_asleep(&self, thread: &'static Thread<P>) -> bool {
        let channel = WaitChannel(thread.channel.load(Ordering::SeqCst));
        let sleepers = self.queues.lock(channel);
        sleepers.iter().any(|(_, sleeper)| core::ptr::eq(*sleeper, thread))
    }

    /// Lets every sleeper of the channel re-check its condition.
    pub fn wake_all(&self, channel: WaitChannel) {
        let mut sleepers = self.queues.lock(channel);
        let mut at = 0;
        while at < sleepers.len() {
            if sleepers[at].0 == channel {
                let (_, thread) = sleepers.remove(at);
                self.enqueue(thread);
            } else {
                at += 1;
            }
        }
    }

    /// Lets a thread re-check its condition if it sleeps.
    pub fn wake_thread(&self, thread: &'static Thread<P>) {
        let channel = WaitChannel(thread.channel.load(Ordering::SeqCst));
        let mut sleepers = self.queues.lock(channel);
        let at = sleepers.iter().position(|(_, sleeper)| core::ptr::eq(*sleeper, thread));
        if let Some(at) = at {
            sleepers.remove(at);
            self.enqueue(thread);
        }
    }

    /// Ends the interruptible sleep of a thread, and makes user code that runs on another CPU trap.
    pub fn interrupt(&self, thread: &'static Thread<P>) {
        thread.set_interrupted(true);
        self.wake_thread(thread);
        let cpu = base::percpu::CpuId::new(thread.last_cpu.load(Ordering::SeqCst));
        if thread.on_cpu.load(Ordering::SeqCst) && cpu != self.machine.cpu() {
            self.machine.kick(cpu);
        }
    }
}
