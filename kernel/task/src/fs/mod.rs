// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is about files.
//!
//! | question | where |
//! |---|---|
//! | how bytes reach user memory | `io.rs` |
//! | how a thread waits for input | `nap.rs` |
//! | what a file system shows of a file | `inode.rs`, of an open one `ops.rs` |
//! | an open file, a table of descriptors | `file.rs`, `table.rs` |
//! | working directory and umask | `context.rs` |
//! | how a path is walked | `path.rs`; what is mounted `vfs.rs` |
//! | open, names, listings | `open.rs`, `names.rs`, `listing.rs` |
//! | files in memory | `tmpfs/` |
//! | pipes | `pipe.rs` |
//! | devices | `dev/` |
//! | procfs and sysfs | `proc/`, `sys.rs`, both on `synthetic.rs` |
//! | what is there at boot | `boot.rs`, `initramfs.rs` |
//!
//! # Locks
//!
//! Spin locks of level `Inode` guard names and buffers for a few lines each; none is held while
//! user memory is copied. Two sleeping locks are: the offset of an open file, then the content of a
//! file that is written, both above the mmap lock. `docs/LOCKING.md` has the whole order.

mod boot;
mod context;
mod dev;
mod env;
mod file;
mod initramfs;
mod inode;
mod io;
mod listing;
mod names;
mod nap;
mod objects;
mod open;
mod ops;
mod path;
mod pipe;
mod proc;
mod synthetic;
mod sys;
mod table;
#[cfg(test)]
mod tests;
mod tmpfs;
mod vfs;

pub use boot::{BootError, BootTree, boot_tree};
pub use context::FsContext;
pub use dev::{Device, Tty, TtyWish, disk_of, new_dev_fs};
pub use env::Env;
pub use file::File;
pub use initramfs::{ArchiveFault, InitramfsError, Unpacked, unpack};
pub use inode::{
    AttrChange, DirEntry, Directory, FileId, Inode, InodeRef, Link, Name, New, OpenMode,
    RenameMode, is_dir, is_regular, is_symlink,
};
pub use io::{Sink, SliceSink, SliceSource, Source};
pub use nap::{EventCount, Nap};
pub use open::OpenHow;
pub use ops::{Caller, FileOps, Mapping, Offsets, PollEvents, WriteAt, Written};
pub use path::{Last, Parent};
pub use proc::{MmUser, ProcFs, ProcSource, ProcessView, new_proc_fs};
pub use sys::new_sys_fs;
pub use table::{Closed, FileTable, MAX_FILES};
pub use tmpfs::Tmpfs;
pub use vfs::{Mount, Vfs};
