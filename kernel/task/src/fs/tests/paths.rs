// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests walks and opens: what each path leads to, and what each bad one returns.

use abi::Errno;
use abi::open::*;
use std::format;
use std::string::String;

use super::rig::{Rig, read, write};

/// Builds /a/b/f, links in all directions, and a loop.
fn tree(rig: &Rig) {
    rig.dir("/a");
    rig.dir("/a/b");
    write(&rig.file("/a/b/f"), b"deep").unwrap();
    write(&rig.file("/f"), b"top").unwrap();
    rig.symlink("/to_file", "a/b/f");
    rig.symlink("/to_dir", "/a/b/");
    rig.symlink("/a/up", "../a/b");
    rig.symlink("/loop", "loop");
    rig.symlink("/dangling", "a/new");
}

#[test]
fn a_path_leads_where_linux_says() {
    Rig::run(|rig| {
        tree(rig);
        let found = [
            ("/f", "/f"),
            ("f", "/f"),
            ("//a///b//f", "/a/b/f"),
            ("/a/./b/../b/f", "/a/b/f"),
            ("/../../f", "/f"),
            ("to_file", "/a/b/f"),
            ("to_dir/f", "/a/b/f"),
            ("/a/up/f", "/a/b/f"),
            ("/a/up/", "/a/b"),
            ("/to_dir/..", "/a"),
            ("/", "/"),
            ("/.", "/"),
            ("a/b/", "/a/b"),
            ("/dev/null", "/dev/null"),
            ("/dev/shm/..", "/dev"),
            ("/dev/shm/../..", "/"),
            ("/dev/shm", "/dev/shm"),
        ];
        for (path, shown) in found {
            let inode = rig.find(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(String::from_utf8(rig.vfs.shown_path(&inode)).unwrap(), shown, "{path}");
        }
        let long = format!("/{}", "n".repeat(256));
        let missing = [
            ("", Errno::ENOENT),
            ("/none", Errno::ENOENT),
            ("/none/f", Errno::ENOENT),
            ("/f/", Errno::ENOTDIR),
            ("/f/x", Errno::ENOTDIR),
            ("/f/.", Errno::ENOTDIR),
            ("/f/..", Errno::ENOTDIR),
            ("to_file/", Errno::ENOTDIR),
            ("/loop", Errno::ELOOP),
            ("/loop/x", Errno::ELOOP),
            ("/dangling", Errno::ENOENT),
            (&long, Errno::ENAMETOOLONG),
        ];
        for (path, error) in missing {
            assert_eq!(rig.find(path).err(), Some(error), "{path}");
        }
        assert!(rig.vfs.find(rig.root(), b"/loop", false).is_ok());
    });
}

#[test]
fn forty_links_are_followed_and_no_more() {
    Rig::run(|rig| {
        write(&rig.file("/l0"), b"end").unwrap();
        for n in 1..=41 {
            rig.symlink(&format!("/l{n}"), &format!("l{}", n - 1));
        }
        assert_eq!(rig.content("/l40").unwrap(), b"end");
        assert_eq!(rig.find("/l41").err(), Some(Errno::ELOOP));
        assert_eq!(rig.open("/l41", O_CREAT | O_RDWR).err(), Some(Errno::ELOOP));
    });
}

#[test]
fn each_open_returns_the_error_of_linux() {
    Rig::run(|rig| {
        tree(rig);
        let cases = [
            ("/a", O_WRONLY, Errno::EISDIR),
            ("/a", O_RDWR, Errno::EISDIR),
            ("/a", O_CREAT, Errno::EISDIR),
            ("/a", O_TRUNC, Errno::EISDIR),
            ("/f", O_DIRECTORY, Errno::ENOTDIR),
            ("/f", O_CREAT | O_EXCL, Errno::EEXIST),
            ("/dangling", O_CREAT | O_EXCL, Errno::EEXIST),
            ("/to_file", O_NOFOLLOW, Errno::ELOOP),
            ("/to_file", O_NOFOLLOW | O_DIRECTORY, Errno::ENOTDIR),
            ("/new/", O_CREAT, Errno::EISDIR),
            ("/.", O_CREAT, Errno::EISDIR),
            ("/.", O_CREAT | O_EXCL, Errno::EEXIST),
            ("/none/f", O_CREAT, Errno::ENOENT),
            ("/f/x", O_CREAT, Errno::ENOTDIR),
            ("/new", O_CREAT | O_DIRECTORY, Errno::EINVAL),
            ("/none", O_PATH, Errno::ENOENT),
            ("/f", O_PATH | O_DIRECTORY, Errno::ENOTDIR),
            ("/a", O_TMPFILE, Errno::EINVAL),
            ("/f", O_TMPFILE | O_RDWR, Errno::ENOTDIR),
        ];
        for (path, flags, error) in cases {
            assert_eq!(rig.open(path, flags).err(), Some(error), "{path} {flags:o}");
        }
        assert_eq!(rig.find("/new").err(), Some(Errno::ENOENT));
    });
}

#[test]
fn creating_through_a_dangling_link_makes_its_target() {
    Rig::run(|rig| {
        tree(rig);
        write(&rig.open("/dangling", O_CREAT | O_WRONLY).unwrap(), b"made").unwrap();
        assert_eq!(rig.content("/a/new").unwrap(), b"made");
    });
}

#[test]
fn a_path_descriptor_names_a_file_and_moves_no_bytes() {
    Rig::run(|rig| {
        tree(rig);
        let file = rig.open("/to_file", O_PATH | O_NOFOLLOW | O_RDWR).unwrap();
        assert_eq!(file.flags(), O_PATH | O_NOFOLLOW);
        assert_eq!(rig.vfs.read_link(file.inode()).unwrap(), b"a/b/f");
        assert_eq!(read(&file, 1).err(), Some(Errno::EBADF));
        assert_eq!(write(&file, b"x").err(), Some(Errno::EBADF));
        assert_eq!(file.seek(0, SEEK_SET).err(), Some(Errno::EBADF));
        assert_eq!(file.mapping().err(), Some(Errno::EBADF));
        let dir = rig.open("/a", O_PATH).unwrap();
        assert!(rig.vfs.find(dir.inode(), b"b/f", true).is_ok());
        assert_eq!(dir.list(&mut [0; 100]).err(), Some(Errno::EBADF));
    });
}

#[test]
fn a_path_follows_renames_and_tells_of_removal() {
    Rig::run(|rig| {
        tree(rig);
        let file = rig.open("/a/b/f", 0).unwrap();
        let shown = || String::from_utf8(rig.vfs.shown_path(file.inode())).unwrap();
        let root = rig.root();
        rig.vfs.rename((root, b"/a/b"), (root, b"/moved"), 0).unwrap();
        assert_eq!(shown(), "/moved/f");
        rig.vfs.unlink(root, b"/moved/f").unwrap();
        assert_eq!(shown(), "/moved/f (deleted)");
        assert_eq!(read(&file, 10).unwrap(), b"deep");
    });
}
