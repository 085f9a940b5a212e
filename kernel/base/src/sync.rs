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

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::lock_level::{self, LockLevel};

#[cfg(not(shuttle))]
#[path = "sync/spin_backend.rs"]
mod backend;
#[cfg(shuttle)]
#[path = "sync/shuttle_backend.rs"]
mod backend;
#[cfg(all(any(feature = "contention", test), not(shuttle)))]
mod contention;
mod once;
#[cfg(all(feature = "stops", not(shuttle)))]
mod stops;

#[cfg(shuttle)]
pub use backend::take_stop;
pub use backend::{atomic, relax, schedule_point, stop_point};
#[cfg(all(feature = "contention", not(shuttle)))]
pub use contention::{Observer, observe};
pub use once::{OnceBox, OnceCell};
#[cfg(all(feature = "stops", not(shuttle)))]
pub use stops::Hold;

/// How locks are waited for: seen by an observer, in kernels that keep a trace and in this crate's tests.
#[cfg(all(any(feature = "contention", test), not(shuttle)))]
use contention as wait;
#[cfg(not(all(any(feature = "contention", test), not(shuttle))))]
#[expect(clippy::extra_unused_type_parameters, reason = "levels matter to who sees waits")]
mod wait {
    use super::backend::{self, Mutex, MutexGuard, ReadGuard, RwLock, WriteGuard};
    use crate::lock_level::LockLevel;

    #[inline(always)]
    pub fn lock<T, L: LockLevel>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        backend::lock(mutex)
    }

    #[inline(always)]
    pub fn read<T, L: LockLevel>(lock: &RwLock<T>) -> ReadGuard<'_, T> {
        backend::read(lock)
    }

    #[inline(always)]
    pub fn write<T, L: LockLevel>(lock: &RwLock<T>) -> WriteGuard<'_, T> {
        backend::write(lock)
    }

    /// A wait that nobody sees.
    pub struct SpinWait;

    /// Begins it.
    #[inline(always)]
    pub fn spin_wait<L: LockLevel>(_lock: usize) -> SpinWait {
        SpinWait
    }
}

/// Begins a wait for a lock that is not one of these, such as a bit in a frame's word. It is over when what
/// is returned is dropped.
pub use wait::spin_wait;

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
        SpinGuard { inner: wait::lock::<_, L>(&self.inner), _after: AfterUnlock(PhantomData) }
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
        SpinGuard { inner: wait::lock::<_, L>(&self.inner), _after: AfterUnlock(PhantomData) }
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
        RwReadGuard { inner: wait::read::<_, L>(&self.inner), _after: AfterUnlock(PhantomData) }
    }

    /// Waits until nobody holds the lock and takes it alone.
    ///
    /// # Panics
    ///
    /// With debug assertions, when the lock order forbids it.
    #[inline]
    pub fn write(&self) -> RwWriteGuard<'_, T, L> {
        lock_level::acquire::<L>(false);
        RwWriteGuard { inner: wait::write::<_, L>(&self.inner), _after: AfterUnlock(PhantomData) }
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

/// Wakes the CPUs that wait in [`relax`], after a store that they may be waiting for. Locks do
/// this themselves; a lock made of a bit in a larger word calls it after its releasing store.
#[inline(always)]
pub fn notify() {
    backend::notify();
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::lock_level::{Cluster, LockLevel, Lru};
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
        let (outer, inner) = (Cluster::RANK, Lru::RANK);
        assert_eq!(
            message,
            std::format!("lock order: Cluster ({outer}) taken under Lru ({inner})")
        );
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
