// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds flags and arguments of clone and its like (include/uapi/linux/sched.h).

use crate::layout::layouts;

macro_rules! flags {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u64 = $number;)*
    };
}

flags! {
    CSIGNAL = 0xff, "Mask of the signal sent at exit (clone only).";
    CLONE_NEWTIME = 0x80, "A new time namespace (unshare, clone3).";
    CLONE_VM = 0x100, "Memory is shared.";
    CLONE_FS = 0x200, "Directories and umask are shared.";
    CLONE_FILES = 0x400, "File descriptors are shared.";
    CLONE_SIGHAND = 0x800, "Signal handlers are shared.";
    CLONE_PIDFD = 0x1000, "A file descriptor for the child.";
    CLONE_PTRACE = 0x2000, "A tracer keeps tracing.";
    CLONE_VFORK = 0x4000, "The parent waits for exec or exit.";
    CLONE_PARENT = 0x8000, "The parent's parent is the parent.";
    CLONE_THREAD = 0x1_0000, "Another thread of the process.";
    CLONE_NEWNS = 0x2_0000, "New mounts.";
    CLONE_SYSVSEM = 0x4_0000, "Semaphore adjustments are shared.";
    CLONE_SETTLS = 0x8_0000, "The child gets a thread pointer.";
    CLONE_PARENT_SETTID = 0x10_0000, "The number is stored in the parent.";
    CLONE_CHILD_CLEARTID = 0x20_0000, "The number is cleared at exit, with a futex wake.";
    CLONE_DETACHED = 0x40_0000, "Ignored.";
    CLONE_UNTRACED = 0x80_0000, "No tracer can force CLONE_PTRACE.";
    CLONE_CHILD_SETTID = 0x100_0000, "The number is stored in the child.";
    CLONE_NEWCGROUP = 0x200_0000, "A new cgroup namespace.";
    CLONE_NEWUTS = 0x400_0000, "A new utsname namespace.";
    CLONE_NEWIPC = 0x800_0000, "A new IPC namespace.";
    CLONE_NEWUSER = 0x1000_0000, "A new user namespace.";
    CLONE_NEWPID = 0x2000_0000, "A new PID namespace.";
    CLONE_NEWNET = 0x4000_0000, "A new network namespace.";
    CLONE_IO = 0x8000_0000, "The I/O context is shared.";
    CLONE_CLEAR_SIGHAND = 0x1_0000_0000, "Handlers become defaults (clone3).";
    CLONE_INTO_CGROUP = 0x2_0000_0000, "Into a given cgroup (clone3).";
}

/// Bytes of `struct clone_args` in its first version; a shorter one is an error.
pub const CLONE_ARGS_SIZE_VER0: usize = 64;

layouts! {
    /// `struct clone_args`, the argument of clone3, in its third version.
    pub struct CloneArgs [88] {
        /// CLONE_*.
        flags: u64 = 0,
        /// Where the file descriptor for the child goes.
        pidfd: u64 = 8,
        /// Where the number goes in the child.
        child_tid: u64 = 16,
        /// Where the number goes in the parent.
        parent_tid: u64 = 24,
        /// Signal at exit.
        exit_signal: u64 = 32,
        /// Lowest byte of the stack.
        stack: u64 = 40,
        /// Its bytes.
        stack_size: u64 = 48,
        /// Thread pointer.
        tls: u64 = 56,
        /// Array of wanted numbers.
        set_tid: u64 = 64,
        /// Its elements.
        set_tid_size: u64 = 72,
        /// File descriptor of a cgroup.
        cgroup: u64 = 80,
    }
}
