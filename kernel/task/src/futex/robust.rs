// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells user code that a thread has gone: `clear_tid` and the list of robust futexes.
//!
//! The list is user memory: it may be torn, endless or nonsense. The walk stops at the first thing
//! that cannot be read, and after so many entries.

use alloc::sync::Arc;

use abi::futex::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT,
    RobustListHead,
};
use base::VirtAddr;
use base::sync::atomic::Ordering;
use hal::{Platform, UserRegs};

use crate::kernel::Kernel;
use crate::process::Thread;
use crate::syscall::Call;

/// Tells user code that waits for `thread`, which runs this.
pub(crate) fn thread_leaves<P: Platform>(kernel: &'static Kernel<P>, thread: &Arc<Thread<P>>) {
    let mut regs = UserRegs::default();
    let call = Call { kernel, thread, number: 0, regs: &mut regs };
    let robust_list = thread.robust_list.swap(0, Ordering::Relaxed);
    if robust_list != 0 {
        let _ = call.release_robust_list(robust_list);
    }
    let clear_tid = thread.clear_tid.swap(0, Ordering::Relaxed);
    if clear_tid != 0 && kernel.copy_out(thread, clear_tid, &[0; 4]).is_ok() {
        call.wake_at(clear_tid);
    }
}

impl<P: Platform> Call<'_, P> {
    fn wake_at(&self, addr: u64) {
        // Who waits may use either name.
        for is_private in [true, false] {
            if let Ok(key) = self.futex_key(addr, is_private) {
                self.kernel.futex_wake(key, 1, FUTEX_BITSET_MATCH_ANY);
            }
        }
    }

    fn release_robust_list(&self, head_at: u64) -> Result<(), abi::Errno> {
        let head: RobustListHead = self.read::<_, 24>(head_at)?;
        // Bit 0 marks a futex with priority inheritance, which is not there.
        let (mut entry, pending) = (head.next & !1, head.pending & !1);
        for _ in 0..ROBUST_LIST_LIMIT {
            if entry == head_at {
                break;
            }
            let next = self.kernel.read_u64(self.thread, entry)?;
            if entry != pending {
                self.owner_died(entry.wrapping_add_signed(head.futex_offset))?;
            }
            entry = next & !1;
        }
        if pending != 0 {
            self.owner_died(pending.wrapping_add_signed(head.futex_offset))?;
        }
        Ok(())
    }

    /// Marks a lock of the thread, and wakes one who waits for it.
    fn owner_died(&self, addr: u64) -> Result<(), abi::Errno> {
        loop {
            let word: u32 = self.read::<_, 4>(addr)?;
            if word & FUTEX_TID_MASK != self.thread.tid() {
                return Ok(());
            }
            let marked = word & FUTEX_WAITERS | FUTEX_OWNER_DIED;
            let at = VirtAddr::new(addr);
            match self.kernel.machine().compare_exchange_user_u32(at, word, marked) {
                Ok(found) if found == word => {
                    if word & FUTEX_WAITERS != 0 {
                        self.wake_at(addr);
                    }
                    return Ok(());
                }
                Ok(_) => {}
                Err(stop) => self.resolve_word(&stop)?,
            }
        }
    }
}
