// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what stands behind the locks on the machine and in host tests: `spin`, with the relax
//! step of this kernel.

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
/// model checker and kernels for experiments.
#[cfg(not(feature = "stops"))]
#[inline(always)]
pub fn stop_point(_name: &'static str) {}

#[cfg(feature = "stops")]
pub use super::stops::come_to as stop_point;

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
