// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests files and directories: what is written is read, and what Linux refuses is
//! refused with its errno.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};

use user_tests::fault;
use user_tests::memory::{self, Mapping, PAGE, RW};
use user_tests::process;
use user_tests::sys::{self, Errno};

user_tests::tests!(
    bytes_read_back,
    appends_go_to_the_end,
    a_shorter_file_forgets_its_tail,
    holes_are_zeroes_and_punched,
    an_unlinked_file_lives_until_it_is_closed,
    rename_replaces_and_exchanges,
    each_bad_name_has_its_errno,
    each_bad_open_has_its_errno,
    symbolic_links_are_followed_and_loops_are_not,
    a_listing_skips_nothing_while_files_are_removed,
    a_shared_mapping_shows_writes_both_ways,
    a_private_mapping_keeps_its_writes,
    a_mapping_ends_with_its_file,
    a_mapped_file_survives_page_out,
    a_buffer_that_ends_in_nothing_moves_what_fits,
    bad_buffers_are_efault,
    descriptors_are_duplicated_and_closed,
    a_child_shares_the_offset,
    the_working_directory_follows_a_rename,
    times_and_modes_are_kept,
    a_memfd_has_a_size_and_no_name,
    devices_do_as_their_names_say,
    sendfile_copies,
);

/// A directory of the test's own, removed with what is in it.
struct Scratch(String);

impl Scratch {
    fn new() -> Self {
        let path = format!("/dev/shm/files-{}", process::pid());
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    fn file(&self, name: &str, content: &[u8]) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let mut file = options.open(self.path(name)).expect("a new file");
        file.write_all(content).expect("room");
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error())
}

fn c(path: &str) -> CString {
    CString::new(path).expect("no NUL")
}

fn open(path: &str, flags: i32) -> Result<usize, Errno> {
    let path = c(path);
    let at = libc::AT_FDCWD as usize;
    sys::call(libc::SYS_openat, [at, path.as_ptr() as usize, flags as usize, 0o644])
}

fn rename(from: &str, to: &str, flags: u32) -> Result<usize, Errno> {
    let (from, to, at) = (c(from), c(to), libc::AT_FDCWD as usize);
    let (from, to) = (from.as_ptr() as usize, to.as_ptr() as usize);
    sys::call(libc::SYS_renameat2, [at, from, at, to, flags as usize])
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n + n / 251) as u8).collect()
}

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

fn rename_replaces_and_exchanges() {
    let dir = Scratch::new();
    dir.file("a", b"a");
    dir.file("b", b"b");
    let read = |name: &str| fs::read(dir.path(name)).unwrap();
    let (a, b) = (dir.path("a"), dir.path("b"));
    assert_eq!(rename(&a, &b, libc::RENAME_NOREPLACE), Err(libc::EEXIST));
    assert_eq!(rename(&a, &b, libc::RENAME_EXCHANGE), Ok(0));
    assert_eq!((read("a"), read("b")), (b"b".to_vec(), b"a".to_vec()));
    assert_eq!(rename(&a, &b, 0), Ok(0));
    assert_eq!(read("b"), b"b");
    assert_eq!(rename(&a, &b, 0), Err(libc::ENOENT));
    fs::create_dir(dir.path("d")).unwrap();
    fs::create_dir(dir.path("d/e")).unwrap();
    let (d, e) = (dir.path("d"), dir.path("d/e"));
    assert_eq!(rename(&d, &e, 0), Err(libc::EINVAL));
    assert_eq!(rename(&e, &d, 0), Err(libc::ENOTEMPTY));
    assert_eq!(rename(&b, &d, 0), Err(libc::EISDIR));
    assert_eq!(rename(&d, &b, 0), Err(libc::ENOTDIR));
    assert_eq!(rename(&b, "/proc/x", 0), Err(libc::EXDEV));
    assert_eq!(rename(&b, &a, libc::RENAME_EXCHANGE | 1), Err(libc::EINVAL));
}

