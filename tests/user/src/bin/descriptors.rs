// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests descriptors: how they are made, shared and closed.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use user_tests::files::{Scratch, c};
use user_tests::process;
use user_tests::sys::{self, Errno};

user_tests::tests!(
    each_bad_open_has_its_errno,
    descriptors_are_duplicated_and_closed,
    a_child_shares_the_offset,
);

fn open(path: &str, flags: i32) -> Result<usize, Errno> {
    let path = c(path);
    let at = libc::AT_FDCWD as usize;
    sys::call(libc::SYS_openat, [at, path.as_ptr() as usize, flags as usize, 0o644])
}

fn each_bad_open_has_its_errno() {
    let dir = Scratch::new();
    dir.file("f", b"");
    symlink("f", dir.path("l")).unwrap();
    let cases = [
        (dir.root().to_owned(), libc::O_WRONLY, libc::EISDIR),
        (dir.path("f"), libc::O_DIRECTORY, libc::ENOTDIR),
        (dir.path("f"), libc::O_CREAT | libc::O_EXCL, libc::EEXIST),
        (dir.path("l"), libc::O_NOFOLLOW, libc::ELOOP),
        (dir.path("none"), libc::O_RDWR, libc::ENOENT),
        (dir.path("f/x"), libc::O_CREAT, libc::ENOTDIR),
        (dir.path("x/"), libc::O_CREAT, libc::EISDIR),
    ];
    for (path, flags, error) in cases {
        assert_eq!(open(&path, flags), Err(error), "{path} {flags:o}");
    }
    let file = File::open(dir.path("f")).unwrap();
    let fd = file.as_raw_fd() as usize;
    let byte = [0u8; 1];
    assert_eq!(sys::call(libc::SYS_write, [fd, byte.as_ptr() as usize, 1]), Err(libc::EBADF));
    assert_eq!(sys::call(libc::SYS_read, [999, byte.as_ptr() as usize, 1]), Err(libc::EBADF));
    assert_eq!(sys::call(libc::SYS_close, [999]), Err(libc::EBADF));
    assert_eq!(sys::call(libc::SYS_lseek, [fd, 0, 9]), Err(libc::EINVAL));
}

fn descriptors_are_duplicated_and_closed() {
    let dir = Scratch::new();
    let file = dir.file("f", b"abc");
    let fd = file.as_raw_fd() as usize;
    let fcntl = |fd: usize, command: i32, argument: usize| {
        sys::call(libc::SYS_fcntl, [fd, command as usize, argument])
    };
    assert_eq!(fcntl(fd, libc::F_DUPFD_CLOEXEC, 100), Ok(100));
    assert_eq!(fcntl(100, libc::F_GETFD, 0), Ok(libc::FD_CLOEXEC as usize));
    assert_eq!(fcntl(100, libc::F_SETFD, 0), Ok(0));
    assert_eq!(fcntl(100, libc::F_GETFD, 0), Ok(0));
    assert_eq!(sys::call(libc::SYS_dup3, [100, 101, libc::O_CLOEXEC as usize]), Ok(101));
    assert_eq!(sys::call(libc::SYS_dup3, [100, 100, 0]), Err(libc::EINVAL));
    assert_eq!(sys::call(libc::SYS_dup3, [102, 103, 0]), Err(libc::EBADF));
    assert_eq!(fcntl(fd, libc::F_SETFL, libc::O_APPEND as usize), Ok(0));
    let flags = fcntl(101, libc::F_GETFL, 0).unwrap() as i32;
    assert_eq!(flags & (libc::O_APPEND | libc::O_ACCMODE), libc::O_APPEND | libc::O_RDWR);
    assert_eq!(sys::call(libc::SYS_close_range, [100, 200, 0]), Ok(0));
    assert_eq!(fcntl(100, libc::F_GETFD, 0), Err(libc::EBADF));
    assert_eq!(sys::call(libc::SYS_close_range, [5, 4, 0]), Err(libc::EINVAL));
    assert_eq!(fcntl(fd, 9999, 0), Err(libc::EINVAL));
}

fn a_child_shares_the_offset() {
    let dir = Scratch::new();
    let mut file = dir.file("f", b"abcdef");
    file.rewind().unwrap();
    process::in_child(|| {
        let mut bytes = [0; 4];
        (&file).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"abcd");
    });
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "ef");
}
