// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds swapon and swapoff.

use abi::swap::{SWAP_FLAG_PREFER, SWAP_FLAG_PRIO_MASK, SWAP_FLAGS_VALID};
use abi::{Errno, number};
use hal::Platform;
use mm::{SwapOffError, SwapOnError};

use super::{Call, Outcome, Row};
use crate::process::Work;

impl<P: Platform> Call<'_, P> {
    pub(super) const SWAP: &'static [Row<P>] =
        &[(number::SWAPON, swapon), (number::SWAPOFF, swapoff)];
}

fn swapon<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = u64::from(call.arg_u32(1));
    if flags & !SWAP_FLAGS_VALID != 0 {
        return Err(Errno::EINVAL);
    }
    let disk = call.disk_at(call.arg(0))?;
    let is_preferred = flags & SWAP_FLAG_PREFER != 0;
    let priority = is_preferred.then_some((flags & SWAP_FLAG_PRIO_MASK) as i16);
    call.kernel.system().swap_on(disk, priority).map(|()| 0).map_err(|why| match why {
        SwapOnError::NoDisk => Errno::ENXIO,
        SwapOnError::Busy => Errno::EBUSY,
        SwapOnError::Unreadable => Errno::EIO,
        SwapOnError::BadHeader => Errno::EINVAL,
        SwapOnError::NoRoom => Errno::ENOMEM,
    })
}

fn swapoff<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let disk = call.disk_at(call.arg(0))?;
    let kernel_thread = call.kernel.sched().current();
    let should_stop = || kernel_thread.is_interrupted() || call.thread.has_work(Work::EXIT);
    call.kernel.system().swap_off(disk, should_stop).map(|()| 0).map_err(|why| match why {
        SwapOffError::NotInService => Errno::EINVAL,
        SwapOffError::OutOfMemory => Errno::ENOMEM,
        SwapOffError::Interrupted => Errno::EINTR,
    })
}
