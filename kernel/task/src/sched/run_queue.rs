// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a CPU's run queue, and the switch from one thread to the next.

use alloc::collections::VecDeque;

use base::lock_level;
use base::percpu::CpuId;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use hal::Platform;

use super::timer::TimerQueue;
use super::{SLICE_NS, Scheduler, Thread};

/// What belongs to one CPU.
pub(super) struct Cpu<P: Platform> {
    queue: SpinLock<RunQueue<P>, lock_level::RunQueue>,
    /// Length of the queue, to look at without its lock.
    nr_ready: AtomicUsize,
    slice_end: AtomicU64,
    /// Number of the running thread, to look at without the lock.
    current: AtomicUsize,
    pub(super) timers: SpinLock<TimerQueue<P>, lock_level::Timers>,
}

struct RunQueue<P: Platform> {
    ready: VecDeque<&'static Thread<P>>,
    current: Option<&'static Thread<P>>,
    /// The thread that left for `current`, until that has arrived.
    previous: Option<&'static Thread<P>>,
    idle: Option<&'static Thread<P>>,
}

/// Who leaves its CPU, and for whom.
type Turn<P> = (&'static Thread<P>, Option<&'static Thread<P>>);

impl<P: Platform> RunQueue<P> {
    /// Makes `next` the current thread, for which `me` leaves.
    fn turn_to(&mut self, me: &'static Thread<P>, next: &'static Thread<P>) {
        self.current = Some(next);
        self.previous = Some(me);
    }
}

impl<P: Platform> Cpu<P> {
    pub(super) fn new() -> Self {
        let queue = RunQueue { ready: VecDeque::new(), current: None, previous: None, idle: None };
        Self {
            queue: SpinLock::new(queue),
            nr_ready: AtomicUsize::new(0),
            slice_end: AtomicU64::new(0),
            current: AtomicUsize::new(0),
            timers: SpinLock::new(TimerQueue::new()),
        }
    }

    pub(super) fn begin(&self, idle: &'static Thread<P>) {
        let mut queue = self.queue.lock();
        queue.idle = Some(idle);
        queue.current = Some(idle);
        self.current.store(idle.number(), Ordering::Relaxed);
    }

    pub(super) fn reserve(&self, nr_threads: usize) {
        let mut queue = self.queue.lock();
        let more = nr_threads.saturating_sub(queue.ready.len());
        queue.ready.reserve(more);
    }

    pub(super) fn current(&self) -> &'static Thread<P> {
        self.queue.lock().current.expect("a CPU that runs threads has adopted one")
    }

    pub(super) fn current_number(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    pub(super) fn has_ready(&self) -> bool {
        self.nr_ready.load(Ordering::SeqCst) != 0
    }

    pub(super) fn slice_end(&self) -> u64 {
        self.slice_end.load(Ordering::Relaxed)
    }

    /// Adds a thread; tells whether it is the only one.
    pub(super) fn push(&self, thread: &'static Thread<P>) -> bool {
        let mut queue = self.queue.lock();
        queue.ready.push_back(thread);
        self.nr_ready.store(queue.ready.len(), Ordering::SeqCst);
        queue.ready.len() == 1
    }

    /// Makes the first thread of the queue, if there is one, the current one. Returns who was that, and
    /// who is.
    fn turn(&self) -> Turn<P> {
        let mut queue = self.queue.lock();
        let me = queue.current.expect("a CPU that runs threads has adopted one");
        let next = queue.ready.pop_front();
        if let Some(next) = next {
            self.nr_ready.store(queue.ready.len(), Ordering::SeqCst);
            queue.turn_to(me, next);
        }
        (me, next)
    }

    /// Makes `next` the current thread.
    fn turn_to(&self, me: &'static Thread<P>, next: &'static Thread<P>) {
        self.queue.lock().turn_to(me, next);
    }

    /// Puts the current thread at the end of the queue, where others are.
    pub(super) fn push_current(&self) {
        let mut queue = self.queue.lock();
        let me = queue.current.expect("a CPU that runs threads has adopted one");
        queue.ready.push_back(me);
        self.nr_ready.store(queue.ready.len(), Ordering::SeqCst);
    }

    fn idle(&self) -> &'static Thread<P> {
        self.queue.lock().idle.expect("a CPU that runs threads has an idle thread")
    }

    /// Takes a thread that has left its CPU. Only such a one may run elsewhere.
    fn steal(&self) -> Option<&'static Thread<P>> {
        let mut queue = self.queue.lock();
        let has_left = |thread: &&Thread<P>| !thread.on_cpu.load(Ordering::Acquire);
        let at = queue.ready.iter().position(has_left)?;
        let thread = queue.ready.remove(at);
        self.nr_ready.store(queue.ready.len(), Ordering::SeqCst);
        thread
    }
}

