// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is where every other crate gets its locks and protocol atomics from.
//!
//! Three backends stand behind one set of names, and the choice is made here only:
//!
//! - on the machine, the `spin` crate with a relax step of ours (see [`relax`]);
//! - in host tests, the same locks with the host's yield as relax step;
//! - under `--cfg shuttle`, shuttle's locks and atomics, so that a seed decides every interleaving.
//!
//! Spin locks are not masked against interrupts: Granule takes interrupts only at user level, when
//! idle and in explicit windows (`docs/adr/0002-interrupts-off-in-the-kernel.md`), so a lock holder
//! is never interrupted.
//!
//! # Waiting
//!
//! `core::hint::spin_loop` is an ISB on aarch64 and never gives the processor away under
//! `-icount`; a waiter here parks in WFE instead. An unlock is a plain store-release, which wakes
//! nobody, so the unlocking CPU sends an event, but only when some CPU waits at all: [`WAITERS`]
//! keeps the uncontended unlock at one extra load. The load may be satisfied before the store is
//! visible, so an event can be missed; the timer's event stream, which `arch` switches on
//! (CNTKCTL_EL1.EVNTEN, Arm ARM D12.2.4), bounds that wait.

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::lock_level::{self, LockLevel};

#[cfg(shuttle)]
pub use backend::take_stop;
pub use backend::{atomic, relax, schedule_point, stop_point};

/// A mutual-exclusion lock whose waiters park in WFE. Never held across a sleep.
pub struct SpinLock<T, L: LockLevel> {
    inner: backend::Mutex<T>,
    level: PhantomData<L>,
}

/// Shows that a [`SpinLock`] is held; dropping it unlocks.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SpinGuard<'a, T, L: LockLevel> {
    inner: backend::MutexGuard<'a, T>,
    _after: AfterUnlock<L>,
}

impl<T, L: LockLevel> SpinLock<T, L> {
    /// Builds an unlocked lock.
    #[cfg(not(shuttle))]
    pub const fn new(value: T) -> Self {
        Self { inner: backend::Mutex::new(value), level: PhantomData }
    }

    /// Builds an unlocked lock.
    #[cfg(shuttle)]
    pub fn new(value: T) -> Self {
        Self { inner: backend::Mutex::new(value), level: PhantomData }
    }

    /// Waits for the lock and takes it.
    ///
    /// # Panics
    ///
    /// With debug assertions, when the lock order forbids it.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T, L> {
        lock_level::acquire::<L>(false);
        SpinGuard { inner: backend::lock(&self.inner), _after: AfterUnlock(PhantomData) }
    }

    /// Waits for the lock while another of the same level is held. The caller's own rule says
    /// which of the two comes first.
    ///
    /// # Panics
    ///
    /// With debug assertions, when the lock order forbids it.
    #[inline]
    pub fn lock_nested(&self) -> SpinGuard<'_, T, L> {
        lock_level::acquire::<L>(true);
        SpinGuard { inner: backend::lock(&self.inner), _after: AfterUnlock(PhantomData) }
    }

    /// Takes the lock if nobody holds it. Never waits, so any lock may be held meanwhile.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T, L>> {
        let inner = backend::try_lock(&self.inner)?;
        lock_level::acquired_without_waiting::<L>();
        Some(SpinGuard { inner, _after: AfterUnlock(PhantomData) })
    }

    /// Returns the value; no lock is needed with exclusive access.
    pub fn get_mut(&mut self) -> &mut T {
        backend::get_mut(&mut self.inner)
    }
}

impl<T, L: LockLevel> Deref for SpinGuard<'_, T, L> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, L: LockLevel> DerefMut for SpinGuard<'_, T, L> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// What is due once the lock is free. A guard declares it after its inner guard, and fields are
/// dropped in that order.
struct AfterUnlock<L: LockLevel>(PhantomData<L>);

impl<L: LockLevel> Drop for AfterUnlock<L> {
    #[inline(always)]
    fn drop(&mut self) {
        lock_level::release::<L>();
        backend::notify();
    }
}

