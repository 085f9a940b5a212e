// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the directory of a process, of a thread, of its descriptors.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;

use abi::Errno;
use abi::stat::{S_IFDIR, S_IFLNK, S_IFREG, Stat, StatFs};
use hal::Machine;
use hal::sleep_lock::SleepLock;

use super::areas_text::{self, AreaText, PutArea};
use super::root::{PID_INOS, ProcFs, parse_pid};
use super::source::ProcessView;
use super::{maps, oom, pagemap, smaps, status};
use crate::fs::inode::{DirEntry, Directory, Inode, InodeRef, Link, Name, OpenMode};
use crate::fs::io::{Sink, Source};
use crate::fs::ops::{FileOps, WriteAt, Written};
use crate::fs::synthetic::SnapShot;

/// Bytes of a number that is written (Linux's PROC_NUMBUF, but for the NUL).
const MAX_NUMBER: usize = 12;

type ShowText<M> = fn(&ProcessView<M>, &ProcFs<M>) -> Result<Vec<u8>, Errno>;

/// Makes an adjustment of the choice of a victim from what was written.
type ParseAdj = fn(&[u8]) -> Result<i16, Errno>;

/// What an entry of a process's directory is.
enum Kind<M: Machine> {
    /// A text.
    Text(ShowText<M>),
    /// A text made area by area.
    Areas(PutArea<M>),
    /// The adjustment of the choice of a victim, which can be written.
    OomAdj(ShowText<M>, ParseAdj),
    /// The state of each page.
    PageMap,
    /// A link to the program.
    Exe,
    /// A link to the working directory.
    Cwd,
    /// A link to the root.
    Root,
    /// A link to an open file.
    Fd(i32),
    /// The directory of open files.
    FdDir,
    /// The directory of threads.
    TaskDir,
    /// The directory of a process, or of a thread.
    Dir,
}

impl<M: Machine> Clone for Kind<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Kind<M> {}

impl<M: Machine> Kind<M> {
    fn mode(self) -> u32 {
        match self {
            Kind::Text(_) | Kind::Areas(_) => S_IFREG | 0o444,
            Kind::OomAdj(..) => S_IFREG | 0o644,
            Kind::PageMap => S_IFREG | 0o400,
            Kind::Exe | Kind::Cwd | Kind::Root => S_IFLNK | 0o777,
            Kind::Fd(_) => S_IFLNK | 0o700,
            Kind::FdDir => S_IFDIR | 0o500,
            Kind::TaskDir | Kind::Dir => S_IFDIR | 0o555,
        }
    }
}

