// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file answers calls that are not there: ENOSYS, and one line in the log for each number.

use abi::{Errno, number};
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Platform;

use super::{Call, Outcome};

const WORDS: usize = number::LIMIT.div_ceil(64);

/// The numbers that have been reported.
pub(crate) struct UnknownCalls {
    seen: [AtomicU64; WORDS],
}

impl UnknownCalls {
    pub fn new() -> Self {
        Self { seen: core::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Tells whether this is the first time; numbers that no call has count as one.
    fn is_first(&self, number: u64) -> bool {
        let number = (number as usize).min(number::LIMIT - 1);
        let bit = 1 << (number % 64);
        self.seen[number / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

#[cold]
pub(super) fn report<P: Platform>(call: &mut Call<'_, P>, number: u64) -> Outcome {
    if call.kernel.unknown_calls.is_first(number) {
        let name = number::name(number as usize).unwrap_or("no call of Linux");
        let pid = call.thread.process().pid();
        log::warn!("process {pid} called {number} ({name}), which is not there");
    }
    Err(Errno::ENOSYS)
}
