// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the open files and the directories of a process.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::clone::{CLONE_FILES, CLONE_FS};
use abi::open::O_RDWR;
use base::lock_level;
use base::sync::SpinLock;
use hal::{Platform, WaitChannel};
use mm::Shmem;

use crate::fs::{FileTable, FsContext, InodeRef, Mapping, Nap, OpenHow, OpenMode, is_regular};
use crate::kernel::Kernel;
use crate::process::{Process, Thread};
use crate::sched::{Scheduler, Woken};
use crate::syscall::restart;

/// Open files and directories, which a child may share.
pub(crate) struct Files<P: Platform> {
    /// `None` once the process has ended. Exec takes a table of its own.
    table: SpinLock<Option<Arc<FileTable<P>>>, lock_level::Task>,
    pub context: Arc<FsContext<P>>,
}

impl<P: Platform> Files<P> {
    pub fn new(table: FileTable<P>, context: FsContext<P>) -> Self {
        Self { table: SpinLock::new(Some(Arc::new(table))), context: Arc::new(context) }
    }

    /// Returns what a child made with `flags` (CLONE_*) begins with.
    pub fn for_child(&self, flags: u64) -> Self {
        let table = self.table();
        let table = if flags & CLONE_FILES != 0 { table } else { Arc::new(table.fork()) };
        let context = match flags & CLONE_FS != 0 {
            true => Arc::clone(&self.context),
            false => Arc::new(self.context.fork()),
        };
        Self { table: SpinLock::new(Some(table)), context }
    }

    /// Returns the table of descriptors; an empty one when the process has ended.
    pub fn table(&self) -> Arc<FileTable<P>> {
        let table = self.table.lock().clone();
        table.unwrap_or_default()
    }

    /// Lets go of all files: the process has ended.
    pub fn close(&self) {
        let table = self.table.lock().take();
        // The last of several processes that share it closes them, with no lock held.
        drop(table);
    }

    /// Takes a table of its own in place of one that others may use, too.
    pub fn unshare(&self) {
        let own = Arc::new(self.table().fork());
        let old = self.table.lock().replace(own);
        drop(old);
    }

    /// Gives the new program a table of its own, without what is closed on exec.
    pub fn exec(&self) {
        self.unshare();
        drop(self.table().exec());
    }
}

impl<P: Platform> Process<P> {
    /// Returns the table of descriptors.
    pub(crate) fn file_table(&self) -> Arc<FileTable<P>> {
        self.files.table()
    }

    /// Stops sharing descriptors with other processes.
    pub(crate) fn unshare_files(&self) {
        self.files.unshare();
    }

    /// Returns working directory and umask.
    pub(crate) fn fs_context(&self) -> &FsContext<P> {
        &self.files.context
    }

    /// Returns the working directory.
    pub(crate) fn cwd(&self) -> InodeRef<P> {
        self.files.context.cwd()
    }
}

impl<P: Platform> Kernel<P> {
    /// Opens a file to be run; returns its bytes, and its path from the root.
    ///
    /// # Errors
    ///
    /// Those of a walk; EACCES for what is no file or may not be run.
    pub(crate) fn open_program(
        &'static self,
        thread: &Arc<Thread<P>>,
        path: &[u8],
    ) -> Result<(Arc<Shmem<P>>, Vec<u8>), Errno> {
        let inode = self.vfs().find(&thread.process().cwd(), path, true)?;
        let mode = inode.stat().mode;
        // Root may run what anybody may.
        if !is_regular(inode.kind()) || mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        let full_path = self.vfs().shown_path(&inode);
        let read = OpenMode { read: true, write: false, nonblock: false };
        match inode.open(read)?.mapping()? {
            Mapping::Object(object) => Ok((object, full_path)),
            Mapping::Anonymous => Err(Errno::EACCES),
        }
    }

    /// Returns the files that the first process begins with: the console, three times.
    pub(crate) fn files_for_init(&self) -> Files<P> {
        let vfs = self.vfs();
        let table = FileTable::new();
        let how = OpenHow { flags: O_RDWR, mode: 0 };
        match vfs.open(vfs.root(), b"/dev/console", how) {
            Ok(console) => {
                for _ in 0..3 {
                    let limit = crate::fs::MAX_FILES;
                    let inserted = table.insert(Arc::clone(&console), false, 0, limit);
                    inserted.expect("an empty table has room");
                }
            }
            Err(why) => log::warn!("init has no console: {why}"),
        }
        Files::new(table, FsContext::new(Arc::clone(vfs.root())))
    }
}

impl<P: Platform> Nap for Scheduler<P> {
    fn nap(
        &self,
        channel: WaitChannel,
        deadline_ns: Option<u64>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Errno> {
        match self.sleep_interruptible(channel, deadline_ns, ready) {
            Woken::Ready => Ok(true),
            Woken::TimedOut => Ok(false),
            Woken::Interrupted => Err(restart::SYS),
        }
    }

    fn wake(&self, channel: WaitChannel) {
        self.wake_all(channel);
    }
}
