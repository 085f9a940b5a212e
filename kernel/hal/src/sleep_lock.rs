// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file builds sleeping locks from a lock that never waits and the machine's [`Wait`].
//!
//! A holder may sleep, do block I/O and take any spin lock. Waiters sleep on the lock's address.
//! A waiting writer keeps new readers out, so a reader must not take the same lock twice.

use core::ops::{Deref, DerefMut};

use base::lock_level;
use base::sync::atomic::{AtomicU32, Ordering, fence};
use base::sync::{TryReadGuard, TryRwLock, TryWriteGuard};

use crate::trace::{Span, Trace, TraceKind};
use crate::wait::{Wait, WaitChannel};

/// How a lock is wanted, for the trace.
#[derive(Clone, Copy)]
enum Sharing {
    Shared = 0,
    Alone = 1,
}

/// A readers-writer lock whose waiters sleep.
pub struct RwSleepLock<T> {
    cell: TryRwLock<T>,
    /// Sleepers of either kind; an unlock wakes only when it is not 0.
    sleepers: AtomicU32,
    /// Writers among them; not 0 keeps new readers out.
    writers: AtomicU32,
}

impl<T> RwSleepLock<T> {
    /// Builds an unlocked lock.
    pub fn new(value: T) -> Self {
        Self {
            cell: TryRwLock::new(value),
            sleepers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
        }
    }

    /// Shares the lock; sleeps while a writer holds it or waits for it.
    #[inline]
    pub fn read<'a, W: Wait + Trace>(&'a self, machine: &'a W) -> SleepReadGuard<'a, T, W> {
        lock_level::assert_may_sleep();
        let inner = match self.try_read_fair() {
            Some(inner) => inner,
            None => {
                self.wake_sleepers(machine);
                let _waits = self.span(machine, Sharing::Shared);
                self.sleep_for(machine, || self.try_read_fair())
            }
        };
        SleepReadGuard { inner, _wake: WakeOnDrop { sleepers: &self.sleepers, machine } }
    }

    /// Takes the lock alone; sleeps while anybody holds it.
    #[inline]
    pub fn write<'a, W: Wait + Trace>(&'a self, machine: &'a W) -> SleepWriteGuard<'a, T, W> {
        lock_level::assert_may_sleep();
        let inner = match self.cell.try_write() {
            Some(inner) => inner,
            None => {
                let _waits = self.span(machine, Sharing::Alone);
                self.writers.fetch_add(1, Ordering::SeqCst);
                let inner = self.sleep_for(machine, || self.cell.try_write());
                self.writers.fetch_sub(1, Ordering::SeqCst);
                inner
            }
        };
        SleepWriteGuard { inner, _wake: WakeOnDrop { sleepers: &self.sleepers, machine } }
    }

    /// Shares the lock if that takes no waiting.
    #[inline]
    pub fn try_read<'a, W: Wait>(&'a self, machine: &'a W) -> Option<SleepReadGuard<'a, T, W>> {
        let Some(inner) = self.try_read_fair() else {
            self.wake_sleepers(machine);
            return None;
        };
        Some(SleepReadGuard { inner, _wake: WakeOnDrop { sleepers: &self.sleepers, machine } })
    }

    /// Returns the value; no lock is needed with exclusive access.
    pub fn get_mut(&mut self) -> &mut T {
        self.cell.get_mut()
    }

    /// Lets sleepers try again after a failed attempt to share the lock. The attempt was counted as a
    /// reader for a moment (`spin` adds first and looks then); a writer that tried in that moment
    /// found a lock taken that nobody will unlock. Attempts of sleepers need not do this: they are
    /// made one at a time, with the channel locked.
    #[cold]
    fn wake_sleepers<W: Wait>(&self, machine: &W) {
        drop(WakeOnDrop { sleepers: &self.sleepers, machine });
    }

    fn try_read_fair(&self) -> Option<TryReadGuard<'_, T>> {
        if self.writers.load(Ordering::Relaxed) != 0 {
            return None;
        }
        self.cell.try_read()
    }

    fn span<'m, W: Trace>(&self, machine: &'m W, sharing: Sharing) -> Span<'m, W> {
        machine.span(TraceKind::LockWait, || [WaitChannel::of(&self.sleepers).0, sharing as u64])
    }

    #[cold]
    fn sleep_for<G, W: Wait>(&self, machine: &W, mut attempt: impl FnMut() -> Option<G>) -> G {
        let mut taken = None;
        // Counted before the first attempt under the channel's lock: an unlock either lets that
        // attempt succeed or sees the count (the fence in WakeOnDrop pairs with this).
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        machine.sleep_until(WaitChannel::of(&self.sleepers), &mut || {
            taken = attempt();
            taken.is_some()
        });
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        taken.expect("sleep_until returns when the attempt has succeeded")
    }
}

/// A mutual-exclusion lock whose waiters sleep.
pub struct SleepLock<T> {
    inner: RwSleepLock<T>,
}

impl<T> SleepLock<T> {
    /// Builds an unlocked lock.
    pub fn new(value: T) -> Self {
        Self { inner: RwSleepLock::new(value) }
    }

    /// Takes the lock; sleeps while it is held.
    #[inline]
    pub fn lock<'a, W: Wait + Trace>(&'a self, machine: &'a W) -> SleepWriteGuard<'a, T, W> {
        self.inner.write(machine)
    }
}

/// Shows that a [`RwSleepLock`] is shared. Fields are dropped in order: unlock, then wake.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SleepReadGuard<'a, T, W: Wait> {
    inner: TryReadGuard<'a, T>,
    _wake: WakeOnDrop<'a, W>,
}

/// Shows that a [`RwSleepLock`] is held alone.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SleepWriteGuard<'a, T, W: Wait> {
    inner: TryWriteGuard<'a, T>,
    _wake: WakeOnDrop<'a, W>,
}

struct WakeOnDrop<'a, W: Wait> {
    sleepers: &'a AtomicU32,
    machine: &'a W,
}

impl<W: Wait> Drop for WakeOnDrop<'_, W> {
    #[inline]
    fn drop(&mut self) {
        // The unlock just done must be visible before the count is read, or a sleeper that counted
        // itself in between would see the lock taken and be missed here.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.machine.wake_all(WaitChannel::of(self.sleepers));
        }
    }
}

impl<T, W: Wait> Deref for SleepReadGuard<'_, T, W> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, W: Wait> Deref for SleepWriteGuard<'_, T, W> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, W: Wait> DerefMut for SleepWriteGuard<'_, T, W> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