/// A readers-writer lock whose waiters park in WFE. Never held across a sleep.
pub struct RwSpinLock<T, L: LockLevel> {
    inner: backend::RwLock<T>,
    level: PhantomData<L>,
}

/// Shows that a [`RwSpinLock`] is held for reading.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwReadGuard<'a, T, L: LockLevel> {
    inner: backend::ReadGuard<'a, T>,
    _after: AfterUnlock<L>,
}

/// Shows that a [`RwSpinLock`] is held for writing.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwWriteGuard<'a, T, L: LockLevel> {
    inner: backend::WriteGuard<'a, T>,
    _after: AfterUnlock<L>,
}

impl<T, L: LockLevel> RwSpinLock<T, L> {
    /// Builds an unlocked lock.
    pub fn new(value: T) -> Self {
        Self { inner: backend::RwLock::new(value), level: PhantomData }
    }

    /// Waits until no writer holds the lock and shares it.
    ///
    /// # Panics
    ///
    /// With debug assertions, when the lock order forbids it.
    #[inline]
    pub fn read(&self) -> RwReadGuard<'_, T, L> {
        lock_level::acquire::<L>(false);
        RwReadGuard { inner: backend::read(&self.inner), _after: AfterUnlock(PhantomData) }
    }

    /// Waits until nobody holds the lock and takes it alone.
    ///
    /// # Panics
    ///
    /// With debug assertions, when the lock order forbids it.
    #[inline]
    pub fn write(&self) -> RwWriteGuard<'_, T, L> {
        lock_level::acquire::<L>(false);
        RwWriteGuard { inner: backend::write(&self.inner), _after: AfterUnlock(PhantomData) }
    }
}

impl<T, L: LockLevel> Deref for RwReadGuard<'_, T, L> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, L: LockLevel> Deref for RwWriteGuard<'_, T, L> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, L: LockLevel> DerefMut for RwWriteGuard<'_, T, L> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A readers-writer lock that never waits: the sleeping locks of `hal` put their waiting around it.
///
/// It takes no part in the lock order of spin locks, because its holder may sleep.
pub struct TryRwLock<T> {
    inner: backend::RwLock<T>,
}

/// Shows that a [`TryRwLock`] is shared.
pub type TryReadGuard<'a, T> = backend::ReadGuard<'a, T>;
/// Shows that a [`TryRwLock`] is held alone.
pub type TryWriteGuard<'a, T> = backend::WriteGuard<'a, T>;

impl<T> TryRwLock<T> {
    /// Builds an unlocked lock.
    pub fn new(value: T) -> Self {
        Self { inner: backend::RwLock::new(value) }
    }

    /// Shares the lock unless a writer holds it.
    #[inline]
    pub fn try_read(&self) -> Option<TryReadGuard<'_, T>> {
        backend::try_read(&self.inner)
    }

    /// Takes the lock alone unless somebody holds it.
    #[inline]
    pub fn try_write(&self) -> Option<TryWriteGuard<'_, T>> {
        backend::try_write(&self.inner)
    }

    /// Returns the value; no lock is needed with exclusive access.
    pub fn get_mut(&mut self) -> &mut T {
        backend::rw_get_mut(&mut self.inner)
    }
}

/// A value that is set once and read by everybody afterwards.
pub struct OnceCell<T>(spin::once::Once<T, backend::EventRelax>);

impl<T> OnceCell<T> {
    /// Builds an empty cell.
    pub const fn new() -> Self {
        Self(spin::once::Once::new())
    }

    /// Returns the value once it is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value.
    ///
    /// # Panics
    ///
    /// When it is set already.
    pub fn set(&self, value: T) {
        assert!(self.set_once(value), "once cell: set twice");
    }