fn each_bad_name_has_its_errno() {
    let dir = Scratch::new();
    dir.file("f", b"");
    fs::create_dir(dir.path("d")).unwrap();
    fs::create_dir(dir.path("d/e")).unwrap();
    let path = |name: &str| dir.path(name);
    assert_eq!(errno(fs::create_dir(path("d"))), Some(libc::EEXIST));
    assert_eq!(errno(fs::create_dir(path("f/x"))), Some(libc::ENOTDIR));
    assert_eq!(errno(fs::create_dir(path("none/x"))), Some(libc::ENOENT));
    assert_eq!(errno(fs::create_dir(path(&"n".repeat(256)))), Some(libc::ENAMETOOLONG));
    assert_eq!(errno(fs::create_dir("x/".repeat(3000))), Some(libc::ENAMETOOLONG));
    assert_eq!(errno(fs::create_dir("")), Some(libc::ENOENT));
    assert_eq!(errno(fs::remove_dir(path("d"))), Some(libc::ENOTEMPTY));
    assert_eq!(errno(fs::remove_dir(path("f"))), Some(libc::ENOTDIR));
    assert_eq!(errno(fs::remove_dir(path("d/."))), Some(libc::EINVAL));
    assert_eq!(errno(fs::remove_file(path("d"))), Some(libc::EISDIR));
    assert_eq!(errno(fs::remove_file(path("f/"))), Some(libc::ENOTDIR));
    assert_eq!(errno(fs::hard_link(path("d"), path("x"))), Some(libc::EPERM));
    assert_eq!(errno(fs::hard_link(path("f"), path("d"))), Some(libc::EEXIST));
    assert_eq!(errno(symlink("", path("x"))), Some(libc::ENOENT));
    assert_eq!(errno(fs::read_link(path("f"))), Some(libc::EINVAL));
    assert_eq!(errno(fs::read_dir(path("f"))), Some(libc::ENOTDIR));
}

