// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is futexes: sleeping on a word of user memory.
//!
//! A futex is named by its place: the object and offset where memory is shared, else the address
//! space and address ([`Key`]). Waiters of all futexes stand in one table, under one spin lock.
//!
//! A waiter loads the word with the table locked, so a waker that changes the word first and then
//! locks the table cannot miss it. The load does not resolve faults; one that stops is resolved
//! with the table unlocked, and everything starts again.

mod robust;
mod wait;
mod wake;

pub(crate) use robust::thread_leaves;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use abi::Errno;
use abi::futex::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_CLOCK_REALTIME, FUTEX_CMD_MASK, FUTEX_CMP_REQUEUE,
    FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE,
    FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
};
use abi::number;
use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME, Timespec};
use base::lock_level;
use base::sync::SpinLock;
use base::sync::atomic::AtomicBool;
use base::{PAGE_SIZE, VirtAddr};
use hal::Platform;

use crate::syscall::{Call, Outcome, Row};

/// Names a futex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    /// Address space and address.
    Private(u16, u64),
    /// Number of the object, and offset in it.
    Shared(u32, u64),
}

/// A thread that sleeps on a futex.
struct Waiter {
    /// Wakes only those whose mask meets the waker's.
    mask: u32,
    woken: AtomicBool,
}

type Queues = BTreeMap<Key, VecDeque<Arc<Waiter>>>;

/// All waiters.
pub(crate) struct FutexTable {
    queues: SpinLock<Queues, lock_level::Task>,
}

impl FutexTable {
    pub fn new() -> Self {
        Self { queues: SpinLock::new(BTreeMap::new()) }
    }
}

impl<P: Platform> Call<'_, P> {
    pub(crate) const FUTEX: &'static [Row<P>] = &[(number::FUTEX, futex)];

    /// Returns the name of the futex at `addr`.
    ///
    /// # Errors
    ///
    /// EINVAL when it is misaligned, EFAULT when nothing can be there.
    fn futex_key(&self, addr: u64, is_private: bool) -> Result<Key, Errno> {
        let addr = VirtAddr::new(addr).untagged();
        if !addr.get().is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if !addr.is_user() {
            return Err(Errno::EFAULT);
        }
        let mm = self.thread.process().mm();
        let private = Key::Private(mm.id().get(), addr.get());
        if is_private {
            return Ok(private);
        }
        let view = mm.area_view(addr.page()).ok_or(Errno::EFAULT)?;
        let is_shared = view.flags.contains(mm::AreaFlags::SHARED);
        Ok(match view.object.filter(|_| is_shared) {
            Some((object, first)) => {
                let page = first + (addr.page().get() - view.pages.start.get());
                Key::Shared(object.id(), page * PAGE_SIZE as u64 + addr.page_offset() as u64)
            }
            None => private,
        })
    }
}

fn futex<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let operation = call.arg_u32(1);
    let is_private = operation & FUTEX_PRIVATE_FLAG != 0;
    let command = operation & FUTEX_CMD_MASK;
    let is_realtime = operation & FUTEX_CLOCK_REALTIME != 0;
    if is_realtime && command != FUTEX_WAIT_BITSET && command != FUTEX_WAIT {
        return Err(Errno::ENOSYS);
    }
    let (addr, value, third) = (call.arg(0), call.arg_u32(2), call.arg_u32(5));
    let key = |call: &Call<'_, P>| call.futex_key(addr, is_private);
    match command {
        FUTEX_WAIT => {
            let deadline = deadline(call, is_realtime, true)?;
            call.futex_wait(key(call)?, value, FUTEX_BITSET_MATCH_ANY, deadline)
        }
        FUTEX_WAIT_BITSET if third == 0 => Err(Errno::EINVAL),
        FUTEX_WAIT_BITSET => {
            let deadline = deadline(call, is_realtime, false)?;
            call.futex_wait(key(call)?, value, third, deadline)
        }
        FUTEX_WAKE => Ok(call.kernel.futex_wake(key(call)?, value, FUTEX_BITSET_MATCH_ANY)),
        FUTEX_WAKE_BITSET if third == 0 => Err(Errno::EINVAL),
        FUTEX_WAKE_BITSET => Ok(call.kernel.futex_wake(key(call)?, value, third)),
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => {
            let expected = (command == FUTEX_CMP_REQUEUE).then_some(third);
            let other = call.futex_key(call.arg(4), is_private)?;
            call.futex_requeue(key(call)?, other, expected)
        }
        FUTEX_WAKE_OP => {
            let other = call.futex_key(call.arg(4), is_private)?;
            call.futex_wake_op(key(call)?, other)
        }
        _ => Err(Errno::ENOSYS),
    }
}

/// Returns the deadline that argument 3 points to, in the machine's time.
fn deadline<P: Platform>(
    call: &Call<'_, P>,
    is_realtime: bool,
    is_relative: bool,
) -> Result<Option<u64>, Errno> {
    if call.arg(3) == 0 {
        return Ok(None);
    }
    let time: Timespec = call.read::<_, 16>(call.arg(3))?;
    let ns = time.to_ns().ok_or(Errno::EINVAL)?;
    if is_relative {
        return Ok(Some(call.deadline_after(ns)));
    }
    let clock = if is_realtime { CLOCK_REALTIME } else { CLOCK_MONOTONIC };
    call.kernel.to_machine_ns(clock, ns).map(Some)
}
