// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a kernel thread: its stack, and the user registers that it keeps while another
//! thread runs.

use alloc::boxed::Box;
use alloc::sync::Arc;

use base::lock_level;
use base::percpu::CpuId;
use base::sync::SpinLock;
use base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use hal::thread::OutOfKernelMemory;
use hal::{FpState, Platform};
use mm::Mm;

use super::{Scheduler, TagWish};

type Job = Box<dyn FnOnce() + Send>;

/// A kernel thread.
pub struct Thread<P: Platform> {
    /// Its number among kernel threads, counted from 1.
    number: usize,
    pub(super) context: P::Context,
    /// Some CPU is on its stack.
    pub(super) on_cpu: AtomicBool,
    /// The CPU that it runs on or ran on last.
    pub(super) last_cpu: AtomicUsize,
    /// What it sleeps for, or did last.
    pub(super) channel: AtomicU64,
    /// Ends interruptible sleeps: a signal is pending.
    pub(super) interrupt: AtomicBool,
    job: SpinLock<Option<Job>, lock_level::Task>,
    /// The registers of `user` are in the CPU that it runs on.
    is_loaded: AtomicBool,
    user: SpinLock<UserState<P>, lock_level::Task>,
}

/// The part of a user thread that is in registers while it runs, and its address space.
pub struct UserState<P: Platform> {
    /// The address space; `None` for a thread without user code.
    pub mm: Option<Arc<Mm<P>>>,
    /// FP/SIMD registers while it does not run.
    pub fp: Box<FpState>,
    /// TPIDR_EL0 while it does not run.
    pub tls: u64,
    /// How its tags are to be checked.
    pub tags: TagWish,
}

impl<P: Platform> Default for UserState<P> {
    fn default() -> Self {
        Self { mm: None, fp: Box::default(), tls: 0, tags: TagWish::default() }
    }
}

impl<P: Platform> Thread<P> {
    pub(super) fn leak(number: usize, context: P::Context, cpu: CpuId) -> &'static Self {
        Box::leak(Box::new(Self {
            number,
            context,
            on_cpu: AtomicBool::new(false),
            last_cpu: AtomicUsize::new(cpu.get()),
            channel: AtomicU64::new(0),
            interrupt: AtomicBool::new(false),
            job: SpinLock::new(None),
            is_loaded: AtomicBool::new(false),
            user: SpinLock::new(UserState::default()),
        }))
    }

    /// Returns its number among kernel threads. User threads use them one after the other.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Calls `f` with the user state of a thread that does not run, or of the running one: its
    /// registers are then in the CPU, and those here are old.
    pub fn with_user<R>(&self, f: impl FnOnce(&mut UserState<P>) -> R) -> R {
        f(&mut self.user.lock())
    }

    /// Tells whether interruptible sleeps of the thread end at once.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::SeqCst)
    }

    /// Says whether interruptible sleeps of the thread end at once; see [`Scheduler::interrupt`].
    pub fn set_interrupted(&self, whether: bool) {
        self.interrupt.store(whether, Ordering::SeqCst);
    }

    /// Saves what the next thread overwrites.
    pub(super) fn leave_user(&self, machine: &P) {
        let mut user = self.user.lock();
        // A thread that is free may have been given the user state of its next job already, none of
        // which is in this CPU.
        if self.is_loaded.swap(false, Ordering::Relaxed) && user.mm.is_some() {
            machine.save_fp(&mut user.fp);
            user.tls = machine.save_tls();
        }
    }

    /// Loads what user code needs into this CPU, which has its own idea of checking tags.
    pub(super) fn enter_user(&self, sched: &Scheduler<P>) {
        let (machine, preferences) = (sched.machine, sched.tag_preferences());
        let user = self.user.lock();
        self.is_loaded.store(true, Ordering::Relaxed);
        match &user.mm {
            Some(mm) => {
                mm.activate();
                machine.load_fp(&user.fp);
                machine.load_tls(user.tls);
                machine.load_tag_control(user.tags.on(preferences.of(machine.cpu())));
            }
            None => match sched.memory.get() {
                Some(system) => system.deactivate(),
                None => machine.deactivate(),
            },
        }
    }
}

impl<P: Platform> Scheduler<P> {
    /// Gives the running thread another user state, and loads it. Returns the old one.
    pub fn replace_user(&self, user: UserState<P>) -> UserState<P> {
        let me = self.current();
        let old = me.with_user(|own| core::mem::replace(own, user));
        me.enter_user(self);
        old
    }

    /// Runs `job` in a thread of its own, with the user state given. `job` returns when it is over,
    /// and the address space is taken out of the user state before.
    ///
    /// # Errors
    ///
    /// [`OutOfKernelMemory`] when there is no memory for a stack.
    pub fn spawn(
        &'static self,
        user: UserState<P>,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), OutOfKernelMemory> {
        let free = self.free.lock().pop();
        let thread = match free {
            Some(thread) => thread,
            None => self.new_thread()?,
        };
        *thread.user.lock() = user;
        thread.interrupt.store(false, Ordering::SeqCst);
        *thread.job.lock() = Some(Box::new(job));
        self.enqueue(thread);
        Ok(())
    }

    fn new_thread(&'static self) -> Result<&'static Thread<P>, OutOfKernelMemory> {
        let context = self.machine.new_context(Box::new(move || self.work()))?;
        Ok(Thread::leak(self.count_thread(), context, self.machine.cpu()))
    }

    /// The life of a thread: one job after the other.
    fn work(&'static self) -> ! {
        let me = self.current();
        self.finish_switch(me);
        loop {
            let job = me.job.lock().take();
            if let Some(job) = job {
                job();
            }
            // Its address space is gone. From here on the user state is the next job's, which may be
            // given to it at once.
            me.is_loaded.store(false, Ordering::Relaxed);
            // Free from here on; whoever takes it before it has left enqueues it on this CPU.
            self.free.lock().push(me);
            self.switch_away();
            // It is its own successor when it was enqueued before it had left.
            if !me.is_loaded.load(Ordering::Relaxed) {
                me.enter_user(self);
            }
        }
    }
}
