// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file builds the tree of files that the first process finds.

use alloc::sync::Arc;
use core::fmt;

use abi::Errno;
use hal::Platform;

use super::dev::{Tty, new_dev_fs};
use super::env::Env;
use super::initramfs::{InitramfsError, Unpacked, unpack};
use super::proc::{ProcFs, new_proc_fs};
use super::sys::new_sys_fs;
use super::tmpfs::Tmpfs;
use super::vfs::Vfs;

/// Why there is no tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BootError {
    /// The archive is not whole.
    Initramfs(InitramfsError),
    /// A file system could not be mounted there.
    Mount(&'static str, Errno),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Initramfs(error) => error.fmt(f),
            BootError::Mount(path, error) => write!(f, "cannot mount {path}: {error}"),
        }
    }
}

impl core::error::Error for BootError {}

/// The tree at boot.
pub struct BootTree<P: Platform> {
    /// All files.
    pub vfs: Vfs<P>,
    /// The terminal, which wants its interrupts.
    pub tty: Arc<Tty<P>>,
    /// procfs, which wants to know the processes.
    pub proc: Arc<ProcFs<P>>,
    /// What came out of the archive.
    pub unpacked: Unpacked,
}

/// Unpacks the archive into a tmpfs that is the root, and mounts everything else on it.
///
/// # Errors
///
/// [`BootError`].
pub fn boot_tree<P: Platform>(env: &Arc<Env<P>>, archive: &[u8]) -> Result<BootTree<P>, BootError> {
    let half_of_ram = env.half_of_ram();
    let mut vfs = Vfs::new(env, Tmpfs::new(env, half_of_ram).root());
    let unpacked = match archive {
        [] => Unpacked::default(),
        archive => unpack(&vfs, archive).map_err(BootError::Initramfs)?,
    };
    let tty = Tty::new(env);
    let at_dev = |error| BootError::Mount("/dev", error);
    let dev = new_dev_fs(env, &tty).map_err(at_dev)?;
    let mut mount = |path, fs_type, root| {
        vfs.mount(path, fs_type, root).map_err(|error| BootError::Mount(path, error))
    };
    mount("/dev", "devtmpfs", dev.root())?;
    mount("/dev/shm", "tmpfs", Tmpfs::new(env, half_of_ram).root())?;
    let proc = new_proc_fs(env);
    mount("/proc", "proc", proc.root())?;
    mount("/sys", "sysfs", new_sys_fs(env))?;
    Ok(BootTree { vfs, tty, proc, unpacked })
}
