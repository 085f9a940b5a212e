// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the root of procfs: what is always there, and a directory for each process.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use abi::Errno;
use abi::stat::{PROC_SUPER_MAGIC, S_IFDIR, S_IFLNK, Stat, StatFs};
use base::sync::OnceCell;
use hal::Machine;

use super::pid::PidDir;
use super::source::ProcSource;
use super::system;
use crate::fs::env::Env;
use crate::fs::inode::{DirEntry, Directory, Inode, InodeRef, Link, Name, OpenMode};
use crate::fs::ops::FileOps;
use crate::fs::synthetic::{SynthDir, Synthetic};

/// The source of all that procfs shows; set once there is a process layer.
pub type SourceCell<M> = Arc<OnceCell<&'static dyn ProcSource<M>>>;

/// procfs.
pub struct ProcFs<M: Machine> {
    fs: Arc<Synthetic<M>>,
    fixed: Arc<SynthDir<M>>,
    source: SourceCell<M>,
}

/// Entries of processes are listed behind all fixed ones.
const FIRST_PID_NUMBER: u64 = 1000;

/// Numbers of the links `self` and `thread-self`.
const SELF_NUMBERS: [(u64, &str); 2] = [(900, "self"), (901, "thread-self")];

/// Inode numbers: fixed ones are small, then those of processes, 64 for each.
pub(super) const PID_INOS: u64 = 1 << 20;

/// Makes procfs. It shows nothing of processes until it has a source.
pub fn new_proc_fs<M: Machine>(env: &Arc<Env<M>>) -> Arc<ProcFs<M>> {
    let fs = Synthetic::new(env, PROC_SUPER_MAGIC);
    let source = SourceCell::<M>::default();
    let fixed = fs.build(system::entries(env, &source));
    Arc::new(ProcFs { fs, fixed, source })
}

impl<M: Machine> ProcFs<M> {
    /// Sets who knows the processes.
    ///
    /// # Panics
    ///
    /// When it is set already.
    pub fn set_source(&self, source: &'static dyn ProcSource<M>) {
        self.source.set(source);
    }

    pub(super) fn fs(&self) -> &Arc<Synthetic<M>> {
        &self.fs
    }

    /// Returns who knows the processes.
    ///
    /// # Errors
    ///
    /// ESRCH before there are any.
    pub(super) fn source(&self) -> Result<&'static dyn ProcSource<M>, Errno> {
        self.source.get().copied().ok_or(Errno::ESRCH)
    }
}

/// The root directory: a value of its own, as directories refer to it by `Arc`.
pub struct ProcRoot<M: Machine> {
    proc: Arc<ProcFs<M>>,
}

impl<M: Machine> ProcFs<M> {
    /// Returns the root directory.
    pub fn root(self: &Arc<Self>) -> InodeRef<M> {
        Arc::new(ProcRoot { proc: Arc::clone(self) })
    }
}

impl<M: Machine> Inode<M> for ProcRoot<M> {
    fn stat(&self) -> Stat {
        self.proc.fs.stat(0, S_IFDIR | 0o555)
    }

    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        Err(Errno::EISDIR)
    }

    fn directory(&self) -> Option<&dyn Directory<M>> {
        Some(self)
    }

    fn stat_fs(&self) -> StatFs {
        self.proc.fs.stat_fs()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<M: Machine> Directory<M> for ProcRoot<M> {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef<M>, Errno> {
        if let Some((number, _)) = SELF_NUMBERS.into_iter().find(|(_, own)| own.as_bytes() == name)
        {
            return Ok(Arc::new(SelfLink { proc: Arc::clone(&self.proc), number }));
        }
        if let Ok(found) = self.proc.fixed.lookup(name) {
            return Ok(found);
        }
        let pid = parse_pid(name).ok_or(Errno::ENOENT)?;
        // A thread's number works, too, and is not listed.
        self.proc.source()?.view(pid).ok_or(Errno::ENOENT)?;
        Ok(PidDir::of_process(&self.proc, pid))
    }

    fn parent(&self) -> InodeRef<M> {
        self.proc.root()
    }

    fn entries(&self, after: u64, max: usize) -> Vec<DirEntry> {
        let mut entries = self.proc.fixed.entries(after, max);
        let links = SELF_NUMBERS.into_iter().filter(|(number, _)| *number > after);
        entries.extend(links.map(|(next, name)| DirEntry {
            ino: next,
            kind: S_IFLNK,
            next,
            name: Name::from(name),
        }));
        let pids = self.proc.source().map_or(Vec::new(), |source| source.pids());
        let numbered = pids.into_iter().map(|pid| (FIRST_PID_NUMBER + u64::from(pid), pid));
        let behind = numbered.filter(|(number, _)| *number > after);
        entries.extend(behind.take(max).map(|(next, pid)| DirEntry {
            ino: PID_INOS + u64::from(pid) * 64,
            kind: S_IFDIR,
            next,
            name: format!("{pid}").into_bytes(),
        }));
        entries.truncate(max);
        entries
    }
}

/// Reads a number as it stands in a path: no sign, no leading zero.
pub(super) fn parse_pid(name: &[u8]) -> Option<u32> {
    let is_number = name.iter().all(u8::is_ascii_digit) && name.first() != Some(&b'0');
    core::str::from_utf8(name).ok().filter(|_| is_number)?.parse().ok()
}

/// `self` or `thread-self`.
struct SelfLink<M: Machine> {
    proc: Arc<ProcFs<M>>,
    number: u64,
}

impl<M: Machine> Inode<M> for SelfLink<M> {
    fn stat(&self) -> Stat {
        self.proc.fs.stat(self.number, S_IFLNK | 0o777)
    }

    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        Err(Errno::ELOOP)
    }

    fn link(&self) -> Result<Link<M>, Errno> {
        let (pid, tid) = self.proc.source()?.current();
        let is_process = self.number == SELF_NUMBERS[0].0;
        let target = if is_process { format!("{pid}") } else { format!("{pid}/task/{tid}") };
        Ok(Link::Path(target.into_bytes()))
    }

    fn stat_fs(&self) -> StatFs {
        self.proc.fs.stat_fs()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
