// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests the content of files: what is written is read, up to where buffers and files end.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use user_tests::files::{Scratch, c, errno, pattern};
use user_tests::memory::{self, Mapping, PAGE, RW};
use user_tests::sys;

user_tests::tests!(
    bytes_read_back,
    appends_go_to_the_end,
    a_shorter_file_forgets_its_tail,
    holes_are_zeroes_and_punched,
    an_unlinked_file_lives_until_it_is_closed,
    a_buffer_that_ends_in_nothing_moves_what_fits,
    bad_buffers_are_efault,
    devices_do_as_their_names_say,
    sendfile_copies,
);

fn bytes_read_back() {
    let dir = Scratch::new();
    let bytes = pattern(3 * PAGE + 77);
    let mut file = dir.file("f", &bytes);
    assert_eq!(fs::read(dir.path("f")).unwrap(), bytes);
    for (at, len) in [(0, 1), (PAGE - 1, 2), (5, 3 * PAGE)] {
        let mut part = vec![0; len];
        file.read_exact_at(&mut part, at as u64).unwrap();
        assert_eq!(part, bytes[at..at + len], "{len} bytes at {at}");
    }
    file.seek(SeekFrom::End(-7)).unwrap();
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, bytes[bytes.len() - 7..]);
    assert_eq!(file.metadata().unwrap().len(), bytes.len() as u64);
}

fn appends_go_to_the_end() {
    let dir = Scratch::new();
    dir.file("f", b"start");
    let append = || OpenOptions::new().append(true).open(dir.path("f")).unwrap();
    let (mut one, mut two) = (append(), append());
    one.write_all(b"-one").unwrap();
    two.write_all(b"-two").unwrap();
    one.write_all(b"-end").unwrap();
    assert_eq!(fs::read(dir.path("f")).unwrap(), b"start-one-two-end");
}

fn a_shorter_file_forgets_its_tail() {
    let dir = Scratch::new();
    let file = dir.file("f", &pattern(2 * PAGE));
    file.set_len(100).unwrap();
    file.set_len(2 * PAGE as u64).unwrap();
    let mut expected = pattern(100);
    expected.resize(2 * PAGE, 0);
    assert_eq!(fs::read(dir.path("f")).unwrap(), expected);
    let fd = file.as_raw_fd() as usize;
    assert_eq!(sys::call(libc::SYS_ftruncate, [fd, usize::MAX]), Err(libc::EINVAL));
}

fn holes_are_zeroes_and_punched() {
    let dir = Scratch::new();
    let file = dir.file("f", b"");
    file.write_all_at(&pattern(PAGE), 5 * PAGE as u64).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 8);
    let seek = |at: usize, whence: i32| {
        sys::call(libc::SYS_lseek, [file.as_raw_fd() as usize, at, whence as usize])
    };
    assert_eq!(seek(0, libc::SEEK_DATA), Ok(5 * PAGE));
    assert_eq!(seek(5 * PAGE, libc::SEEK_HOLE), Ok(6 * PAGE));
    assert_eq!(seek(6 * PAGE, libc::SEEK_DATA), Err(libc::ENXIO));
    let mode = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as usize;
    let fallocate = |mode: usize, at: usize, len: usize| {
        sys::call(libc::SYS_fallocate, [file.as_raw_fd() as usize, mode, at, len])
    };
    assert_eq!(fallocate(mode, 5 * PAGE, PAGE), Ok(0));
    assert_eq!(file.metadata().unwrap().blocks(), 0);
    assert_eq!(fs::read(dir.path("f")).unwrap(), vec![0; 6 * PAGE]);
    assert_eq!(fallocate(0, 0, 2 * PAGE), Ok(0));
    assert_eq!(file.metadata().unwrap().blocks(), 16);
    assert_eq!(fallocate(0, 0, 0), Err(libc::EINVAL));
}

fn an_unlinked_file_lives_until_it_is_closed() {
    let dir = Scratch::new();
    let mut file = dir.file("f", b"still here");
    fs::remove_file(dir.path("f")).unwrap();
    assert_eq!(errno(File::open(dir.path("f"))), Some(libc::ENOENT));
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
}

/// Returns a page that can be used with an unmapped one behind it.
fn page_before_a_hole() -> Mapping {
    let mapping = Mapping::anonymous(2 * PAGE);
    memory::mprotect(mapping.page(1), PAGE, libc::PROT_NONE).unwrap();
    mapping
}

