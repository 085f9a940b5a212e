// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests names: made, linked, moved, removed, listed.

use abi::Errno;
use abi::open::*;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::rig::{CPU0, CPU1, Rig, list, write};

#[test]
fn a_rename_replaces_what_linux_lets_it_replace() {
    let setup = |rig: &Rig| {
        for dir in ["/d", "/d/sub", "/empty", "/full"] {
            rig.dir(dir);
        }
        for file in ["/f", "/g", "/full/x"] {
            write(&rig.file(file), file.as_bytes()).unwrap();
        }
        rig.vfs.make_link(rig.find("/f").unwrap(), rig.root(), b"/f2").unwrap();
    };
    let cases: &[(&str, &str, u32, Result<(), Errno>)] = &[
        ("/f", "/g", 0, Ok(())),
        ("/f", "/new", 0, Ok(())),
        ("/f", "/d/new", 0, Ok(())),
        ("/d", "/empty", 0, Ok(())),
        ("/d", "/empty/", 0, Ok(())),
        ("/d", "/empty/d", 0, Ok(())),
        ("/f", "/f2", 0, Ok(())),
        ("/f", "/f", 0, Ok(())),
        ("/none", "/x", 0, Err(Errno::ENOENT)),
        ("/f", "/none/x", 0, Err(Errno::ENOENT)),
        ("/f", "/empty", 0, Err(Errno::EISDIR)),
        ("/d", "/f", 0, Err(Errno::ENOTDIR)),
        ("/d", "/full", 0, Err(Errno::ENOTEMPTY)),
        ("/d", "/d/sub", 0, Err(Errno::EINVAL)),
        ("/d", "/d/sub/x", 0, Err(Errno::EINVAL)),
        ("/d/sub", "/d", 0, Err(Errno::ENOTEMPTY)),
        ("/f", "/x/", 0, Err(Errno::ENOTDIR)),
        ("/f/", "/x", 0, Err(Errno::ENOTDIR)),
        ("/f/x", "/x", 0, Err(Errno::ENOTDIR)),
        ("/d/.", "/x", 0, Err(Errno::EBUSY)),
        ("/d", "/full/..", 0, Err(Errno::EBUSY)),
        ("/", "/x", 0, Err(Errno::EBUSY)),
        ("/dev", "/x", 0, Err(Errno::EBUSY)),
        ("/d", "/dev", 0, Err(Errno::EBUSY)),
        ("/f", "/dev/x", 0, Err(Errno::EXDEV)),
        ("/f", "/g", RENAME_NOREPLACE, Err(Errno::EEXIST)),
        ("/f", "/new", RENAME_NOREPLACE, Ok(())),
        ("/f", "/new", RENAME_EXCHANGE, Err(Errno::ENOENT)),
        ("/f", "/full", RENAME_EXCHANGE, Ok(())),
        ("/d/sub", "/full", RENAME_EXCHANGE, Ok(())),
        ("/d/sub", "/d", RENAME_EXCHANGE, Err(Errno::EINVAL)),
        ("/f", "/g", RENAME_EXCHANGE | RENAME_NOREPLACE, Err(Errno::EINVAL)),
        ("/f", "/g", RENAME_WHITEOUT, Err(Errno::EINVAL)),
    ];
    for (from, to, flags, expected) in cases {
        Rig::run(|rig| {
            setup(rig);
            let root = rig.root();
            let result = rig.vfs.rename((root, from.as_bytes()), (root, to.as_bytes()), *flags);
            assert_eq!(result, *expected, "{from} -> {to} {flags}");
        });
    }
}

#[test]
fn link_counts_follow_names() {
    Rig::run(|rig| {
        let root = rig.root();
        let links = |path: &str| rig.find(path).unwrap().stat().nr_links;
        rig.dir("/d");
        rig.dir("/e");
        let file = rig.file("/f");
        assert_eq!((links("/d"), links("/f")), (2, 1));
        rig.dir("/d/sub");
        assert_eq!(links("/d"), 3);
        rig.vfs.make_link(rig.find("/f").unwrap(), root, b"/d/g").unwrap();
        assert_eq!(file.inode().stat().nr_links, 2);
        rig.vfs.rename((root, b"/d/sub"), (root, b"/e/sub"), 0).unwrap();
        assert_eq!((links("/d"), links("/e"), links("/e/sub")), (2, 3, 2));
        rig.vfs.rename((root, b"/e/sub"), (root, b"/d/g"), RENAME_EXCHANGE).unwrap();
        assert_eq!((links("/d"), links("/e"), links("/e/sub")), (3, 2, 2));
        rig.vfs.unlink(root, b"/f").unwrap();
        assert_eq!(links("/e/sub"), 1);
        rig.vfs.unlink(root, b"/e/sub").unwrap();
        assert_eq!(file.inode().stat().nr_links, 0);
        rig.vfs.rmdir(root, b"/d/g").unwrap();
        assert_eq!(links("/d"), 2);
        // An unlinked file does not come back by a link.
        let inode = crate::fs::InodeRef::clone(file.inode());
        assert_eq!(rig.vfs.make_link(inode, root, b"/again"), Err(Errno::ENOENT));
    });
}