impl<P: Platform> Scheduler<P> {
    /// Makes a thread ready that is in no queue.
    pub(super) fn enqueue(&self, thread: &'static Thread<P>) {
        let target = self.cpu_for(thread);
        let is_only = self.cpus.of(target).push(thread);
        if target != self.machine.cpu() {
            // It waits for an interrupt, or runs without an end of its slice.
            if is_only || self.is_idle(target) {
                self.machine.kick(target);
            }
        } else if is_only {
            self.program_timer(target);
        }
    }

    fn cpu_for(&self, thread: &Thread<P>) -> CpuId {
        let last = CpuId::new(thread.last_cpu.load(Ordering::Relaxed));
        if thread.on_cpu.load(Ordering::Acquire) || self.is_idle(last) {
            return last;
        }
        self.some_idle_cpu().unwrap_or(last)
    }

    pub(super) fn can_steal(&self, own: CpuId) -> bool {
        self.others(own).any(|cpu| self.cpus.of(cpu).nr_ready.load(Ordering::Relaxed) > 1)
    }

    fn others(&self, own: CpuId) -> impl Iterator<Item = CpuId> {
        (0..self.machine.nr_cpus()).map(CpuId::new).filter(move |cpu| *cpu != own)
    }

    #[cold]
    fn steal(&self, own: CpuId) -> Option<&'static Thread<P>> {
        let busy = |cpu: &CpuId| self.cpus.of(*cpu).has_ready();
        self.others(own).filter(busy).find_map(|cpu| self.cpus.of(cpu).steal())
    }

    /// Runs another thread. Returns when somebody runs the caller again; the caller has put itself
    /// where somebody will find it, or is the idle thread.
    pub(super) fn switch_away(&self) {
        lock_level::assert_may_sleep();
        let own = self.machine.cpu();
        let cpu = self.cpus.of(own);
        let (me, next) = cpu.turn();
        let next = next.unwrap_or_else(|| {
            let next = self.steal(own).unwrap_or_else(|| cpu.idle());
            cpu.turn_to(me, next);
            next
        });
        if core::ptr::eq(next, me) {
            // Nobody has left; the next turn says anew who does.
            return;
        }
        me.leave_user(self.machine);
        cpu.current.store(next.number(), Ordering::Relaxed);
        next.on_cpu.store(true, Ordering::Relaxed);
        next.last_cpu.store(own.get(), Ordering::Relaxed);
        self.machine.switch(&me.context, &next.context);
        self.finish_switch(me);
    }

    /// The first thing that `me`, a thread, does when it runs again, maybe on another CPU.
    pub(super) fn finish_switch(&self, me: &'static Thread<P>) {
        let own = self.machine.cpu();
        let cpu = self.cpus.of(own);
        let previous = cpu.queue.lock().previous.take();
        if let Some(system) = self.memory.get() {
            system.note_switch();
        }
        me.enter_user(self);
        if let Some(previous) = previous {
            // Only now: its address space is not this CPU's any more, so the thread may go and end
            // elsewhere, and its stack has been left.
            previous.on_cpu.store(false, Ordering::Release);
        }
        cpu.slice_end.store(self.machine.now_ns() + SLICE_NS, Ordering::Relaxed);
        self.program_timer(own);
    }
}
