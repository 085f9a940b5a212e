// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds options and results of wait4 and waitid (include/uapi/linux/wait.h).

use crate::signal::Signal;

/// Do not sleep.
pub const WNOHANG: u32 = 1;
/// Stopped children too.
pub const WUNTRACED: u32 = 2;
/// The same, for waitid.
pub const WSTOPPED: u32 = WUNTRACED;
/// waitid: children that ended.
pub const WEXITED: u32 = 4;
/// Continued children too.
pub const WCONTINUED: u32 = 8;
/// waitid: leave it to be waited for again.
pub const WNOWAIT: u32 = 0x0100_0000;
/// Children of this thread only.
pub const WNOTHREAD: u32 = 0x2000_0000;
/// Children of any kind.
pub const WALL: u32 = 0x4000_0000;
/// Children that do not send SIGCHLD.
pub const WCLONE: u32 = 0x8000_0000;

/// waitid: any child.
pub const P_ALL: i32 = 0;
/// waitid: one process.
pub const P_PID: i32 = 1;
/// waitid: one process group.
pub const P_PGID: i32 = 2;
/// waitid: one process, by file descriptor.
pub const P_PIDFD: i32 = 3;

/// What wait4 says of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitStatus {
    /// It called exit.
    Exited(u8),
    /// A signal ended it, with a core dump or without.
    Killed(Signal, bool),
    /// A signal stopped it.
    Stopped(Signal),
    /// SIGCONT continued it.
    Continued,
}

impl WaitStatus {
    /// Returns the status word.
    pub const fn encode(self) -> i32 {
        match self {
            WaitStatus::Exited(code) => (code as i32) << 8,
            WaitStatus::Killed(signal, dumped) => signal.get() as i32 | (dumped as i32) << 7,
            WaitStatus::Stopped(signal) => (signal.get() as i32) << 8 | 0x7f,
            WaitStatus::Continued => 0xffff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WaitStatus;
    use crate::signal::Signal;

    #[test]
    fn status_words_are_those_of_the_c_macros() {
        assert_eq!(WaitStatus::Exited(3).encode(), 0x0300);
        assert_eq!(WaitStatus::Killed(Signal::SIGKILL, false).encode(), 9);
        assert_eq!(WaitStatus::Killed(Signal::SIGSEGV, true).encode(), 0x8b);
        assert_eq!(WaitStatus::Stopped(Signal::SIGSTOP).encode(), 0x137f);
        assert_eq!(WaitStatus::Continued.encode(), 0xffff);
    }
}