#[test]
fn each_bad_name_returns_the_error_of_linux() {
    Rig::run(|rig| {
        let (vfs, root) = (&rig.vfs, rig.root());
        rig.dir("/d");
        rig.dir("/d/sub");
        rig.file("/f");
        rig.symlink("/l", "d");
        let mkdir = |path: &str| vfs.make_dir(root, path.as_bytes(), 0o755);
        assert_eq!(mkdir("/d"), Err(Errno::EEXIST));
        assert_eq!(mkdir("/l"), Err(Errno::EEXIST));
        assert_eq!(mkdir("/"), Err(Errno::EEXIST));
        assert_eq!(mkdir("/d/."), Err(Errno::EEXIST));
        assert_eq!(mkdir("/f/x"), Err(Errno::ENOTDIR));
        assert_eq!(mkdir("/new/"), Ok(()));
        let unlink = |path: &str| vfs.unlink(root, path.as_bytes());
        assert_eq!(unlink("/d"), Err(Errno::EISDIR));
        assert_eq!(unlink("/d/"), Err(Errno::EISDIR));
        assert_eq!(unlink("/f/"), Err(Errno::ENOTDIR));
        assert_eq!(unlink("/none"), Err(Errno::ENOENT));
        assert_eq!(unlink("/"), Err(Errno::EISDIR));
        let rmdir = |path: &str| vfs.rmdir(root, path.as_bytes());
        assert_eq!(rmdir("/d"), Err(Errno::ENOTEMPTY));
        assert_eq!(rmdir("/f"), Err(Errno::ENOTDIR));
        assert_eq!(rmdir("/l"), Err(Errno::ENOTDIR));
        assert_eq!(rmdir("/none"), Err(Errno::ENOENT));
        assert_eq!(rmdir("/d/."), Err(Errno::EINVAL));
        assert_eq!(rmdir("/d/.."), Err(Errno::ENOTEMPTY));
        assert_eq!(rmdir("/"), Err(Errno::EBUSY));
        assert_eq!(rmdir("/dev/shm"), Err(Errno::EBUSY));
        let link = |from: &str, to: &str| vfs.make_link(rig.find(from)?, root, to.as_bytes());
        assert_eq!(link("/d", "/x"), Err(Errno::EPERM));
        assert_eq!(link("/f", "/d"), Err(Errno::EEXIST));
        assert_eq!(link("/f", "/x/"), Err(Errno::ENOENT));
        assert_eq!(link("/f", "/dev/x"), Err(Errno::EXDEV));
        let symlink = |path: &str| vfs.make_symlink(root, path.as_bytes(), Vec::from(b"t"));
        assert_eq!(symlink("/f"), Err(Errno::EEXIST));
        assert_eq!(symlink("/x/"), Err(Errno::ENOENT));
        assert_eq!(vfs.make_symlink(root, b"/x", Vec::new()), Err(Errno::ENOENT));
        assert_eq!(vfs.read_link(&rig.find("/f").unwrap()), Err(Errno::EINVAL));
    });
}

#[test]
fn nothing_is_made_in_a_directory_that_was_removed() {
    Rig::run(|rig| {
        rig.dir("/d");
        let dir = rig.open("/d", O_DIRECTORY).unwrap();
        rig.vfs.rmdir(rig.root(), b"/d").unwrap();
        let at = dir.inode();
        assert_eq!(rig.vfs.make_dir(at, b"x", 0o755), Err(Errno::ENOENT));
        assert_eq!(rig.vfs.find(at, b"x", true).err(), Some(Errno::ENOENT));
        assert_eq!(dir.list(&mut [0; 100]), Err(Errno::ENOENT));
        assert!(rig.vfs.path_of(at).1);
    });
}

#[test]
fn a_listing_skips_nothing_while_entries_are_removed() {
    Rig::run(|rig| {
        rig.dir("/d");
        let names: Vec<String> = (0..100).map(|n| format!("file{n:02}")).collect();
        for name in &names {
            rig.file(&format!("/d/{name}"));
        }
        let dir = rig.open("/d", O_DIRECTORY).unwrap();
        // Removes a name that was listed already, after each batch.
        let mut gone = names.iter();
        let remove = || {
            let name = gone.next().expect("fewer batches than names");
            rig.vfs.unlink(dir.inode(), name.as_bytes()).unwrap();
        };
        let listed = list(&dir, 150, remove);
        assert_eq!(listed[..2], [".", ".."]);
        assert_eq!(listed[2..], names);
        // Too small for one entry; and at the end, nothing more.
        assert_eq!(dir.list(&mut [0; 100]), Ok(0));
        dir.seek(0, SEEK_SET).unwrap();
        assert_eq!(dir.list(&mut [0; 20]), Err(Errno::EINVAL));
        assert_eq!(rig.file("/f").list(&mut [0; 100]), Err(Errno::ENOTDIR));
    });
}

#[test]
fn renames_of_two_threads_lose_no_file() {
    let rig = Rig::new();
    rig.machine.run_on(CPU0, || {
        rig.dir("/a");
        rig.dir("/b");
        write(&rig.file("/a/f"), b"one").unwrap();
        write(&rig.file("/b/f"), b"two").unwrap();
    });
    let spawn = |cpu, from: &'static str, to: &'static str| {
        let there = rig.clone();
        rig.machine.spawn_on(cpu, move || {
            let root = there.root();
            for _ in 0..500 {
                let exchange = ((root, from.as_bytes()), (root, to.as_bytes()));
                there.vfs.rename(exchange.0, exchange.1, RENAME_EXCHANGE).unwrap();
            }
        })
    };
    let threads = [spawn(CPU0, "/a/f", "/b/f"), spawn(CPU1, "/b", "/a")];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    rig.machine.run_on(CPU0, || {
        let mut contents = ["/a/f", "/b/f"].map(|path| rig.text(path));
        contents.sort();
        assert_eq!(contents, ["one", "two"]);
    });
}
