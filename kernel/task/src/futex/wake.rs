// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file wakes who sleeps on a futex, or moves them to another one.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use abi::Errno;
use abi::futex::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_OP_ADD, FUTEX_OP_ANDN, FUTEX_OP_CMP_EQ, FUTEX_OP_CMP_GE,
    FUTEX_OP_CMP_GT, FUTEX_OP_CMP_LE, FUTEX_OP_CMP_LT, FUTEX_OP_CMP_NE, FUTEX_OP_OPARG_SHIFT,
    FUTEX_OP_OR, FUTEX_OP_SET, FUTEX_OP_XOR,
};
use base::VirtAddr;
use base::sync::atomic::Ordering;
use hal::{Platform, WaitChannel};

use super::{Key, Queues, Waiter};
use crate::kernel::Kernel;
use crate::syscall::{Call, Outcome};

impl<P: Platform> Kernel<P> {
    /// Wakes up to `limit` sleepers whose mask meets `mask`, and returns how many.
    pub(crate) fn futex_wake(&self, key: Key, limit: u32, mask: u32) -> u64 {
        let mut queues = self.futexes.queues.lock();
        self.wake_some(&mut queues, key, limit, mask)
    }

    fn wake_some(&self, queues: &mut Queues, key: Key, limit: u32, mask: u32) -> u64 {
        let Some(queue) = queues.get_mut(&key) else { return 0 };
        let mut nr_woken = 0;
        queue.retain(|waiter| {
            if nr_woken >= u64::from(limit) || waiter.mask & mask == 0 {
                return true;
            }
            nr_woken += 1;
            self.wake_waiter(waiter);
            false
        });
        if queue.is_empty() {
            queues.remove(&key);
        }
        nr_woken
    }

    fn wake_waiter(&self, waiter: &Arc<Waiter>) {
        waiter.woken.store(true, Ordering::SeqCst);
        self.sched().wake_all(WaitChannel::of(&**waiter));
    }
}

impl<P: Platform> Call<'_, P> {
    /// Wakes argument 2 sleepers of `from`, moves up to argument 3 of the others to `to`. Returns how
    /// many were woken or moved (Linux: `task_count` in kernel/futex/requeue.c).
    pub(super) fn futex_requeue(&self, from: Key, to: Key, expected: Option<u32>) -> Outcome {
        let (nr_wake, nr_move) = (self.arg_i32(2), self.arg_i32(3));
        if nr_wake < 0 || nr_move < 0 {
            return Err(Errno::EINVAL);
        }
        let work = |queues: &mut Queues| {
            let nr_woken =
                self.kernel.wake_some(queues, from, nr_wake as u32, FUTEX_BITSET_MATCH_ANY);
            nr_woken + move_some(queues, from, to, nr_move as usize)
        };
        match expected {
            None => Ok(work(&mut self.kernel.futexes.queues.lock())),
            Some(expected) => self.with_word(self.arg(0), |queues, word| {
                if word == expected { Ok(work(queues)) } else { Err(Errno::EAGAIN) }
            }),
        }
    }

    /// Changes the word of argument 4, wakes argument 2 sleepers of `first`, and argument 3 of
    /// `second` if the word was as the encoded comparison says.
    pub(super) fn futex_wake_op(&self, first: Key, second: Key) -> Outcome {
        let operation = WakeOp::decode(self.arg_u32(5))?;
        loop {
            let at = VirtAddr::new(self.arg(4));
            let mut queues = self.kernel.futexes.queues.lock();
            let machine = self.kernel.machine();
            let changed = machine.load_user_u32(at).and_then(|old| {
                let found = machine.compare_exchange_user_u32(at, old, operation.apply(old))?;
                Ok((old, found == old))
            });
            match changed {
                Ok((old, true)) => {
                    let any = FUTEX_BITSET_MATCH_ANY;
                    let mut nr = self.kernel.wake_some(&mut queues, first, self.arg_u32(2), any);
                    if operation.holds(old) {
                        nr += self.kernel.wake_some(&mut queues, second, self.arg_u32(3), any);
                    }
                    return Ok(nr);
                }
                // Another thread changed it in between.
                Ok((_, false)) => {}
                Err(stop) => {
                    drop(queues);
                    self.resolve_word(&stop)?;
                }
            }
        }
    }
}

