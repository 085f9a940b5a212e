// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds clocks and times (include/uapi/linux/time.h, time_types.h, times.h).

use crate::layout::layouts;

/// Time of day.
pub const CLOCK_REALTIME: i32 = 0;
/// Time since boot.
pub const CLOCK_MONOTONIC: i32 = 1;
/// Processor time of the process.
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
/// Processor time of the thread.
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
/// As CLOCK_MONOTONIC, never slewed.
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
/// As CLOCK_REALTIME, by the last tick.
pub const CLOCK_REALTIME_COARSE: i32 = 5;
/// As CLOCK_MONOTONIC, by the last tick.
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
/// As CLOCK_MONOTONIC, and counts suspend.
pub const CLOCK_BOOTTIME: i32 = 7;
/// As CLOCK_REALTIME, and wakes from suspend.
pub const CLOCK_REALTIME_ALARM: i32 = 8;
/// As CLOCK_BOOTTIME, and wakes from suspend.
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
/// Atomic time.
pub const CLOCK_TAI: i32 = 11;

/// The time is absolute.
pub const TIMER_ABSTIME: u64 = 1;

/// Timer of real time; sends SIGALRM.
pub const ITIMER_REAL: i32 = 0;
/// Timer of user time; sends SIGVTALRM.
pub const ITIMER_VIRTUAL: i32 = 1;
/// Timer of processor time; sends SIGPROF.
pub const ITIMER_PROF: i32 = 2;

/// utimensat: now.
pub const UTIME_NOW: i64 = (1 << 30) - 1;
/// utimensat: leave it.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;

/// Ticks a second of times(2) and of AT_CLKTCK.
pub const USER_HZ: u64 = 100;

const NS_PER_SEC: u64 = 1_000_000_000;

layouts! {
    /// `struct timespec`.
    pub struct Timespec [16] {
        /// Seconds.
        sec: i64 = 0,
        /// Nanoseconds.
        nsec: i64 = 8,
    }

    /// `struct timeval`.
    pub struct Timeval [16] {
        /// Seconds.
        sec: i64 = 0,
        /// Microseconds.
        usec: i64 = 8,
    }

    /// `struct itimerval`.
    pub struct Itimerval [32] {
        /// Period; 0 for one shot.
        interval: Timeval = 0,
        /// Time left; 0 for off.
        value: Timeval = 16,
    }

    /// `struct tms`.
    pub struct Tms [32] {
        /// User time.
        utime: i64 = 0,
        /// System time.
        stime: i64 = 8,
        /// User time of children.
        cutime: i64 = 16,
        /// System time of children.
        cstime: i64 = 24,
    }

    /// `struct timezone`.
    pub struct Timezone [8] {
        /// Minutes west of Greenwich.
        minuteswest: i32 = 0,
        /// Kind of summer time.
        dsttime: i32 = 4,
    }
}

impl Timespec {
    /// Builds it from nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC) as i64, nsec: (ns % NS_PER_SEC) as i64 }
    }

    /// Returns nanoseconds, as many as fit; `None` when a field is out of range.
    pub fn to_ns(self) -> Option<u64> {
        let sec = u64::try_from(self.sec).ok()?;
        let nsec = u64::try_from(self.nsec).ok().filter(|&nsec| nsec < NS_PER_SEC)?;
        Some(sec.saturating_mul(NS_PER_SEC).saturating_add(nsec))
    }
}

impl Timeval {
    /// Builds it from nanoseconds, rounding down.
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NS_PER_SEC) as i64, usec: (ns % NS_PER_SEC / 1000) as i64 }
    }

    /// Returns nanoseconds, as many as fit; `None` when a field is out of range.
    pub fn to_ns(self) -> Option<u64> {
        let nsec = self.usec.checked_mul(1000)?;
        Timespec { sec: self.sec, nsec }.to_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::{Timespec, Timeval};

    #[test]
    fn nanoseconds_survive_the_way_there_and_back() {
        for ns in [0, 1, 999_999_999, 1_000_000_000, u64::MAX] {
            assert_eq!(Timespec::from_ns(ns).to_ns(), Some(ns));
        }
        assert_eq!(Timeval::from_ns(1_234_567_890), Timeval { sec: 1, usec: 234_567 });
    }

    #[test]
    fn out_of_range_is_no_time() {
        assert_eq!(Timespec { sec: -1, nsec: 0 }.to_ns(), None);
        assert_eq!(Timespec { sec: 0, nsec: -1 }.to_ns(), None);
        assert_eq!(Timespec { sec: 0, nsec: 1_000_000_000 }.to_ns(), None);
        assert_eq!(Timeval { sec: 0, usec: 1_000_000 }.to_ns(), None);
        assert_eq!(Timeval { sec: 0, usec: i64::MAX }.to_ns(), None);
        assert_eq!(Timespec { sec: i64::MAX, nsec: 0 }.to_ns(), Some(u64::MAX));
    }
}
