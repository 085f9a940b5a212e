// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds limits and use of resources (include/uapi/asm-generic/resource.h,
//! include/uapi/linux/resource.h).

use crate::layout::layouts;
use crate::time::Timeval;

macro_rules! constants {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: usize = $number;)*
    };
}

constants! {
    RLIMIT_CPU = 0, "Processor time in seconds.";
    RLIMIT_FSIZE = 1, "Bytes of a file.";
    RLIMIT_DATA = 2, "Bytes of private writable memory.";
    RLIMIT_STACK = 3, "Bytes of the stack.";
    RLIMIT_CORE = 4, "Bytes of a core dump.";
    RLIMIT_RSS = 5, "Resident bytes; has no effect.";
    RLIMIT_NPROC = 6, "Processes of a user.";
    RLIMIT_NOFILE = 7, "Open files.";
    RLIMIT_MEMLOCK = 8, "Locked bytes.";
    RLIMIT_AS = 9, "Mapped bytes.";
    RLIMIT_LOCKS = 10, "File locks.";
    RLIMIT_SIGPENDING = 11, "Queued signals of a user.";
    RLIMIT_MSGQUEUE = 12, "Bytes in message queues.";
    RLIMIT_NICE = 13, "Ceiling of niceness.";
    RLIMIT_RTPRIO = 14, "Ceiling of real-time priority.";
    RLIMIT_RTTIME = 15, "Microseconds of real-time scheduling.";
    RLIM_NLIMITS = 16, "Number of limits.";
}

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

/// getrusage: the process.
pub const RUSAGE_SELF: i32 = 0;
/// getrusage: its children that were waited for.
pub const RUSAGE_CHILDREN: i32 = -1;
/// getrusage: the thread.
pub const RUSAGE_THREAD: i32 = 1;

layouts! {
    /// `struct rlimit64`.
    pub struct Rlimit [16] {
        /// The limit in force.
        soft: u64 = 0,
        /// How far it may be raised.
        hard: u64 = 8,
    }

    /// `struct rusage`.
    pub struct Rusage [144] {
        /// User time.
        utime: Timeval = 0,
        /// System time.
        stime: Timeval = 16,
        /// Most resident KiB.
        maxrss: i64 = 32,
        /// Page faults without I/O.
        minflt: i64 = 64,
        /// Page faults with I/O.
        majflt: i64 = 72,
        /// Blocks read.
        inblock: i64 = 88,
        /// Blocks written.
        oublock: i64 = 96,
        /// Switches because the thread waited.
        nvcsw: i64 = 128,
        /// Other switches.
        nivcsw: i64 = 136,
    }
}
