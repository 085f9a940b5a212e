// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds scheduling policies and other small sets: personality, getrandom, membarrier,
//! priorities (include/uapi/linux/{sched,personality,random,membarrier,resource}.h).

/// The policy that shares time fairly.
pub const SCHED_OTHER: i32 = 0;
/// Real time, first in first out.
pub const SCHED_FIFO: i32 = 1;
/// Real time, in turns.
pub const SCHED_RR: i32 = 2;
/// As SCHED_OTHER, for work that never waits.
pub const SCHED_BATCH: i32 = 3;
/// Only when nothing else runs.
pub const SCHED_IDLE: i32 = 5;
/// By deadlines.
pub const SCHED_DEADLINE: i32 = 6;

/// The personality of Linux itself.
pub const PER_LINUX: u32 = 0;
/// No random placement.
pub const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
/// personality(2): only tell.
pub const PER_QUERY: u32 = 0xffff_ffff;

/// getrandom: do not wait.
pub const GRND_NONBLOCK: u32 = 1;
/// getrandom: from the pool of /dev/random.
pub const GRND_RANDOM: u32 = 2;
/// getrandom: even before there is entropy.
pub const GRND_INSECURE: u32 = 4;

/// membarrier: which commands there are.
pub const MEMBARRIER_CMD_QUERY: i32 = 0;
/// membarrier: all threads.
pub const MEMBARRIER_CMD_GLOBAL: i32 = 1;
/// membarrier: all threads of registered processes, soon.
pub const MEMBARRIER_CMD_GLOBAL_EXPEDITED: i32 = 2;
/// membarrier: registers for the above.
pub const MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED: i32 = 4;
/// membarrier: all threads of this process, soon.
pub const MEMBARRIER_CMD_PRIVATE_EXPEDITED: i32 = 8;
/// membarrier: registers for the above.
pub const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: i32 = 16;
/// membarrier: and they see new code.
pub const MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE: i32 = 32;
/// membarrier: registers for the above.
pub const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: i32 = 64;

/// getpriority: a process.
pub const PRIO_PROCESS: i32 = 0;
/// getpriority: a process group.
pub const PRIO_PGRP: i32 = 1;
/// getpriority: a user.
pub const PRIO_USER: i32 = 2;
