// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests disks as files.

use abi::Errno;
use abi::ioctl::{BLKGETSIZE, BLKGETSIZE64, BLKSSZGET};
use abi::open::{O_APPEND, O_RDWR, SEEK_END, SEEK_SET};
use abi::stat::{S_IFBLK, S_IFMT, device_number};
use hal::DiskId;
use std::vec;

use super::rig::{Rig, read, read_at, write, write_at};

/// The rig's disk has 32 pages.
const LEN: u64 = 32 * 4096;

#[test]
fn bytes_reach_the_medium_and_their_neighbours_stay() {
    Rig::run(|rig| {
        rig.machine.write_medium(DiskId(0), 0, &vec![0xee; LEN as usize]);
        let disk = rig.open("/dev/vda", O_RDWR).unwrap();
        assert_eq!(write_at(&disk, 4090, &[1; 10]), Ok(10));
        assert_eq!(write_at(&disk, 8192, &[2; 4096]), Ok(4096));
        let mut expected = vec![0xee; 3 * 4096];
        expected[4090..4100].fill(1);
        expected[8192..].fill(2);
        assert_eq!(read_at(&disk, 0, 3 * 4096).unwrap(), expected);
        assert_eq!(disk.sync(), Ok(()));
        let mut medium = vec![0; 3 * 4096];
        rig.machine.read_medium(DiskId(0), 0, &mut medium);
        assert_eq!(medium, expected);
    });
}

#[test]
fn a_disk_ends_where_its_last_page_ends() {
    Rig::run(|rig| {
        let disk = rig.open("/dev/vda", O_RDWR).unwrap();
        assert_eq!(disk.seek(0, SEEK_END), Ok(LEN));
        assert_eq!(read(&disk, 10).unwrap(), b"");
        assert_eq!(write(&disk, b"x"), Err(Errno::ENOSPC));
        assert_eq!(write_at(&disk, LEN - 3, b"abcdef"), Ok(3));
        assert_eq!(disk.seek(-3, SEEK_END), Ok(LEN - 3));
        assert_eq!(read(&disk, 10).unwrap(), b"abc");
        assert_eq!(disk.seek(5, SEEK_SET), Ok(5));
        assert_eq!(
            write(&rig.open("/dev/vda", O_RDWR | O_APPEND).unwrap(), b"x"),
            Err(Errno::ENOSPC)
        );
        assert_eq!(disk.ioctl(BLKGETSIZE64, &[]).unwrap(), LEN.to_le_bytes());
        assert_eq!(disk.ioctl(BLKGETSIZE, &[]).unwrap(), (LEN / 512).to_le_bytes());
        assert_eq!(disk.ioctl(BLKSSZGET, &[]).unwrap(), 512u32.to_le_bytes());
        assert_eq!(disk.ioctl(1, &[]), Err(Errno::ENOTTY));
        assert_eq!(disk.mapping().err(), Some(Errno::ENODEV));
        assert_eq!(disk.truncate(0), Err(Errno::EINVAL));
        let stat = disk.inode().stat();
        assert_eq!((stat.mode & S_IFMT, stat.rdev), (S_IFBLK, device_number(254, 0)));
        assert_eq!(rig.find("/dev/vdb").err(), Some(Errno::ENOENT));
    });
}

#[test]
fn no_frame_is_kept_by_a_transfer() {
    Rig::run(|rig| {
        let disk = rig.open("/dev/vda", O_RDWR).unwrap();
        let free = || rig.vfs.env().system().meminfo().free;
        let before = free();
        write_at(&disk, 0, &[3; 9000]).unwrap();
        read_at(&disk, 0, 9000).unwrap();
        assert_eq!(free(), before);
    });
}
