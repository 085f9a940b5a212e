// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names what a system call returns that a signal interrupted: user programs never see it.
//!
//! The numbers are those of Linux (include/linux/errno.h). What becomes of each when the signal is
//! delivered stands in `signal/`.

use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};

/// Starts again, unless a handler without SA_RESTART runs.
pub(crate) const SYS: Errno = Errno(512);
/// Starts again, whatever runs.
pub(crate) const NO_INTERRUPT: Errno = Errno(513);
/// Starts again only when no handler runs.
pub(crate) const NO_HANDLER: Errno = Errno(514);

/// Goes on when no handler runs, by restart_syscall: what is left to do is not in the arguments.
pub(crate) const BLOCK: Errno = Errno(516);

/// A call with a relative time that was interrupted: when it goes on, its deadline is the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resume {
    number: u64,
    deadline_ns: u64,
    /// restart_syscall has begun to do the call anew, and the deadline has not been asked for yet.
    is_due: bool,
}

impl<P: Platform> Call<'_, P> {
    pub(super) const RESTART: &'static [Row<P>] = &[(number::RESTART_SYSCALL, restart_syscall)];

    /// Returns the deadline of a call that sleeps for so long.
    pub fn deadline_after(&self, ns: u64) -> u64 {
        let resumed = self.thread.resume.lock().take_if(|resume| resume.is_due);
        let from_now = || self.kernel.machine().now_ns().saturating_add(ns);
        resumed.map_or_else(from_now, |resume| resume.deadline_ns)
    }

    /// Returns what an interrupted call returns that is to go on until its old deadline.
    pub fn resume_until(&self, deadline_ns: u64) -> Errno {
        *self.thread.resume.lock() =
            Some(Resume { number: self.number, deadline_ns, is_due: false });
        BLOCK
    }
}

/// Does the call anew that was interrupted last; its arguments are still in their registers.
fn restart_syscall<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let number = {
        let mut resume = call.thread.resume.lock();
        let Some(resume) = resume.as_mut() else { return Err(Errno::EINTR) };
        resume.is_due = true;
        resume.number
    };
    call.number = number;
    let outcome = super::handler(number).map_or(Err(Errno::EINTR), |handler| handler(call));
    call.thread.resume.lock().take_if(|resume| resume.is_due);
    outcome
}

/// Tells whether `why` is one of them.
pub(crate) const fn is_restart(why: Errno) -> bool {
    matches!(why.0, 512..=514 | 516)
}