fn a_buffer_that_ends_in_nothing_moves_what_fits() {
    let dir = Scratch::new();
    let file = dir.file("f", &[7; 1000]);
    let fd = file.as_raw_fd() as usize;
    let buffer = page_before_a_hole();
    let at = buffer.page(1) - 10;
    assert_eq!(sys::call(libc::SYS_pread64, [fd, at, 100, 0]), Ok(10));
    assert_eq!((at..buffer.page(1)).map(memory::load_byte).collect::<Vec<_>>(), [7; 10]);
    assert_eq!(sys::call(libc::SYS_pread64, [fd, buffer.page(1), 100, 0]), Err(libc::EFAULT));
    assert_eq!(sys::call(libc::SYS_pwrite64, [fd, at, 100, 1000]), Ok(10));
    assert_eq!(file.metadata().unwrap().len(), 1010);
    assert_eq!(sys::call(libc::SYS_pwrite64, [fd, buffer.page(1), 9, 0]), Err(libc::EFAULT));
}

fn bad_buffers_are_efault() {
    let dir = Scratch::new();
    let file = dir.file("f", &[7; 1000]);
    let (fd, path) = (file.as_raw_fd() as usize, c(&dir.path("f")));
    let path = path.as_ptr() as usize;
    let cwd = libc::AT_FDCWD as usize;
    // Nothing, the kernel's half, an address that is none.
    for bad in [8, 0xffff_0000_0000_0000, usize::MAX - 100, 1 << 55] {
        let calls = [
            (libc::SYS_pread64, [fd, bad, 10, 0]),
            (libc::SYS_pwrite64, [fd, bad, 10, 0]),
            (libc::SYS_readv, [fd, bad, 2, 0]),
            (libc::SYS_fstat, [fd, bad, 0, 0]),
            (libc::SYS_openat, [cwd, bad, 0, 0]),
            (libc::SYS_newfstatat, [cwd, path, bad, 0]),
            (libc::SYS_statfs, [path, bad, 0, 0]),
            (libc::SYS_getcwd, [bad, 100, 0, 0]),
            (libc::SYS_pipe2, [bad, 0, 0, 0]),
            (libc::SYS_utimensat, [cwd, path, bad, 0]),
            (libc::SYS_ppoll, [bad, 1, 0, 0]),
            (libc::SYS_mkdirat, [cwd, bad, 0, 0]),
        ];
        for (number, arguments) in calls {
            assert_eq!(sys::call(number, arguments), Err(libc::EFAULT), "call {number}, {bad:#x}");
        }
    }
    let negative: [usize; 2] = [path, usize::MAX];
    let at = negative.as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_writev, [fd, at, 1]), Err(libc::EINVAL));
    assert_eq!(sys::call(libc::SYS_writev, [fd, at, 5000]), Err(libc::EINVAL));
}

fn devices_do_as_their_names_say() {
    let open = |name: &str| {
        OpenOptions::new().read(true).write(true).open(format!("/dev/{name}")).unwrap()
    };
    let mut bytes = [1; 100];
    assert_eq!(open("null").read(&mut bytes).unwrap(), 0);
    assert_eq!(open("null").write(&bytes).unwrap(), 100);
    assert_eq!(open("zero").read(&mut bytes).unwrap(), 100);
    assert_eq!(bytes, [0; 100]);
    assert_eq!(errno(open("full").write(&bytes)), Some(libc::ENOSPC));
    let mut random = [[0; 32]; 2];
    random.iter_mut().for_each(|random| open("urandom").read_exact(random).unwrap());
    assert_ne!(random[0], random[1]);
    let zero = open("zero");
    for flags in [libc::MAP_PRIVATE, libc::MAP_SHARED] {
        let mapping = Mapping::of_file(PAGE, RW, flags, zero.as_raw_fd()).unwrap();
        assert_eq!(memory::load(mapping.start()), 0);
        memory::store(mapping.start(), 1);
    }
}

fn sendfile_copies() {
    let dir = Scratch::new();
    let bytes = pattern(3 * PAGE + 5);
    let (mut from, to) = (dir.file("from", &bytes), dir.file("to", b""));
    from.rewind().unwrap();
    let (to_fd, from_fd) = (to.as_raw_fd() as usize, from.as_raw_fd() as usize);
    assert_eq!(sys::call(libc::SYS_sendfile, [to_fd, from_fd, 0, PAGE]), Ok(PAGE));
    assert_eq!(from.stream_position().unwrap(), PAGE as u64);
    let mut offset = PAGE as u64;
    let at = (&raw mut offset) as usize;
    let rest = 2 * PAGE + 5;
    assert_eq!(sys::call(libc::SYS_sendfile, [to_fd, from_fd, at, 1 << 20]), Ok(rest));
    assert_eq!((offset, from.stream_position().unwrap()), (bytes.len() as u64, PAGE as u64));
    assert_eq!(fs::read(dir.path("to")).unwrap(), bytes);
}
