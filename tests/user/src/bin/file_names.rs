// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests names and directories: links, renames, listings, and the errno of each bad name.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};

use user_tests::files::{Scratch, c, errno};
use user_tests::process;
use user_tests::sys::{self, Errno};

user_tests::tests!(
    rename_replaces_and_exchanges,
    each_bad_name_has_its_errno,
    symbolic_links_are_followed_and_loops_are_not,
    a_listing_skips_nothing_while_files_are_removed,
    the_working_directory_follows_a_rename,
    times_and_modes_are_kept,
);

fn rename(from: &str, to: &str, flags: u32) -> Result<usize, Errno> {
    let (from, to, at) = (c(from), c(to), libc::AT_FDCWD as usize);
    let (from, to) = (from.as_ptr() as usize, to.as_ptr() as usize);
    sys::call(libc::SYS_renameat2, [at, from, at, to, flags as usize])
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
    for entry in fs::read_dir(dir.root()).unwrap() {
        let entry = entry.unwrap();
        listed.push(entry.file_name().into_string().unwrap());
        fs::remove_file(entry.path()).unwrap();
    }
    listed.sort();
    assert_eq!(listed, names);
    assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 0);
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
