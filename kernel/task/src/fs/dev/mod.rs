// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder holds the devices of /dev.
//!
//! | node | number | where |
//! |---|---|---|
//! | null, zero, full, random, urandom | 1:3, 1:5, 1:7, 1:8, 1:9 | `mem.rs` |
//! | console, tty | 5:1, 5:0 | `tty/` |
//! | hmm_dmirror0, hmm_dmirror1 | 234:0, 234:1 | `hmm_dmirror/` |
//! | vda, vdb, ... | 254:0, 254:16, ... | `disk.rs` |

mod disk;
mod hmm_dmirror;
mod mem;
mod tty;

use alloc::sync::Arc;

use abi::Errno;
use abi::stat::{S_IFBLK, S_IFCHR, device_number, major, minor};
use hal::{DeviceId, DiskId, Machine, Platform};

use super::env::Env;
use super::inode::OpenMode;
use super::ops::FileOps;
use super::tmpfs::Tmpfs;
use disk::Disk;
use hmm_dmirror::Dmirror;
use mem::{MemDevice, Random};
pub use tty::{Tty, TtyWish};

/// Major number of virtio disks, and minor numbers of each (Linux drivers/block/virtio_blk.c).
const DISK_MAJOR: u32 = 254;
const DISK_MINORS: u32 = 16;

/// Major number of devices with memory of their own. Linux gives them a free one.
const DMIRROR_MAJOR: u32 = 234;

/// Disks that have a letter.
const MAX_DISKS: usize = 26;

/// What a device node leads to.
pub trait Device<M: Machine>: Send + Sync {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// ENXIO when there is none.
    fn open(self: Arc<Self>, mode: OpenMode) -> Result<Arc<dyn FileOps<M>>, Errno>;
}

/// Returns the disk that has a device number.
pub fn disk_of(device: u64) -> Option<DiskId> {
    let number = u8::try_from(minor(device) / DISK_MINORS).ok()?;
    (major(device) == DISK_MAJOR).then_some(DiskId(number))
}

/// Makes the file system of /dev.
///
/// # Errors
///
/// ENOMEM.
pub fn new_dev_fs<P: Platform>(
    env: &Arc<Env<P>>,
    tty: &Arc<Tty<P>>,
) -> Result<Arc<Tmpfs<P>>, Errno> {
    let fs = Tmpfs::new(env, env.half_of_ram());
    let root = fs.root();
    let char_device = |name: &str, mode, major, minor, device| {
        let rdev = device_number(major, minor);
        root.create_device(name.as_bytes(), S_IFCHR | mode, rdev, device)
    };
    char_device("null", 0o666, 1, 3, Arc::new(MemDevice::Null))?;
    char_device("zero", 0o666, 1, 5, Arc::new(MemDevice::Zero))?;
    char_device("full", 0o666, 1, 7, Arc::new(MemDevice::Full))?;
    let random = Arc::new(Random::new(env));
    char_device("random", 0o666, 1, 8, Arc::clone(&random) as Arc<dyn Device<P>>)?;
    char_device("urandom", 0o666, 1, 9, random)?;
    char_device("tty", 0o666, 5, 0, Arc::clone(tty) as Arc<dyn Device<P>>)?;
    char_device("console", 0o600, 5, 1, Arc::clone(tty) as Arc<dyn Device<P>>)?;
    for number in 0..env.machine().nr_devices() as u8 {
        let name = alloc::format!("hmm_dmirror{number}");
        let device = Dmirror::new(env, DeviceId(number));
        char_device(&name, 0o666, DMIRROR_MAJOR, number.into(), device)?;
    }
    for number in 0..env.machine().nr_disks().min(MAX_DISKS) as u8 {
        let name = [b'v', b'd', b'a' + number];
        let rdev = device_number(DISK_MAJOR, DISK_MINORS * u32::from(number));
        let disk = Disk::new(env, DiskId(number));
        root.create_device(&name, S_IFBLK | 0o660, rdev, disk)?;
    }
    Ok(fs)
}
