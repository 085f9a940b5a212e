// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds file modes and the structs that stat, statx and statfs fill in
//! (include/uapi/asm-generic/{stat,statfs}.h, include/uapi/linux/{stat,magic}.h).

/// Mask of the file type in a mode.
pub const S_IFMT: u32 = 0o170_000;
/// A named or unnamed pipe.
pub const S_IFIFO: u32 = 0o010_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link.
pub const S_IFLNK: u32 = 0o120_000;
/// Set-group-ID.
pub const S_ISGID: u32 = 0o2_000;
/// Sticky.
pub const S_ISVTX: u32 = 0o1_000;

/// statx: everything that stat tells.
pub const STATX_BASIC_STATS: u32 = 0x7ff;
/// statx: must be zero.
pub const STATX_RESERVED: u32 = 0x8000_0000;
/// statx: do not synchronise with a server.
pub const AT_STATX_DONT_SYNC: u32 = 0x4000;
/// statx: synchronise with a server.
pub const AT_STATX_FORCE_SYNC: u32 = 0x2000;

/// Magic number of tmpfs.
pub const TMPFS_MAGIC: u64 = 0x0102_1994;
/// Magic number of procfs.
pub const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// Magic number of sysfs.
pub const SYSFS_MAGIC: u64 = 0x6265_6572;
/// Magic number of pipes.
pub const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// Seconds and nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct FileTime {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// What stat and statx tell of a file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stat {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Names.
    pub nr_links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred size of reads and writes.
    pub block_size: u32,
    /// Units of 512 bytes in use.
    pub blocks: u64,
    /// Last read.
    pub atime: FileTime,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of anything.
    pub ctime: FileTime,
}

/// Returns the device number `new_encode_dev` makes of a major and a minor number.
pub const fn device_number(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u64
}

/// Returns the major part of a device number.
pub const fn major(device: u64) -> u32 {
    (device as u32 >> 8) & 0xfff
}

/// Returns the minor part of a device number.
pub const fn minor(device: u64) -> u32 {
    (device as u32 & 0xff) | (device as u32 >> 12) & 0xf_ff00
}

/// Bytes of a struct under construction.
struct Fields<const N: usize>([u8; N]);

impl<const N: usize> Fields<N> {
    fn put<const W: usize>(&mut self, at: usize, bytes: [u8; W]) {
        self.0[at..at + W].copy_from_slice(&bytes);
    }
}

impl Stat {
    /// Bytes of `struct stat`.
    pub const SIZE: usize = 128;
    /// Bytes of `struct statx`.
    pub const STATX_SIZE: usize = 256;

    /// Returns the bytes of `struct stat`.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = Fields([0; Self::SIZE]);
        out.put(0, self.dev.to_le_bytes());
        out.put(8, self.ino.to_le_bytes());
        out.put(16, self.mode.to_le_bytes());
        out.put(20, self.nr_links.to_le_bytes());
        out.put(24, self.uid.to_le_bytes());
        out.put(28, self.gid.to_le_bytes());
        out.put(32, self.rdev.to_le_bytes());
        out.put(48, self.size.to_le_bytes());
        out.put(56, self.block_size.to_le_bytes());
        out.put(64, self.blocks.to_le_bytes());
        for (at, time) in [(72, self.atime), (88, self.mtime), (104, self.ctime)] {
            out.put(at, time.seconds.to_le_bytes());
            out.put(at + 8, (time.nanoseconds as u64).to_le_bytes());
        }
        out.0
    }

    /// Returns the bytes of `struct statx`.
    pub fn to_statx_bytes(&self) -> [u8; Self::STATX_SIZE] {
        let mut out = Fields([0; Self::STATX_SIZE]);
        out.put(0, STATX_BASIC_STATS.to_le_bytes());
        out.put(4, self.block_size.to_le_bytes());
        out.put(16, self.nr_links.to_le_bytes());
        out.put(20, self.uid.to_le_bytes());
        out.put(24, self.gid.to_le_bytes());
        out.put(28, (self.mode as u16).to_le_bytes());
        out.put(32, self.ino.to_le_bytes());
        out.put(40, self.size.to_le_bytes());
        out.put(48, self.blocks.to_le_bytes());
        // Byte 80 is the time of birth, which STATX_BASIC_STATS does not promise.
        for (at, time) in [(64, self.atime), (96, self.ctime), (112, self.mtime)] {
            out.put(at, time.seconds.to_le_bytes());
            out.put(at + 8, time.nanoseconds.to_le_bytes());
        }
        for (at, device) in [(128, self.rdev), (136, self.dev)] {
            out.put(at, major(device).to_le_bytes());
            out.put(at + 4, minor(device).to_le_bytes());
        }
        out.0
    }
}