    /// Sets the value unless there is one, and tells whether it was set.
    pub fn set_once(&self, value: T) -> bool {
        let mut fresh = false;
        self.0.call_once(|| {
            fresh = true;
            value
        });
        fresh
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Like [`OnceCell`], in a box: a pointer that is loaded and compared, for what is read all the time.
pub struct OnceBox<T>(once_cell::race::OnceBox<T>);

impl<T> OnceBox<T> {
    /// Builds an empty cell.
    pub const fn new() -> Self {
        Self(once_cell::race::OnceBox::new())
    }

    /// Returns the value once it is set.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value.
    ///
    /// # Panics
    ///
    /// When it is set already.
    pub fn set(&self, value: Box<T>) {
        assert!(self.0.set(value).is_ok(), "once box: set twice");
    }
}

impl<T> Default for OnceBox<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Wakes the CPUs that wait in [`relax`], after a store that they may be waiting for. Locks do
/// this themselves; a lock made of a bit in a larger word calls it after its releasing store.
#[inline(always)]
pub fn notify() {
    backend::notify();
}

#[cfg(not(shuttle))]
mod backend {
    //! `spin`, with the relax step of this kernel.

    pub use core::sync::atomic;

    pub type Mutex<T> = spin::mutex::SpinMutex<T, EventRelax>;
    pub type MutexGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T, EventRelax>;
    pub type RwLock<T> = spin::rwlock::RwLock<T, EventRelax>;
    pub type ReadGuard<'a, T> = spin::rwlock::RwLockReadGuard<'a, T, EventRelax>;
    pub type WriteGuard<'a, T> = spin::rwlock::RwLockWriteGuard<'a, T, EventRelax>;

    /// The relax step handed to `spin`, in place of its default, which is an ISB.
    pub struct EventRelax;

    impl spin::RelaxStrategy for EventRelax {
        #[inline(always)]
        fn relax() {
            relax();
        }
    }

    #[inline(always)]
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    #[inline(always)]
    pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock()
    }

    #[inline(always)]
    pub fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
        mutex.get_mut()
    }

    #[inline(always)]
    pub fn read<T>(lock: &RwLock<T>) -> ReadGuard<'_, T> {
        lock.read()
    }

    #[inline(always)]
    pub fn write<T>(lock: &RwLock<T>) -> WriteGuard<'_, T> {
        lock.write()
    }

    #[inline(always)]
    pub fn try_read<T>(lock: &RwLock<T>) -> Option<ReadGuard<'_, T>> {
        lock.try_read()
    }

    #[inline(always)]
    pub fn try_write<T>(lock: &RwLock<T>) -> Option<WriteGuard<'_, T>> {
        lock.try_write()
    }

    #[inline(always)]
    pub fn rw_get_mut<T>(lock: &mut RwLock<T>) -> &mut T {
        lock.get_mut()
    }

    /// Marks a place where the schedule may switch; nothing outside the model checker.
    #[inline(always)]
    pub fn schedule_point() {}

    /// Names a place where a schedule may be told to go on with another thread; nothing outside the
    /// model checker.
    #[inline(always)]
    pub fn stop_point(_name: &'static str) {}

    #[cfg(target_os = "none")]
    mod step {
        use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

        /// CPUs inside [`relax`] right now. An unlock sends an event only when it is not 0.
        static WAITERS: AtomicU32 = AtomicU32::new(0);

        /// Parks this CPU until an event: one step of a wait for another CPU.
        #[cold]
        pub fn relax() {
            WAITERS.fetch_add(1, Relaxed);
            aarch64_cpu::asm::wfe();
            WAITERS.fetch_sub(1, Relaxed);
        }

        /// Sends an event when some CPU waits for one.
        #[inline(always)]
        pub fn notify() {
            if WAITERS.load(Relaxed) != 0 {
                // The releasing store must be visible to the woken CPU's next load: SEV is not
                // ordered after it by itself (Arm ARM B2.3.12, DSB ISHST orders the store).
                aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::ISHST);
                aarch64_cpu::asm::sev();
            }
        }
    }

    #[cfg(not(target_os = "none"))]
    mod step {
        /// Gives the host's processor away: one step of a wait for another thread.
        pub fn relax() {
            std::thread::yield_now();
        }

        /// Does nothing: host waiters do not sleep.
        #[inline(always)]
        pub fn notify() {}
    }

    pub use step::{notify, relax};
}

