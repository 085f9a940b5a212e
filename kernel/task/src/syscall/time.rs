// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds clocks and sleeping.

use abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW,
    CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI,
    CLOCK_THREAD_CPUTIME_ID, TIMER_ABSTIME, Timespec, Timeval, Tms, USER_HZ,
};
use abi::{Errno, number};
use base::sync::atomic::Ordering;
use hal::Platform;

use super::{Call, Outcome, Row, restart};
use crate::kernel::Kernel;

impl<P: Platform> Call<'_, P> {
    pub(super) const TIME: &'static [Row<P>] = &[
        (number::CLOCK_GETTIME, clock_gettime),
        (number::CLOCK_GETRES, clock_getres),
        (number::CLOCK_NANOSLEEP, clock_nanosleep),
        (number::NANOSLEEP, nanosleep),
        (number::GETTIMEOFDAY, gettimeofday),
        (number::TIMES, times),
    ];
}

impl<P: Platform> Kernel<P> {
    /// Returns the time of a clock, in ns. CPU time is not told apart from time.
    ///
    /// # Errors
    ///
    /// EINVAL for a clock that is not there.
    pub(crate) fn clock_ns(&self, clock: i32) -> Result<u64, Errno> {
        let now = self.machine().now_ns();
        match clock {
            CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_TAI => {
                Ok(now + self.epoch_offset_ns.load(Ordering::Relaxed))
            }
            CLOCK_MONOTONIC
            | CLOCK_MONOTONIC_COARSE
            | CLOCK_MONOTONIC_RAW
            | CLOCK_BOOTTIME
            | CLOCK_PROCESS_CPUTIME_ID
            | CLOCK_THREAD_CPUTIME_ID => Ok(now),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Converts an absolute time of a clock to one of [`hal::Clock::now_ns`].
    pub(crate) fn to_machine_ns(&self, clock: i32, ns: u64) -> Result<u64, Errno> {
        let offset = self.clock_ns(clock)?.saturating_sub(self.clock_ns(CLOCK_MONOTONIC)?);
        Ok(if offset < 1_000_000_000 {
            ns
        } else {
            ns.saturating_sub(self.epoch_offset_ns.load(Ordering::Relaxed))
        })
    }
}

fn clock_gettime<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let now = call.kernel.clock_ns(call.arg_i32(0))?;
    call.write(call.arg(1), &Timespec::from_ns(now).to_bytes()).map(|()| 0)
}

fn clock_getres<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.kernel.clock_ns(call.arg_i32(0))?;
    if call.arg(1) != 0 {
        call.write(call.arg(1), &Timespec::from_ns(1).to_bytes())?;
    }
    Ok(0)
}

fn gettimeofday<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let now = call.kernel.clock_ns(CLOCK_REALTIME)?;
    if call.arg(0) != 0 {
        call.write(call.arg(0), &Timeval::from_ns(now).to_bytes())?;
    }
    if call.arg(1) != 0 {
        call.write(call.arg(1), &[0; 8])?;
    }
    Ok(0)
}

fn times<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let ticks = call.kernel.machine().now_ns() / (1_000_000_000 / USER_HZ);
    if call.arg(0) != 0 {
        let tms = Tms { utime: ticks as i64, ..Tms::default() };
        call.write(call.arg(0), &tms.to_bytes())?;
    }
    Ok(ticks)
}

fn nanosleep<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let request: Timespec = call.read::<_, 16>(call.arg(0))?;
    let ns = request.to_ns().ok_or(Errno::EINVAL)?;
    let deadline = call.deadline_after(ns);
    sleep(call, deadline, call.arg(1))
}

fn clock_nanosleep<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (clock, flags, remaining) = (call.arg_i32(0), call.arg(1), call.arg(3));
    call.kernel.clock_ns(clock)?;
    let is_only_read = matches!(
        clock,
        CLOCK_THREAD_CPUTIME_ID
            | CLOCK_MONOTONIC_RAW
            | CLOCK_REALTIME_COARSE
            | CLOCK_MONOTONIC_COARSE
    );
    if is_only_read {
        return Err(Errno::EOPNOTSUPP);
    }
    let request: Timespec = call.read::<_, 16>(call.arg(2))?;
    let ns = request.to_ns().ok_or(Errno::EINVAL)?;
    if flags & TIMER_ABSTIME != 0 {
        let deadline = call.kernel.to_machine_ns(clock, ns)?;
        return if call.kernel.sched().sleep_till(deadline) {
            Ok(0)
        } else {
            Err(restart::NO_HANDLER)
        };
    }
    let deadline = call.deadline_after(ns);
    sleep(call, deadline, remaining)
}

/// Sleeps for a while. When a signal interrupts it, tells how much was left, and goes on with that
/// unless a handler runs.
fn sleep<P: Platform>(call: &mut Call<'_, P>, deadline: u64, remaining: u64) -> Outcome {
    if call.kernel.sched().sleep_till(deadline) {
        return Ok(0);
    }
    if remaining != 0 {
        let left = deadline.saturating_sub(call.kernel.machine().now_ns());
        call.write(remaining, &Timespec::from_ns(left).to_bytes())?;
    }
    Err(call.resume_until(deadline))
}
