// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells resource limits and use: prlimit64, getrusage. Limits are shown, not changed.

use abi::rlimit::{
    RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_NPROC,
    RLIMIT_SIGPENDING, RLIMIT_STACK, RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD, Rlimit, Rusage,
};
use abi::time::Timeval;
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::process::STACK_LIMIT;

/// Most open files of a process.
const MAX_FILES: u64 = 1024;
/// Most locked bytes: nothing counts them, so this is Linux's default.
const MAX_LOCKED: u64 = 8 << 20;

impl<P: Platform> Call<'_, P> {
    pub(super) const LIMITS: &'static [Row<P>] = &[
        (number::PRLIMIT64, prlimit64),
        (number::GETRLIMIT, getrlimit),
        (number::GETRUSAGE, getrusage),
        (number::GETPRIORITY, getpriority),
    ];
}

fn limit(resource: usize, max_threads: u64) -> Result<Rlimit, Errno> {
    let both = |value| Rlimit { soft: value, hard: value };
    match resource {
        RLIMIT_STACK => Ok(Rlimit { soft: STACK_LIMIT, hard: RLIM_INFINITY }),
        RLIMIT_NOFILE => Ok(both(MAX_FILES)),
        RLIMIT_NPROC | RLIMIT_SIGPENDING => Ok(both(max_threads)),
        RLIMIT_MEMLOCK => Ok(both(MAX_LOCKED)),
        RLIMIT_CORE => Ok(both(0)),
        0..RLIM_NLIMITS => Ok(both(RLIM_INFINITY)),
        _ => Err(Errno::EINVAL),
    }
}

fn max_threads<P: Platform>(call: &Call<'_, P>) -> u64 {
    call.kernel.processes.max_threads() as u64
}

fn prlimit64<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (pid, new, old) = (call.arg_u32(0), call.arg(2), call.arg(3));
    let limit = limit(call.arg_u32(1) as usize, max_threads(call))?;
    if pid != 0 && call.kernel.processes.process(pid).is_none() {
        return Err(Errno::ESRCH);
    }
    if new != 0 {
        let new: Rlimit = call.read::<_, 16>(new)?;
        if new.soft > new.hard {
            return Err(Errno::EINVAL);
        }
        // A limit that is not enforced cannot be lowered; raising one is not permitted.
        if new.hard > limit.hard {
            return Err(Errno::EPERM);
        }
    }
    if old != 0 {
        call.write(old, &limit.to_bytes())?;
    }
    Ok(0)
}

fn getrlimit<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let limit = limit(call.arg_u32(0) as usize, max_threads(call))?;
    call.write(call.arg(1), &limit.to_bytes()).map(|()| 0)
}

/// Time is that since the machine started; memory and faults are those of the address space, and
/// what is resident now stands for the most that was.
fn getrusage<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let usage = match call.arg_i32(0) {
        RUSAGE_SELF | RUSAGE_THREAD => {
            let stats = call.thread.process().mm().stats();
            Rusage {
                utime: Timeval::from_ns(call.kernel.machine().now_ns()),
                maxrss: ((stats.anon + stats.shmem) * 4) as i64,
                minflt: stats.minor_faults as i64,
                majflt: stats.major_faults as i64,
                ..Rusage::default()
            }
        }
        RUSAGE_CHILDREN => Rusage::default(),
        _ => return Err(Errno::EINVAL),
    };
    call.write(call.arg(1), &usage.to_bytes()).map(|()| 0)
}

/// Nice 0, in the form that the call returns: 20 minus it.
fn getpriority<P: Platform>(_: &mut Call<'_, P>) -> Outcome {
    Ok(20)
}