fn each_bad_open_has_its_errno() {
    let dir = Scratch::new();
    dir.file("f", b"");
    symlink("f", dir.path("l")).unwrap();
    let cases = [
        (dir.0.clone(), libc::O_WRONLY, libc::EISDIR),
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

fn symbolic_links_are_followed_and_loops_are_not() {
    let dir = Scratch::new();
    dir.file("f", b"found");
    fs::create_dir(dir.path("d")).unwrap();
    symlink("../f", dir.path("d/up")).unwrap();
    symlink(dir.path("d"), dir.path("to_d")).unwrap();
    symlink("loop", dir.path("loop")).unwrap();
    symlink("new", dir.path("dangling")).unwrap();
    assert_eq!(fs::read(dir.path("to_d/up")).unwrap(), b"found");
    assert_eq!(errno(fs::read(dir.path("loop"))), Some(libc::ELOOP));
    assert_eq!(errno(fs::read(dir.path("dangling"))), Some(libc::ENOENT));
    fs::write(dir.path("dangling"), b"made").unwrap();
    assert_eq!(fs::read(dir.path("new")).unwrap(), b"made");
    assert!(fs::symlink_metadata(dir.path("loop")).unwrap().is_symlink());
}

fn a_listing_skips_nothing_while_files_are_removed() {
    let dir = Scratch::new();
    let names: Vec<String> = (0..300).map(|n| format!("file-{n:03}")).collect();
    names.iter().for_each(|name| drop(dir.file(name, b"")));
    let mut listed = Vec::new();
    for entry in fs::read_dir(&dir.0).unwrap() {
        let entry = entry.unwrap();
        listed.push(entry.file_name().into_string().unwrap());
        fs::remove_file(entry.path()).unwrap();
    }
    listed.sort();
    assert_eq!(listed, names);
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
}

fn a_shared_mapping_shows_writes_both_ways() {
    let dir = Scratch::new();
    let file = dir.file("f", &pattern(2 * PAGE));
    let mapping = Mapping::of_file(2 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    assert_eq!(memory::load_byte(mapping.start() + 100), pattern(101)[100]);
    file.write_all_at(b"from write", PAGE as u64).unwrap();
    assert_eq!(memory::load_byte(mapping.page(1)), b'f');
    memory::store_byte(mapping.page(1), b'F');
    process::in_child(|| memory::store_byte(mapping.page(1) + 5, b'W'));
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, PAGE as u64).unwrap();
    assert_eq!(&bytes, b"From Write");
}

fn a_private_mapping_keeps_its_writes() {
    let dir = Scratch::new();
    let file = dir.file("f", b"original");
    let mapping = Mapping::of_file(PAGE, RW, libc::MAP_PRIVATE, file.as_raw_fd()).unwrap();
    memory::store_byte(mapping.start(), b'O');
    assert_eq!(fs::read(dir.path("f")).unwrap(), b"original");
    file.write_all_at(b"x", 1).unwrap();
    assert_eq!(memory::load_byte(mapping.start()), b'O');
    let reader = File::open(dir.path("f")).unwrap();
    let shared = Mapping::of_file(PAGE, RW, libc::MAP_SHARED, reader.as_raw_fd());
    assert_eq!(shared.err(), Some(libc::EACCES));
    let writer = OpenOptions::new().write(true).open(dir.path("f")).unwrap();
    let readable = libc::PROT_READ;
    let unreadable = Mapping::of_file(PAGE, readable, libc::MAP_PRIVATE, writer.as_raw_fd());
    assert_eq!(unreadable.err(), Some(libc::EACCES));
    let dir = File::open(&dir.0).unwrap();
    let of_dir = Mapping::of_file(PAGE, readable, libc::MAP_PRIVATE, dir.as_raw_fd());
    assert_eq!(of_dir.err(), Some(libc::ENODEV));
}

fn a_mapping_ends_with_its_file() {
    let dir = Scratch::new();
    let file = dir.file("f", b"short");
    let mapping = Mapping::of_file(2 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    assert_eq!(memory::load_byte(mapping.start() + 5), 0);
    let fault = fault::catch(|| {
        memory::load_byte(mapping.page(1));
    });
    assert_eq!(fault.map(|fault| fault.signal), Some(libc::SIGBUS));
    file.set_len(2 * PAGE as u64).unwrap();
    assert_eq!(memory::load_byte(mapping.page(1)), 0);
    memory::store_byte(mapping.page(1), 1);
    file.set_len(10).unwrap();
    let fault = fault::catch(|| {
        memory::load_byte(mapping.page(1));
    });
    assert_eq!(fault.map(|fault| fault.signal), Some(libc::SIGBUS));
}

fn a_mapped_file_survives_page_out() {
    let dir = Scratch::new();
    let bytes = pattern(8 * PAGE);
    let file = dir.file("f", &bytes);
    let mapping = Mapping::of_file(8 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    for (index, page) in mapping.pages().enumerate() {
        assert_eq!(memory::load_byte(page), bytes[index * PAGE]);
    }
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).unwrap();
    assert_eq!(fs::read(dir.path("f")).unwrap(), bytes);
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).unwrap();
    for (at, address) in mapping.range().enumerate() {
        assert_eq!(memory::load_byte(address), bytes[at], "byte {at}");
    }
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

fn the_working_directory_follows_a_rename() {
    let dir = Scratch::new();
    fs::create_dir(dir.path("old")).unwrap();
    process::in_child(|| {
        std::env::set_current_dir(dir.path("old")).unwrap();
        fs::rename(dir.path("old"), dir.path("new")).unwrap();
        assert_eq!(std::env::current_dir().unwrap().to_str(), Some(&*dir.path("new")));
        fs::write("here", b"x").unwrap();
        let mut short = [0u8; 4];
        let at = short.as_mut_ptr() as usize;
        assert_eq!(sys::call(libc::SYS_getcwd, [at, 4]), Err(libc::ERANGE));
    });
    assert_eq!(fs::read(dir.path("new/here")).unwrap(), b"x");
    process::in_child(|| {
        fs::remove_file(dir.path("new/here")).unwrap();
        std::env::set_current_dir(dir.path("new")).unwrap();
        fs::remove_dir(dir.path("new")).unwrap();
        assert_eq!(errno(std::env::current_dir()), Some(libc::ENOENT));
        assert_eq!(errno(fs::write("x", b"")), Some(libc::ENOENT));
    });
}

fn times_and_modes_are_kept() {
    let dir = Scratch::new();
    let path = c(&dir.path("f"));
    let create = |mode: u32| {
        OpenOptions::new().write(true).create_new(true).mode(mode).open(dir.path("f")).unwrap()
    };
    let old = sys::call(libc::SYS_umask, [0o027]).unwrap();
    let file = create(0o666);
    assert_eq!(sys::call(libc::SYS_umask, [old]), Ok(0o027));
    assert_eq!(file.metadata().unwrap().mode(), libc::S_IFREG | 0o640);
    let (at, path) = (libc::AT_FDCWD as usize, path.as_ptr() as usize);
    sys::call(libc::SYS_fchmodat, [at, path, 0o4755]).unwrap();
    sys::call(libc::SYS_fchownat, [at, path, 5, usize::MAX, 0]).unwrap();
    let times: [i64; 4] = [1, 2, 3, libc::UTIME_OMIT];
    sys::call(libc::SYS_utimensat, [at, path, times.as_ptr() as usize, 0]).unwrap();
    let stat = file.metadata().unwrap();
    assert_eq!((stat.uid(), stat.gid()), (5, 0));
    assert_eq!((stat.atime(), stat.atime_nsec()), (1, 2));
    assert!(stat.mtime() > 3);
    let wrong: [i64; 4] = [0, 1_000_000_000, 0, 0];
    let refused = sys::call(libc::SYS_utimensat, [at, path, wrong.as_ptr() as usize, 0]);
    assert_eq!(refused, Err(libc::EINVAL));
}

fn a_memfd_has_a_size_and_no_name() {
    let fd = sys::call(libc::SYS_memfd_create, [c"seg".as_ptr() as usize, 0]).unwrap();
    assert_eq!(sys::call(libc::SYS_ftruncate, [fd, PAGE]), Ok(0));
    let mapping = Mapping::of_file(PAGE, RW, libc::MAP_SHARED, fd as i32).unwrap();
    memory::store_byte(mapping.start() + 9, 5);
    let bytes = [0u8; 2];
    let at = bytes.as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_pread64, [fd, at, 2, 9]), Ok(2));
    assert_eq!(memory::load_byte(at), 5);
    let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    assert_eq!(link.to_str(), Some("/memfd:seg (deleted)"));
    let name = c"seg".as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_memfd_create, [name, 0x4000]), Err(libc::EINVAL));
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
