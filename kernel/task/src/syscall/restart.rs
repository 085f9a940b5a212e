// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names what a system call returns that a signal interrupted: user programs never see it.
//!
//! The numbers are those of Linux (include/linux/errno.h). What becomes of each when the signal is
//! delivered stands in `signal/`.

use abi::Errno;

/// Starts again, unless a handler without SA_RESTART runs.
pub(crate) const SYS: Errno = Errno(512);
/// Starts again, whatever runs.
pub(crate) const NO_INTERRUPT: Errno = Errno(513);
/// Starts again only when no handler runs.
pub(crate) const NO_HANDLER: Errno = Errno(514);

/// Goes on when no handler runs, by restart_syscall: what is left to do is not in the arguments.
pub(crate) const BLOCK: Errno = Errno(516);

/// Tells whether `why` is one of them.
pub(crate) const fn is_restart(why: Errno) -> bool {
    matches!(why.0, 512..=514 | 516)
}
