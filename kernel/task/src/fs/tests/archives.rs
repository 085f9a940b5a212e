// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the unpacking of an initramfs, and of every prefix of one.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::rig::Rig;

/// Appends an entry: inode number, mode, links, name, content.
fn add(archive: &mut Vec<u8>, ino: u32, mode: u32, links: u32, name: &str, content: &[u8]) {
    archive.extend(b"070701");
    let name_size = name.len() as u32 + 1;
    let fields = [ino, mode, 7, 8, links, 99, content.len() as u32, 0, 0, 0, 0, name_size, 0];
    for field in fields {
        archive.extend(format!("{field:08X}").into_bytes());
    }
    archive.extend(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn sample() -> Vec<u8> {
    let mut archive = Vec::new();
    add(&mut archive, 1, 0o040_755, 2, ".", b"");
    add(&mut archive, 2, 0o040_700, 2, "bin", b"");
    add(&mut archive, 3, 0o100_755, 1, "bin/init", &[0x5a; 5000]);
    add(&mut archive, 4, 0o120_777, 1, "init", b"bin/init");
    add(&mut archive, 5, 0o100_644, 2, "./one", b"");
    add(&mut archive, 5, 0o100_644, 2, "/two", b"linked");
    add(&mut archive, 6, 0o020_666, 1, "dev/null", b"");
    archive
}

fn ended(mut archive: Vec<u8>) -> Vec<u8> {
    add(&mut archive, 0, 0, 1, "TRAILER!!!", b"");
    archive
}

#[test]
fn an_archive_becomes_files() {
    let mut archive = ended(sample());
    archive.resize(archive.len().next_multiple_of(512), 0);
    // A second archive behind the padding of the first replaces a file.
    let mut second = Vec::new();
    add(&mut second, 5, 0o100_600, 2, "two", b"other");
    archive.extend(ended(second));
    let rig = Rig::with_archive(&archive).unwrap();
    rig.machine.run_on(super::rig::CPU0, || {
        assert_eq!(rig.content("/init").unwrap(), [0x5a; 5000]);
        let stat = rig.find("/bin").unwrap().stat();
        assert_eq!((stat.mode, stat.uid, stat.gid, stat.mtime.seconds), (0o040_700, 7, 8, 99));
        assert_eq!((rig.text("/one"), rig.text("/two")), ("linked".into(), "other".into()));
        assert_eq!(rig.find("/one").unwrap().stat().nr_links, 1);
        assert!(rig.find("/dev/shm").is_ok());
    });
}

#[test]
fn a_cut_archive_is_an_error_wherever_it_is_cut() {
    let whole = ended(sample());
    assert!(Rig::with_archive(&whole).is_ok());
    // Padding behind the last byte that matters may be missing.
    let needed = whole.iter().rposition(|byte| *byte != 0).unwrap() + 2;
    assert!(Rig::with_archive(&whole[..needed]).is_ok());
    for len in (1..needed).step_by(97).chain([needed - 1, 110, 5000, sample().len()]) {
        let error = Rig::with_archive(&whole[..len]).err().unwrap_or_else(|| panic!("{len}"));
        assert!(error.starts_with("byte 0x"), "{error}");
        assert!(error.ends_with("cut off"), "{len}: {error}");
    }
}

#[test]
fn an_error_names_the_byte_and_the_file() {
    let error = |archive: Vec<u8>| Rig::with_archive(&archive).err().unwrap();
    assert_eq!(error(sample()[..1000].to_vec()), "byte 0xe4, \"bin/init\": the archive is cut off");
    let mut orphan = Vec::new();
    add(&mut orphan, 1, 0o100_644, 1, "no/dir", b"x");
    assert_eq!(error(orphan), "byte 0x0, \"no/dir\": cannot be made: ENOENT");
    let mut compressed = std::vec![0x1f, 0x8b];
    compressed.resize(200, 0);
    assert!(error(compressed).contains("no newc header"));
    let mut bad = sample();
    bad[10] = b'x';
    assert!(error(bad).contains("not a number"));
    let mut unended = sample();
    unended[111] = b'x';
    assert!(error(unended).contains("zero byte"));
    let mut blocked = Vec::new();
    add(&mut blocked, 1, 0o100_644, 1, "dev", b"x");
    let blocked: String = error(ended(blocked)).to_string();
    assert_eq!(blocked, "cannot mount /dev: ENOTDIR");
}