/// The entries of a process's directory. That of a thread has all but `task`.
fn entries<M: Machine>() -> [(&'static str, Kind<M>); 20] {
    [
        ("task", Kind::TaskDir),
        ("fd", Kind::FdDir),
        ("cmdline", Kind::Text(status::cmdline)),
        ("comm", Kind::Text(status::comm)),
        ("cwd", Kind::Cwd),
        ("environ", Kind::Text(status::environ)),
        ("exe", Kind::Exe),
        ("maps", Kind::Areas(maps::put_line)),
        ("mounts", Kind::Text(status::mounts)),
        ("oom_adj", Kind::OomAdj(oom::adj, oom::parse_adj)),
        ("oom_score", Kind::Text(oom::score)),
        ("oom_score_adj", Kind::OomAdj(oom::score_adj, oom::parse_score_adj)),
        ("pagemap", Kind::PageMap),
        ("root", Kind::Root),
        ("smaps", Kind::Areas(smaps::put_area)),
        ("smaps_rollup", Kind::Text(smaps::show_rollup)),
        ("stat", Kind::Text(status::stat)),
        ("statm", Kind::Text(status::statm)),
        ("status", Kind::Text(status::status)),
        ("wchan", Kind::Text(status::wchan)),
    ]
}

/// A node below /proc/PID.
pub(super) struct PidDir<M: Machine> {
    proc: Arc<ProcFs<M>>,
    /// The process, or thread, that it is about.
    pid: u32,
    /// The process whose `task` it is in, for a thread.
    in_task_of: Option<u32>,
    kind: Kind<M>,
    name: Name,
    /// Its place among the entries, for its inode number.
    index: u64,
}

impl<M: Machine> PidDir<M> {
    /// Returns the directory of a process.
    pub(super) fn of_process(proc: &Arc<ProcFs<M>>, pid: u32) -> InodeRef<M> {
        Arc::new(Self {
            proc: Arc::clone(proc),
            pid,
            in_task_of: None,
            kind: Kind::Dir,
            name: format!("{pid}").into_bytes(),
            index: 0,
        })
    }

    fn view(&self) -> Result<ProcessView<M>, Errno> {
        self.proc.source()?.view(self.pid).ok_or(Errno::ESRCH)
    }

    fn ino(&self) -> u64 {
        let of_fd = if let Kind::Fd(fd) = self.kind { (fd as u64 + 1) << 32 } else { 0 };
        let of_thread = if self.in_task_of.is_some() { 1 << 28 } else { 0 };
        (PID_INOS + u64::from(self.pid) * 64 + self.index) | of_fd | of_thread
    }

    /// Returns the entry `kind` of this directory.
    fn entry(&self, index: u64, name: &[u8], kind: Kind<M>) -> InodeRef<M> {
        Arc::new(Self {
            proc: Arc::clone(&self.proc),
            pid: self.pid,
            in_task_of: self.in_task_of,
            kind,
            name: Name::from(name),
            index,
        })
    }

    fn thread(&self, tid: u32) -> InodeRef<M> {
        Arc::new(Self {
            proc: Arc::clone(&self.proc),
            pid: tid,
            in_task_of: Some(self.pid),
            kind: Kind::Dir,
            name: format!("{tid}").into_bytes(),
            index: 0,
        })
    }

    /// Returns the entries as name, number and type bits.
    fn list(&self) -> Vec<(Name, u64, u32)> {
        let Ok(source) = self.proc.source() else { return Vec::new() };
        match self.kind {
            Kind::Dir => {
                let is_shown = |index: &u64| *index != 0 || self.in_task_of.is_none();
                let all = (0u64..).zip(entries::<M>()).filter(|(index, _)| is_shown(index));
                let shown = |(index, (name, kind)): (u64, (&'static str, Kind<M>))| {
                    (Name::from(name), index + 3, kind.mode() & abi::stat::S_IFMT)
                };
                all.map(shown).collect()
            }
            Kind::TaskDir => {
                let tids = source.tids(self.pid).into_iter();
                tids.map(|tid| (format!("{tid}").into_bytes(), u64::from(tid) + 3, S_IFDIR))
                    .collect()
            }
            Kind::FdDir => {
                let fds = self.view().map_or(Vec::new(), |view| view.files.fds()).into_iter();
                fds.map(|fd| (format!("{fd}").into_bytes(), fd as u64 + 3, S_IFLNK)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl<M: Machine> Inode<M> for PidDir<M> {
    fn stat(&self) -> Stat {
        self.proc.fs().stat(self.ino(), self.kind.mode())
    }

    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno> {
        match self.kind {
            Kind::Text(_) | Kind::Areas(_) | Kind::OomAdj(..) | Kind::PageMap => {
                self.view()?;
                let areas = SleepLock::new(AreaText::default());
                Ok(Arc::new(OpenNode { node: self, text: SnapShot::default(), areas }))
            }
            _ => Err(Errno::EISDIR),
        }
    }

    fn truncate(&self, _len: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn link(&self) -> Result<Link<M>, Errno> {
        let view = self.view();
        match self.kind {
            // A zombie has no program any more.
            Kind::Exe => match view? {
                view if view.mm.is_none() || view.exe.is_empty() => Err(Errno::ENOENT),
                view => Ok(Link::Path(view.exe)),
            },
            Kind::Cwd => Ok(Link::Inode(view?.cwd)),
            Kind::Root => Ok(Link::Path(vec![b'/'])),
            Kind::Fd(fd) => {
                let file = view?.files.get(fd).map_err(|_| Errno::ENOENT)?;
                Ok(Link::Inode(Arc::clone(file.inode())))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn directory(&self) -> Option<&dyn Directory<M>> {
        matches!(self.kind, Kind::Dir | Kind::TaskDir | Kind::FdDir).then_some(self)
    }

    fn stat_fs(&self) -> StatFs {
        self.proc.fs().stat_fs()
    }

    fn place(&self) -> Option<(InodeRef<M>, Name)> {
        Some((self.parent(), self.name.clone()))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<M: Machine> Directory<M> for PidDir<M> {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef<M>, Errno> {
        match self.kind {
            Kind::Dir => {
                let mut all = (0u64..).zip(entries::<M>());
                let found = all.find(|(_, (own, _))| own.as_bytes() == name);
                let (index, (_, kind)) = found.ok_or(Errno::ENOENT)?;
                if matches!(kind, Kind::TaskDir) && self.in_task_of.is_some() {
                    return Err(Errno::ENOENT);
                }
                Ok(self.entry(index + 1, name, kind))
            }
            Kind::TaskDir => {
                let tid = parse_pid(name).ok_or(Errno::ENOENT)?;
                let is_own = self.proc.source()?.tids(self.pid).contains(&tid);
                if is_own { Ok(self.thread(tid)) } else { Err(Errno::ENOENT) }
            }
            Kind::FdDir => {
                let fd = if name == b"0" { Some(0) } else { parse_pid(name) };
                let fd = fd.and_then(|fd| i32::try_from(fd).ok()).ok_or(Errno::ENOENT)?;
                self.view()?.files.get(fd).map_err(|_| Errno::ENOENT)?;
                Ok(self.entry(self.index, name, Kind::Fd(fd)))
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn parent(&self) -> InodeRef<M> {
        match (self.kind, self.in_task_of) {
            (Kind::Dir, None) => self.proc.root(),
            (Kind::Dir, Some(pid)) => {
                let process = Self { in_task_of: None, pid, ..self.dir() };
                process.entry(1, b"task", Kind::TaskDir)
            }
            (Kind::Fd(_), _) => self.entry(2, b"fd", Kind::FdDir),
            _ => Arc::new(self.dir()),
        }
    }

    fn entries(&self, after: u64, max: usize) -> Vec<DirEntry> {
        let behind = self.list().into_iter().filter(|(_, number, _)| *number > after);
        let entry = |(name, next, kind)| DirEntry { ino: self.ino() + next, kind, next, name };
        behind.take(max).map(entry).collect()
    }
}

impl<M: Machine> PidDir<M> {
    /// Returns the directory of the process or thread that this node is about.
    fn dir(&self) -> Self {
        Self {
            proc: Arc::clone(&self.proc),
            pid: self.pid,
            in_task_of: self.in_task_of,
            kind: Kind::Dir,
            name: format!("{}", self.pid).into_bytes(),
            index: 0,
        }
    }
}

/// An open text or page map.
struct OpenNode<M: Machine> {
    node: Arc<PidDir<M>>,
    text: SnapShot,
    /// Held while it is read, as user memory is copied: Linux's seq_file does the same.
    areas: SleepLock<AreaText>,
}

impl<M: Machine> FileOps<M> for OpenNode<M> {
    fn read(&self, at: u64, to: &mut dyn Sink, _nonblock: bool) -> Result<usize, Errno> {
        let proc = &self.node.proc;
        match self.node.kind {
            Kind::Text(show) | Kind::OomAdj(show, _) => {
                self.text.read(at, to, || show(&self.node.view()?, proc))
            }
            Kind::Areas(put) => {
                areas_text::read(&self.areas, &self.node.view()?, proc, put, at, to)
            }
            _ => pagemap::read(&self.node.view()?, at, to),
        }
    }

    fn write(&self, at: WriteAt, from: &mut dyn Source, _nonblock: bool) -> Result<Written, Errno> {
        let Kind::OomAdj(_, parse) = self.node.kind else { return Err(Errno::EINVAL) };
        // Linux looks at the first bytes only, and takes all.
        let len = from.left();
        let mut bytes = [0; MAX_NUMBER];
        let bytes = &mut bytes[..len.min(MAX_NUMBER)];
        from.take(bytes)?;
        let adj = parse(bytes)?;
        self.node.proc.source()?.set_oom_score_adj(self.node.pid, adj).ok_or(Errno::ESRCH)?;
        let start = if let WriteAt::Offset(offset) = at { offset } else { 0 };
        Ok(Written { len, end: start + len as u64 })
    }
}
