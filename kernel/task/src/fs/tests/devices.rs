// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests null, zero, full and random.

use abi::Errno;
use abi::open::{O_RDWR, O_TRUNC, SEEK_SET};
use abi::stat::{S_IFCHR, S_IFMT, major, minor};
use std::vec;

use super::rig::{Rig, read, write};
use crate::fs::Mapping;

#[test]
fn memory_devices_do_as_their_names_say() {
    Rig::run(|rig| {
        let open = |path| rig.open(path, O_RDWR | O_TRUNC).unwrap();
        let null = open("/dev/null");
        assert_eq!((read(&null, 10), write(&null, b"abc")), (Ok(vec![]), Ok(3)));
        assert_eq!(null.seek(7, SEEK_SET), Ok(0));
        let zero = open("/dev/zero");
        assert_eq!((read(&zero, 1000), write(&zero, b"abc")), (Ok(vec![0; 1000]), Ok(3)));
        assert!(matches!(zero.mapping(), Ok(Mapping::Anonymous)));
        let full = open("/dev/full");
        assert_eq!((read(&full, 3), write(&full, b"abc")), (Ok(vec![0; 3]), Err(Errno::ENOSPC)));
        assert_eq!(write(&full, b""), Ok(0));
        let random = open("/dev/urandom");
        let (a, b) = (read(&random, 600).unwrap(), read(&random, 600).unwrap());
        assert_eq!((a.len(), b.len()), (600, 600));
        assert_ne!(a, b);
        assert_ne!(a[..256], a[256..512]);
    });
}

#[test]
fn device_nodes_have_the_numbers_of_linux() {
    Rig::run(|rig| {
        let nodes = [
            ("null", 1, 3, 0o666),
            ("zero", 1, 5, 0o666),
            ("full", 1, 7, 0o666),
            ("random", 1, 8, 0o666),
            ("urandom", 1, 9, 0o666),
            ("tty", 5, 0, 0o666),
            ("console", 5, 1, 0o600),
        ];
        for (name, wanted_major, wanted_minor, mode) in nodes {
            let stat = rig.find(&std::format!("/dev/{name}")).unwrap().stat();
            assert_eq!(stat.mode, S_IFCHR | mode, "{name}");
            assert_eq!(stat.mode & S_IFMT, S_IFCHR);
            let number = (major(stat.rdev), minor(stat.rdev));
            assert_eq!(number, (wanted_major, wanted_minor), "{name}");
        }
    });
}
