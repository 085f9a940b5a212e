// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells an observer how long a CPU has waited for a spin lock, and for which. Only kernels
//! that keep a trace have it: in all others a lock is one exchange and a loop.

use core::marker::PhantomData;

use super::{OnceCell, backend};
use crate::lock_level::LockLevel;

/// Who is told.
#[derive(Clone, Copy)]
pub struct Observer {
    /// Reads the clock.
    pub now_ns: fn() -> u64,
    /// Is called at the end of a wait with its begin, the lock's address or frame, and the rank of its
    /// level. The lock, and others, may be held: it takes none.
    pub waited: fn(start_ns: u64, lock: usize, rank: u8),
}

static OBSERVER: OnceCell<Observer> = OnceCell::new();

/// Tells `observer` of every wait from now on. Only the first one who asks is told.
pub fn observe(observer: Observer) {
    OBSERVER.set_once(observer);
}

/// A wait for a lock of level `L`, over when this is dropped.
#[must_use = "the wait is over as soon as this is dropped"]
pub struct SpinWait<L: LockLevel> {
    lock: usize,
    start_ns: u64,
    level: PhantomData<L>,
}

/// Begins a wait for a lock that somebody else has.
#[cold]
pub fn spin_wait<L: LockLevel>(lock: usize) -> SpinWait<L> {
    let start_ns = OBSERVER.get().map_or(0, |observer| (observer.now_ns)());
    SpinWait { lock, start_ns, level: PhantomData }
}

impl<L: LockLevel> Drop for SpinWait<L> {
    fn drop(&mut self) {
        if let Some(observer) = OBSERVER.get() {
            (observer.waited)(self.start_ns, self.lock, L::RANK);
        }
    }
}

fn address<T>(lock: &T) -> usize {
    core::ptr::from_ref(lock).addr()
}

/// Takes a lock; a wait for it is seen.
#[inline]
pub fn lock<T, L: LockLevel>(mutex: &backend::Mutex<T>) -> backend::MutexGuard<'_, T> {
    backend::try_lock(mutex).unwrap_or_else(|| {
        let _wait = spin_wait::<L>(address(mutex));
        backend::lock(mutex)
    })
}

/// Shares a lock; a wait for it is seen.
#[inline]
pub fn read<T, L: LockLevel>(lock: &backend::RwLock<T>) -> backend::ReadGuard<'_, T> {
    backend::try_read(lock).unwrap_or_else(|| {
        let _wait = spin_wait::<L>(address(lock));
        backend::read(lock)
    })
}

/// Takes a lock alone; a wait for it is seen.
#[inline]
pub fn write<T, L: LockLevel>(lock: &backend::RwLock<T>) -> backend::WriteGuard<'_, T> {
    backend::try_write(lock).unwrap_or_else(|| {
        let _wait = spin_wait::<L>(address(lock));
        backend::write(lock)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock_level::{Cluster, Lru};
    use crate::sync::{RwSpinLock, SpinLock};
    use core::cell::Cell;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::vec::Vec;

    /// How many threads have found their lock taken.
    static NR_WAITING: AtomicU32 = AtomicU32::new(0);
    static SEEN: Mutex<Vec<(u64, usize, u8)>> = Mutex::new(Vec::new());

    std::thread_local! {
        static IS_TOLD: Cell<bool> = const { Cell::new(false) };
    }

    /// Threads of other tests wait for locks too, and are not told of.
    fn now_ns() -> u64 {
        if IS_TOLD.get() {
            NR_WAITING.fetch_add(1, Ordering::SeqCst);
        }
        7
    }

    fn waited(start_ns: u64, lock: usize, rank: u8) {
        if IS_TOLD.get() {
            SEEN.lock().unwrap().push((start_ns, lock, rank));
        }
    }

    /// Holds a lock until somebody waits for it.
    fn held_until_wanted<G>(hold: impl FnOnce() -> G, want: impl FnOnce() + Send) {
        let nr_before = NR_WAITING.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            let guard = hold();
            scope.spawn(|| {
                IS_TOLD.set(true);
                want();
            });
            while NR_WAITING.load(Ordering::SeqCst) == nr_before {
                std::thread::yield_now();
            }
            drop(guard);
        });
    }

    #[test]
    fn waits_are_told_with_lock_and_level_and_nothing_else_is() {
        observe(Observer { now_ns, waited });
        let (one, two) = (SpinLock::<(), Lru>::new(()), RwSpinLock::<(), Cluster>::new(()));
        IS_TOLD.set(true);
        drop(one.lock());
        drop(two.read());
        drop(two.write());
        assert_eq!(*SEEN.lock().unwrap(), [], "nobody has waited");
        held_until_wanted(|| one.lock(), || drop(one.lock()));
        held_until_wanted(|| one.lock(), || drop(one.lock_nested()));
        held_until_wanted(|| two.write(), || drop(two.read()));
        held_until_wanted(|| two.read(), || drop(two.write()));
        let lru = (7, address(&one.inner), Lru::RANK);
        let cluster = (7, address(&two.inner), Cluster::RANK);
        assert_eq!(*SEEN.lock().unwrap(), [lru, lru, cluster, cluster]);
    }
}
