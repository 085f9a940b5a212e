// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests tables of descriptors.

use abi::Errno;
use abi::open::{O_APPEND, O_NONBLOCK, O_RDWR};
use std::sync::Arc;

use super::rig::Rig;
use crate::fs::{FileTable, FsContext, MAX_FILES};

#[test]
fn the_lowest_free_descriptor_is_given() {
    Rig::run(|rig| {
        let table = FileTable::new();
        let file = rig.file("/f");
        let add = |from| table.insert(Arc::clone(&file), false, from, MAX_FILES);
        assert_eq!([add(0), add(0), add(0)], [Ok(0), Ok(1), Ok(2)]);
        table.close(1).unwrap();
        assert_eq!([add(0), add(0), add(10), add(10)], [Ok(1), Ok(3), Ok(10), Ok(11)]);
        assert_eq!(table.fds(), [0, 1, 2, 3, 10, 11]);
        for fd in [-1, 4, 5000] {
            assert_eq!(table.close(fd).err(), Some(Errno::EBADF), "{fd}");
            assert_eq!(table.get(fd).err(), Some(Errno::EBADF), "{fd}");
        }
        assert_eq!(table.insert(Arc::clone(&file), false, 0, 4), Err(Errno::EMFILE));
        assert_eq!(table.replace(4, Arc::clone(&file), false, 4).err(), Some(Errno::EBADF));
        assert_eq!(table.replace(-1, Arc::clone(&file), false, 4).err(), Some(Errno::EBADF));
        while add(0).is_ok() {}
        assert_eq!(table.fds().len(), MAX_FILES);
    });
}

#[test]
fn exec_and_close_range_close_what_they_name() {
    Rig::run(|rig| {
        let table = FileTable::new();
        let file = rig.file("/f");
        for fd in 0..8 {
            table.insert(Arc::clone(&file), fd % 2 == 1, 0, MAX_FILES).unwrap();
        }
        let child = table.fork();
        assert_eq!(child.exec().len(), 4);
        assert_eq!(child.fds(), [0, 2, 4, 6]);
        assert_eq!(table.fds().len(), 8);
        assert_eq!(child.close_range(2, 4, false).len(), 2);
        assert_eq!(child.fds(), [0, 6]);
        assert_eq!(child.close_range(1, u32::MAX, true).len(), 0);
        assert_eq!((child.close_on_exec(0), child.close_on_exec(6)), (Ok(false), Ok(true)));
        child.set_close_on_exec(6, false).unwrap();
        assert_eq!(child.exec().len(), 0);
        assert_eq!(child.close_all().len(), 2);
        // The file, its table of eight, and this test.
        assert_eq!(Arc::strong_count(&file), 9);
    });
}

#[test]
fn f_setfl_changes_some_flags_and_keeps_the_rest() {
    Rig::run(|rig| {
        let file = rig.file("/f");
        let before = file.flags();
        file.set_flags(O_APPEND | O_NONBLOCK);
        assert_eq!(file.flags(), before | O_APPEND | O_NONBLOCK);
        file.ioctl(abi::ioctl::FIONBIO, &0i32.to_le_bytes()).unwrap();
        assert_eq!(file.flags() & (O_APPEND | O_NONBLOCK | O_RDWR), O_APPEND | O_RDWR);
        file.set_flags(0);
        assert_eq!(file.flags(), before);
    });
}

#[test]
fn a_child_has_a_working_directory_of_its_own() {
    Rig::run(|rig| {
        rig.dir("/d");
        let parent = FsContext::new(rig.root().clone());
        let child = parent.fork();
        child.set_cwd(rig.find("/d").unwrap());
        assert_eq!(parent.cwd().id(), rig.root().id());
        assert_eq!(child.cwd().id(), rig.find("/d").unwrap().id());
        assert_eq!(child.set_umask(0o7077), 0o022);
        assert_eq!((child.umask(), parent.umask()), (0o077, 0o022));
    });
}
