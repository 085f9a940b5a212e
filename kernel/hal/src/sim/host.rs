// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file chooses what the machine's threads and locks are made of: the host's, or shuttle's.
//!
//! Two kinds of lock serve the machine, and neither is part of the kernel's lock order.
//! [`State`] guards the insides of a device, is never held across a schedule point and is the
//! host's lock under the model checker too. [`Mutex`] and [`Condvar`] are for simulated threads
//! that block; the model checker must see those.

use std::sync::{MutexGuard as StateGuard, PoisonError};

#[cfg(shuttle)]
pub(super) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread, thread_local,
};
#[cfg(not(shuttle))]
pub(super) use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread, thread_local,
};

/// A lock around the inside of a simulated device.
#[derive(Debug, Default)]
pub(super) struct State<T>(std::sync::Mutex<T>);

impl<T> State<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Takes the lock. What poisoned it is a judge's panic in another thread, which is the test's
    /// result; a second one about the lock would only hide it.
    pub(super) fn lock(&self) -> StateGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lock of blocking threads, whoever panicked while holding it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks on `condvar` until it is notified, or for no reason.
pub(super) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}
