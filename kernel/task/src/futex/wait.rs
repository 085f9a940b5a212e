// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sleeps on a futex.

use alloc::sync::Arc;

use abi::Errno;
use base::VirtAddr;
use base::sync::atomic::{AtomicBool, Ordering};
use hal::{Platform, UserFault, WaitChannel};

use super::{Key, Queues, Waiter};
use crate::sched::Woken;
use crate::syscall::{Call, Outcome, restart};

impl<P: Platform> Call<'_, P> {
    /// Sleeps on the futex of argument 0 if its word is `value`.
    pub(super) fn futex_wait(
        &self,
        key: Key,
        value: u32,
        mask: u32,
        deadline: Option<u64>,
    ) -> Outcome {
        let waiter = Arc::new(Waiter { mask, woken: AtomicBool::new(false) });
        self.with_word(self.arg(0), |queues, word| {
            if word != value {
                return Err(Errno::EAGAIN);
            }
            queues.entry(key).or_default().push_back(Arc::clone(&waiter));
            Ok(0)
        })?;
        let channel = WaitChannel::of(&*waiter);
        let mut is_woken = || waiter.woken.load(Ordering::SeqCst);
        let woken = self.kernel.sched().sleep_interruptible(channel, deadline, &mut is_woken);
        // Whoever has woken it has taken it out; a wake-up that came meanwhile is not lost.
        if !self.leave_queues(&waiter) {
            return Ok(0);
        }
        match woken {
            Woken::Ready => Ok(0),
            Woken::TimedOut => Err(Errno::ETIMEDOUT),
            Woken::Interrupted => Err(deadline.map_or(restart::SYS, |at| self.resume_until(at))),
        }
    }

    /// Takes the waiter out of whatever queue it is in now; `false` when somebody has woken it.
    fn leave_queues(&self, waiter: &Arc<Waiter>) -> bool {
        let mut queues = self.kernel.futexes.queues.lock();
        if waiter.woken.load(Ordering::SeqCst) {
            return false;
        }
        queues.retain(|_, queue| {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            !queue.is_empty()
        });
        true
    }

    /// Calls `then` with the table locked and the word at `addr` as it is then.
    pub(super) fn with_word(
        &self,
        addr: u64,
        mut then: impl FnMut(&mut Queues, u32) -> Outcome,
    ) -> Outcome {
        loop {
            let mut queues = self.kernel.futexes.queues.lock();
            match self.kernel.machine().load_user_u32(VirtAddr::new(addr)) {
                Ok(word) => return then(&mut queues, word),
                Err(stop) => {
                    drop(queues);
                    self.resolve_word(&stop)?;
                }
            }
        }
    }

    pub(super) fn resolve_word(&self, stop: &UserFault) -> Result<(), Errno> {
        self.kernel.resolve(self.thread, &stop.fault).map_err(|_| Errno::EFAULT)
    }
}
