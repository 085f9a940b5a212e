// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what stands behind the locks in the model checker, shuttle: every lock and every
//! protocol atomic is a point where the seed may switch threads.

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
