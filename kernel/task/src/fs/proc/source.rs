// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says what procfs asks of the process layer.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use hal::Machine;
use mm::Mm;

use crate::fs::inode::InodeRef;
use crate::fs::table::FileTable;
use crate::fs::vfs::Vfs;

/// Who knows the processes.
pub trait ProcSource<M: Machine>: Send + Sync {
    /// Returns all files.
    fn vfs(&self) -> &Vfs<M>;

    /// Returns the numbers of all processes, ascending.
    fn pids(&self) -> Vec<u32>;

    /// Returns the numbers of a process's threads, ascending.
    fn tids(&self, pid: u32) -> Vec<u32>;

    /// Returns what a process, or the process of a thread, is at the moment.
    fn view(&self, pid: u32) -> Option<ProcessView<M>>;

    /// Sets a process's standing when a victim of memory shortage is chosen; `None` without such a
    /// process.
    fn set_oom_score_adj(&self, pid: u32, adj: i16) -> Option<()>;

    /// Returns process and thread of the caller.
    fn current(&self) -> (u32, u32);

    /// Calls `visit` with the name and value of each counter.
    fn for_each_counter(&self, visit: &mut dyn FnMut(&'static str, u64));

    /// Does what a magic key stands for.
    fn sysrq(&self, key: u8);

    /// Returns the release and the version that uname shows.
    fn release(&self) -> (&'static str, &'static str);

    /// Returns what the kernel was started with.
    fn command_line(&self) -> &str;

    /// Returns how many processes and threads were ever made.
    fn nr_forks(&self) -> u64;
}

/// A process at a moment.
pub struct ProcessView<M: Machine> {
    /// Its number; a thread's for a view of a thread.
    pub pid: u32,
    /// The number of its process.
    pub tgid: u32,
    /// Its parent's number.
    pub ppid: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// R, S, T, Z.
    pub state: u8,
    /// Its name.
    pub name: Vec<u8>,
    /// Threads that have not left.
    pub nr_threads: usize,
    /// Its address space; `None` for a zombie.
    pub mm: Option<MmUser<M>>,
    /// The path of its program.
    pub exe: Vec<u8>,
    /// The addresses of its arguments' bytes.
    pub args: Range<u64>,
    /// The addresses of its environment's bytes.
    pub env: Range<u64>,
    /// Its open files.
    pub files: Arc<FileTable<M>>,
    /// Its working directory.
    pub cwd: InodeRef<M>,
    /// Its standing when a victim of memory shortage is chosen.
    pub oom_score_adj: i16,
    /// Real, effective, saved user, and that of files; the same for groups.
    pub ids: [[u32; 4]; 2],
    /// It may have all capabilities (again).
    pub may_be_privileged: bool,
    /// It has all capabilities.
    pub is_privileged: bool,
    /// Its umask.
    pub umask: u32,
    /// Signals: pending for the thread, for the process; blocked, ignored, caught.
    pub signals: [u64; 5],
}

/// A user of an address space: keeps it from being torn down while it is looked at.
pub struct MmUser<M: Machine>(Arc<Mm<M>>);

impl<M: Machine> MmUser<M> {
    /// Becomes a user, unless it is being torn down.
    pub fn new(mm: Arc<Mm<M>>) -> Option<Self> {
        // Not `then_some`: a value that is made and dropped would put a user that it never was.
        if mm.get_user() { Some(Self(mm)) } else { None }
    }
}

impl<M: Machine> core::ops::Deref for MmUser<M> {
    type Target = Mm<M>;

    fn deref(&self) -> &Mm<M> {
        &self.0
    }
}

impl<M: Machine> Drop for MmUser<M> {
    fn drop(&mut self) {
        self.0.put_user();
    }
}
