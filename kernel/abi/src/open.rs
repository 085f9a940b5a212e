// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds flags of open, fcntl, the *at calls, lseek, fallocate, rename and memfd
//! (arch/arm64/include/uapi/asm/fcntl.h, include/uapi/asm-generic/fcntl.h,
//! include/uapi/linux/{fcntl,fs,falloc,memfd,close_range}.h).

/// Mask of the access mode.
pub const O_ACCMODE: u32 = 0o3;
/// Reading only.
pub const O_RDONLY: u32 = 0;
/// Writing only.
pub const O_WRONLY: u32 = 0o1;
/// Reading and writing.
pub const O_RDWR: u32 = 0o2;
/// Creates the file.
pub const O_CREAT: u32 = 0o100;
/// Fails when the file exists.
pub const O_EXCL: u32 = 0o200;
/// Does not make it the controlling terminal.
pub const O_NOCTTY: u32 = 0o400;
/// Makes it empty.
pub const O_TRUNC: u32 = 0o1_000;
/// Writes at the end.
pub const O_APPEND: u32 = 0o2_000;
/// Does not wait.
pub const O_NONBLOCK: u32 = 0o4_000;
/// Writes data through.
pub const O_DSYNC: u32 = 0o10_000;
/// Sends SIGIO.
pub const O_ASYNC: u32 = 0o20_000;
/// Must be a directory (arm64's own number).
pub const O_DIRECTORY: u32 = 0o40_000;
/// Must not be a symbolic link (arm64's own number).
pub const O_NOFOLLOW: u32 = 0o100_000;
/// Bypasses the page cache (arm64's own number).
pub const O_DIRECT: u32 = 0o200_000;
/// Allows files of 2 GiB and more (arm64's own number).
pub const O_LARGEFILE: u32 = 0o400_000;
/// Does not set the time of the last read.
pub const O_NOATIME: u32 = 0o1_000_000;
/// Closes on exec.
pub const O_CLOEXEC: u32 = 0o2_000_000;
/// Writes everything through.
pub const O_SYNC: u32 = 0o4_000_000 | O_DSYNC;
/// Names a file without opening it.
pub const O_PATH: u32 = 0o10_000_000;
/// Makes a file without a name, in a directory.
pub const O_TMPFILE: u32 = 0o20_000_000 | O_DIRECTORY;
/// Flags that F_SETFL changes.
pub const SETFL_MASK: u32 = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;

/// The working directory, in place of a directory's descriptor.
pub const AT_FDCWD: i32 = -100;
/// Does not follow a last symbolic link.
pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
/// faccessat2: uses the effective IDs.
pub const AT_EACCESS: u32 = 0x200;
/// unlinkat: removes a directory.
pub const AT_REMOVEDIR: u32 = 0x200;
/// Follows a last symbolic link.
pub const AT_SYMLINK_FOLLOW: u32 = 0x400;
/// Does not mount on the way.
pub const AT_NO_AUTOMOUNT: u32 = 0x800;
/// An empty path is the descriptor itself.
pub const AT_EMPTY_PATH: u32 = 0x1000;

/// access: exists.
pub const F_OK: u32 = 0;
/// access: may be executed.
pub const X_OK: u32 = 1;
/// access: may be written.
pub const W_OK: u32 = 2;
/// access: may be read.
pub const R_OK: u32 = 4;

/// fcntl: duplicates to the lowest free descriptor from the argument on.
pub const F_DUPFD: u32 = 0;
/// fcntl: returns the descriptor's flags.
pub const F_GETFD: u32 = 1;
/// fcntl: sets the descriptor's flags.
pub const F_SETFD: u32 = 2;
/// fcntl: returns the file's flags.
pub const F_GETFL: u32 = 3;
/// fcntl: sets the file's flags.
pub const F_SETFL: u32 = 4;
/// fcntl: tells who holds a record lock.
pub const F_GETLK: u32 = 5;
/// fcntl: takes or drops a record lock.
pub const F_SETLK: u32 = 6;
/// fcntl: takes a record lock and waits for it.
pub const F_SETLKW: u32 = 7;
/// fcntl: like F_DUPFD, closing on exec.
pub const F_DUPFD_CLOEXEC: u32 = 1030;
/// fcntl: sets the capacity of a pipe.
pub const F_SETPIPE_SZ: u32 = 1031;
/// fcntl: returns the capacity of a pipe.
pub const F_GETPIPE_SZ: u32 = 1032;
/// fcntl: adds seals.
pub const F_ADD_SEALS: u32 = 1033;
/// fcntl: returns seals.
pub const F_GET_SEALS: u32 = 1034;
/// Descriptor flag: closes on exec.
pub const FD_CLOEXEC: u32 = 1;

/// lseek: from the start.
pub const SEEK_SET: u32 = 0;
/// lseek: from where it is.
pub const SEEK_CUR: u32 = 1;
/// lseek: from the end.
pub const SEEK_END: u32 = 2;
/// lseek: to the next data.
pub const SEEK_DATA: u32 = 3;
/// lseek: to the next hole.
pub const SEEK_HOLE: u32 = 4;

/// fallocate: the length stays.
pub const FALLOC_FL_KEEP_SIZE: u32 = 1;
/// fallocate: makes a hole.
pub const FALLOC_FL_PUNCH_HOLE: u32 = 2;

/// renameat2: fails when the new name exists.
pub const RENAME_NOREPLACE: u32 = 1;
/// renameat2: swaps both.
pub const RENAME_EXCHANGE: u32 = 2;
/// renameat2: leaves a whiteout.
pub const RENAME_WHITEOUT: u32 = 4;

/// memfd_create: closes on exec.
pub const MFD_CLOEXEC: u32 = 1;
/// memfd_create: may be sealed.
pub const MFD_ALLOW_SEALING: u32 = 2;
/// memfd_create: of huge pages.
pub const MFD_HUGETLB: u32 = 4;
/// memfd_create: may never be executed.
pub const MFD_NOEXEC_SEAL: u32 = 8;
/// memfd_create: may be executed.
pub const MFD_EXEC: u32 = 16;

/// close_range: gives the caller a table of its own first.
pub const CLOSE_RANGE_UNSHARE: u32 = 2;
/// close_range: sets the flag in place of closing.
pub const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;
/// Longest path, with the zero byte that ends it.
pub const PATH_MAX: usize = 4096;