/// What statfs tells of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StatFs {
    /// Magic number of the kind of file system.
    pub magic: u64,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks, 0 for no limit.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Inodes, 0 for no limit.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Device number.
    pub dev: u64,
    /// Longest name.
    pub name_max: u64,
}

impl StatFs {
    /// Bytes of `struct statfs`.
    pub const SIZE: usize = 120;
    /// Flag that says that the flags are valid (ST_VALID).
    const VALID: u64 = 0x20;

    /// Returns the bytes of `struct statfs`.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = Fields([0; Self::SIZE]);
        let words = [
            (0, self.magic),
            (8, self.block_size),
            (16, self.blocks),
            (24, self.blocks_free),
            (32, self.blocks_free),
            (40, self.files),
            (48, self.files_free),
            (56, self.dev),
            (64, self.name_max),
            (72, self.block_size),
            (80, Self::VALID),
        ];
        for (at, word) in words {
            out.put(at, word.to_le_bytes());
        }
        out.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Every field with a value of its own.
    fn sample() -> Stat {
        let time = |seconds| FileTime { seconds, nanoseconds: seconds as u32 + 1 };
        Stat {
            dev: device_number(8, 3),
            ino: 2,
            mode: S_IFREG | 0o644,
            nr_links: 4,
            uid: 5,
            gid: 6,
            rdev: device_number(5, 1),
            size: 8,
            block_size: 4096,
            blocks: 9,
            atime: time(10),
            mtime: time(20),
            ctime: time(30),
        }
    }

    #[test]
    fn struct_stat_has_the_offsets_of_asm_generic() {
        let bytes = sample().to_bytes();
        assert_eq!(u64_at(&bytes, 0), 0x803);
        assert_eq!(u64_at(&bytes, 8), 2);
        assert_eq!([16, 20, 24, 28].map(|at| u32_at(&bytes, at)), [0o100_644, 4, 5, 6]);
        assert_eq!([32, 48, 64].map(|at| u64_at(&bytes, at)), [0x501, 8, 9]);
        assert_eq!(u32_at(&bytes, 56), 4096);
        let times = [72, 80, 88, 96, 104, 112].map(|at| u64_at(&bytes, at));
        assert_eq!(times, [10, 11, 20, 21, 30, 31]);
    }

    #[test]
    fn struct_statx_has_the_offsets_of_uapi() {
        let bytes = sample().to_statx_bytes();
        assert_eq!([0, 4, 16, 20, 24].map(|at| u32_at(&bytes, at)), [0x7ff, 4096, 4, 5, 6]);
        assert_eq!(u32_at(&bytes, 28), 0o100_644);
        assert_eq!([32, 40, 48].map(|at| u64_at(&bytes, at)), [2, 8, 9]);
        assert_eq!([64, 96, 112].map(|at| u64_at(&bytes, at)), [10, 30, 20]);
        assert_eq!([72, 104, 120].map(|at| u32_at(&bytes, at)), [11, 31, 21]);
        assert_eq!([128, 132, 136, 140].map(|at| u32_at(&bytes, at)), [5, 1, 8, 3]);
    }

    #[test]
    fn device_numbers_with_large_minors_come_apart_again() {
        for (wanted_major, wanted_minor) in [(1, 3), (253, 0x4_1234), (0xfff, 0xf_ffff)] {
            let number = device_number(wanted_major, wanted_minor);
            assert_eq!((major(number), minor(number)), (wanted_major, wanted_minor));
        }
    }
}