fn move_some(queues: &mut Queues, from: Key, to: Key, limit: usize) -> u64 {
    let Some(queue) = queues.get_mut(&from) else { return 0 };
    let nr = limit.min(queue.len());
    if from == to {
        // They count as moved, as on Linux.
        return nr as u64;
    }
    let moved: VecDeque<_> = queue.drain(..nr).collect();
    if queue.is_empty() {
        queues.remove(&from);
    }
    if nr > 0 {
        queues.entry(to).or_default().extend(moved);
    }
    nr as u64
}

/// The encoded operation of FUTEX_WAKE_OP (include/uapi/linux/futex.h, FUTEX_OP()).
#[derive(Clone, Copy, Debug)]
struct WakeOp {
    operation: u32,
    operand: u32,
    comparison: u32,
    compared: i32,
}

impl WakeOp {
    fn decode(encoded: u32) -> Result<Self, Errno> {
        let field = |shift: u32| ((encoded << (20 - shift)) as i32 >> 20) as u32;
        let (operation, argument) = (encoded >> 28, field(12));
        let operand =
            if operation & FUTEX_OP_OPARG_SHIFT != 0 { 1 << (argument & 31) } else { argument };
        let decoded = Self {
            operation: operation & !FUTEX_OP_OPARG_SHIFT,
            operand,
            comparison: encoded >> 24 & 0xf,
            compared: field(0) as i32,
        };
        let is_known = decoded.operation <= FUTEX_OP_XOR && decoded.comparison <= FUTEX_OP_CMP_GE;
        if is_known { Ok(decoded) } else { Err(Errno::ENOSYS) }
    }

    fn apply(self, old: u32) -> u32 {
        match self.operation {
            FUTEX_OP_SET => self.operand,
            FUTEX_OP_ADD => old.wrapping_add(self.operand),
            FUTEX_OP_OR => old | self.operand,
            FUTEX_OP_ANDN => old & !self.operand,
            _ => old ^ self.operand,
        }
    }

    fn holds(self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            FUTEX_OP_CMP_EQ => old == self.compared,
            FUTEX_OP_CMP_NE => old != self.compared,
            FUTEX_OP_CMP_LT => old < self.compared,
            FUTEX_OP_CMP_LE => old <= self.compared,
            FUTEX_OP_CMP_GT => old > self.compared,
            _ => old >= self.compared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WakeOp;

    /// As FUTEX_OP(op, oparg, cmp, cmparg) of the header encodes it.
    fn encode(op: u32, argument: u32, comparison: u32, compared: u32) -> u32 {
        op << 28 | comparison << 24 | (argument & 0xfff) << 12 | compared & 0xfff
    }

    #[test]
    fn an_encoded_operation_changes_and_compares() {
        let add = WakeOp::decode(encode(1, 5, 4, 2)).unwrap();
        assert_eq!(add.apply(u32::MAX), 4);
        assert!(add.holds(3) && !add.holds(2));
        let shifted = WakeOp::decode(encode(8 | 2, 7, 0, -1i32 as u32)).unwrap();
        assert_eq!(shifted.apply(1), 129);
        assert!(shifted.holds(u32::MAX) && !shifted.holds(0));
        let negative = WakeOp::decode(encode(1, -1i32 as u32, 2, -1i32 as u32)).unwrap();
        assert_eq!(negative.apply(1), 0);
        assert!(negative.holds(-2i32 as u32) && !negative.holds(-1i32 as u32));
        assert!(WakeOp::decode(encode(5, 0, 0, 0)).is_err());
        assert!(WakeOp::decode(encode(0, 0, 6, 0)).is_err());
    }
}