#[cfg(shuttle)]
mod backend {
    //! shuttle: every lock and every protocol atomic is a point where the seed may switch threads.

    pub use shuttle::sync::{Mutex, MutexGuard, RwLock, atomic};

    pub type ReadGuard<'a, T> = shuttle::sync::RwLockReadGuard<'a, T>;
    pub type WriteGuard<'a, T> = shuttle::sync::RwLockWriteGuard<'a, T>;

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("a thread panicked while it held this lock")
    }

    pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }

    pub fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
        mutex.get_mut().expect("a thread panicked while it held this lock")
    }

    pub fn read<T>(lock: &RwLock<T>) -> ReadGuard<'_, T> {
        lock.read().expect("a thread panicked while it held this lock")
    }

    pub fn write<T>(lock: &RwLock<T>) -> WriteGuard<'_, T> {
        lock.write().expect("a thread panicked while it held this lock")
    }

    pub fn try_read<T>(lock: &RwLock<T>) -> Option<ReadGuard<'_, T>> {
        lock.try_read().ok()
    }

    pub fn try_write<T>(lock: &RwLock<T>) -> Option<WriteGuard<'_, T>> {
        lock.try_write().ok()
    }

    pub fn rw_get_mut<T>(lock: &mut RwLock<T>) -> &mut T {
        lock.get_mut().expect("a thread panicked while it held this lock")
    }

    /// The relax step handed to `spin` for what is set once.
    pub struct EventRelax;

    impl spin::RelaxStrategy for EventRelax {
        fn relax() {
            relax();
        }
    }

    /// Gives way: one step of a wait for another thread.
    pub fn relax() {
        shuttle::thread::yield_now();
    }

    /// Does nothing: shuttle's waiters are woken by their lock.
    pub fn notify() {}

    /// Marks a place where the schedule may switch although no lock or atomic is touched: a memory
    /// access of a simulated CPU, for one.
    pub fn schedule_point() {
        // Any shuttle atomic is such a place. `yield_now` is not: it asks to be passed over.
        let _ = atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
    }

    std::thread_local! {
        /// The stop point that the running thread is at.
        static STOP: core::cell::Cell<Option<&'static str>> = const { core::cell::Cell::new(None) };
    }

    /// Names a place where a schedule may be told to go on with another thread.
    pub fn stop_point(name: &'static str) {
        STOP.set(Some(name));
        schedule_point();
        STOP.set(None);
    }

    /// Returns the stop point that the running thread has come to, once: for schedulers.
    pub fn take_stop() -> Option<&'static str> {
        STOP.take()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::lock_level::{Cluster, Lru};
    use std::sync::Arc;

    #[test]
    fn lock_excludes_and_wakes_waiters() {
        let lock = Arc::new(SpinLock::<u64, Lru>::new(0));
        let add = |n| {
            let lock = Arc::clone(&lock);
            std::thread::spawn(move || (0..n).for_each(|_| *lock.lock() += 1))
        };
        let threads = [add(10_000), add(10_000), add(10_000)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*lock.lock(), 30_000);
    }

    #[test]
    #[cfg(debug_assertions)]
    fn taking_an_outer_lock_under_an_inner_one_panics() {
        let outer = SpinLock::<(), Cluster>::new(());
        let inner = SpinLock::<(), Lru>::new(());
        let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            let _inner = inner.lock();
            let _outer = outer.lock();
        }));
        let message = *caught.unwrap_err().downcast::<std::string::String>().unwrap();
        assert_eq!(message, "lock order: Cluster (15) taken under Lru (19)");
    }

    #[test]
    #[cfg(debug_assertions)]
    fn sleeping_with_a_spin_lock_held_panics() {
        let lock = SpinLock::<(), Lru>::new(());
        let guard = lock.lock();
        assert!(std::panic::catch_unwind(lock_level::assert_may_sleep).is_err());
        drop(guard);
        lock_level::assert_may_sleep();
    }
}
