// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds swapon and swapoff.

use abi::swap::{
    SWAP_FLAG_DISCARD, SWAP_FLAG_DISCARD_ONCE, SWAP_FLAG_DISCARD_PAGES, SWAP_FLAG_PREFER,
    SWAP_FLAG_PRIO_MASK, SWAP_FLAGS_VALID,
};
use abi::{Errno, number};
use hal::Platform;
use mm::{SwapOffError, SwapOn, SwapOnError};

use super::{Call, Outcome, Row};
use crate::process::Work;

impl<P: Platform> Call<'_, P> {
    pub(super) const SWAP: &'static [Row<P>] =
        &[(number::SWAPON, swapon), (number::SWAPOFF, swapoff)];
}

fn swapon<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    // As on Linux, flags first.
    let flags = u64::from(call.arg_u32(1));
    if flags & !SWAP_FLAGS_VALID != 0 {
        return Err(Errno::EINVAL);
    }
    call.check_admin()?;
    let disk = call.disk_at(call.arg(0))?;
    let is = |flag| flags & flag != 0;
    let priority = is(SWAP_FLAG_PREFER).then_some((flags & SWAP_FLAG_PRIO_MASK) as i16);
    // As on Linux, the two that say "only" mean nothing alone, and the first wins.
    let discards = is(SWAP_FLAG_DISCARD);
    let only_once = is(SWAP_FLAG_DISCARD_ONCE);
    let how = SwapOn {
        priority,
        discards_all: discards && (only_once || !is(SWAP_FLAG_DISCARD_PAGES)),
        discards_free: discards && !only_once,
    };
    call.kernel.system().swap_on(disk, how).map(|()| 0).map_err(|why| match why {
        SwapOnError::NoDisk => Errno::ENXIO,
        SwapOnError::Busy => Errno::EBUSY,
        SwapOnError::Unreadable => Errno::EIO,
        SwapOnError::BadHeader => Errno::EINVAL,
        SwapOnError::NoRoom => Errno::ENOMEM,
    })
}

fn swapoff<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.check_admin()?;
    let disk = call.disk_at(call.arg(0))?;
    let kernel_thread = call.kernel.sched().current();
    let should_stop = || kernel_thread.is_interrupted() || call.thread.has_work(Work::EXIT);
    call.kernel.system().swap_off(disk, should_stop).map(|()| 0).map_err(|why| match why {
        SwapOffError::NotInService => Errno::EINVAL,
        SwapOffError::OutOfMemory => Errno::ENOMEM,
        SwapOffError::Interrupted => Errno::EINTR,
    })
}
