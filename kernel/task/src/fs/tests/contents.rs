// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the bytes of regular files.

use abi::Errno;
use abi::open::*;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use super::rig::{CPU0, CPU1, Rig, read, read_at, write, write_at};
use crate::fs::{Mapping, Sink, SliceSource, Source};

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7 + n) as u8).collect()
}

#[test]
fn bytes_read_back_at_every_alignment() {
    Rig::run(|rig| {
        let file = rig.file("/f");
        let bytes = pattern(3 * 4096 + 123);
        assert_eq!(write(&file, &bytes), Ok(bytes.len()));
        for (at, len) in [(0, 10), (1, 4096), (4095, 2), (4096, 8192), (100, 12000)] {
            assert_eq!(read_at(&file, at as u64, len).unwrap(), bytes[at..at + len], "{at} {len}");
        }
        assert_eq!(read_at(&file, 12400, 1000).unwrap(), bytes[12400..]);
        assert_eq!(read_at(&file, bytes.len() as u64, 5).unwrap(), b"");
        assert_eq!(read(&file, 5).unwrap(), b"");
        assert_eq!(file.seek(-5, SEEK_END).unwrap(), bytes.len() as u64 - 5);
        assert_eq!(read(&file, 100).unwrap(), bytes[bytes.len() - 5..]);
    });
}

#[test]
fn a_hole_reads_as_zeroes_and_counts_no_blocks() {
    Rig::run(|rig| {
        let file = rig.file("/f");
        write_at(&file, 3 * 4096 + 5, b"x").unwrap();
        assert_eq!(read_at(&file, 0, 5000).unwrap(), vec![0; 5000]);
        let stat = file.inode().stat();
        assert_eq!((stat.size, stat.blocks), (3 * 4096 + 6, 8));
        assert_eq!(file.seek(0, SEEK_DATA), Ok(3 * 4096));
        assert_eq!(file.seek(0, SEEK_HOLE), Ok(0));
        assert_eq!(file.seek(3 * 4096, SEEK_HOLE), Ok(3 * 4096 + 6));
        assert_eq!(file.seek(3 * 4096 + 6, SEEK_DATA), Err(Errno::ENXIO));
        assert_eq!(file.seek(-1, SEEK_DATA), Err(Errno::ENXIO));
    });
}

#[test]
fn a_shorter_file_forgets_what_was_behind() {
    Rig::run(|rig| {
        let file = rig.file("/f");
        write(&file, &pattern(9000)).unwrap();
        file.truncate(4100).unwrap();
        file.truncate(9000).unwrap();
        let mut expected = pattern(4100);
        expected.resize(9000, 0);
        assert_eq!(rig.content("/f").unwrap(), expected);
        rig.open("/f", O_TRUNC | O_WRONLY).unwrap();
        assert_eq!(file.inode().stat().size, 0);
        assert_eq!(rig.open("/f", 0).unwrap().truncate(0), Err(Errno::EINVAL));
        assert_eq!(file.truncate(1 << 63), Err(Errno::EINVAL));
        assert_eq!(file.truncate(i64::MAX as u64), Err(Errno::EFBIG));
    });
}

#[test]
fn fallocate_makes_pages_and_holes() {
    Rig::run(|rig| {
        let file = rig.file("/f");
        write(&file, &pattern(20000)).unwrap();
        let punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        file.allocate(punch, 1000, 12000).unwrap();
        let mut expected = pattern(20000);
        expected[1000..13000].fill(0);
        assert_eq!(rig.content("/f").unwrap(), expected);
        // Pages 1 and 2 are whole in the range; 0 and 3 stay.
        assert_eq!(file.inode().stat().blocks, 3 * 8);
        file.allocate(0, 20000, 5000).unwrap();
        let stat = file.inode().stat();
        assert_eq!((stat.size, stat.blocks), (25000, 5 * 8));
        file.allocate(FALLOC_FL_KEEP_SIZE, 30000, 1).unwrap();
        assert_eq!(file.inode().stat().size, 25000);
        let cases = [
            (0, -1, 1, Errno::EINVAL),
            (0, 0, 0, Errno::EINVAL),
            (0, 0, -1, Errno::EINVAL),
            (0, i64::MAX, 1, Errno::EFBIG),
            (FALLOC_FL_PUNCH_HOLE, 0, 1, Errno::EOPNOTSUPP),
            (0x40, 0, 1, Errno::EOPNOTSUPP),
        ];
        for (mode, at, len, error) in cases {
            assert_eq!(file.allocate(mode, at, len), Err(error), "{mode} {at} {len}");
        }
        assert_eq!(rig.open("/f", 0).unwrap().allocate(0, 0, 1), Err(Errno::EBADF));
    });
}

#[test]
fn a_full_file_system_writes_what_fits() {
    Rig::run(|rig| {
        // /dev/shm has half of 16 MiB.
        let file = rig.file("/dev/shm/f");
        let half = 8 << 20;
        let bytes = pattern(1 << 20);
        for _ in 0..7 {
            assert_eq!(write(&file, &bytes), Ok(bytes.len()));
        }
        let free = |inode: &dyn crate::fs::Inode<_>| inode.stat_fs().blocks_free;
        assert_eq!(free(&**file.inode()), 256);
        assert_eq!(write(&file, &pattern((1 << 20) + 5)), Ok(1 << 20));
        assert_eq!(write(&file, b"x"), Err(Errno::ENOSPC));
        assert_eq!(file.inode().stat().size, half);
        assert_eq!(file.allocate(0, 0, half as i64 + 1), Err(Errno::ENOSPC));
        assert_eq!(file.inode().stat().size, half);
        rig.vfs.unlink(rig.root(), b"/dev/shm/f").unwrap();
        assert_eq!(free(&**file.inode()), 0);
        drop(file);
        assert_eq!(free(&*rig.find("/dev/shm").unwrap()), 2048);
    });
}

/// A source or sink that faults after some bytes.
struct Faulty(usize);

impl Source for Faulty {
    fn left(&self) -> usize {
        self.0 + 10
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        buf.fill(b'x');
        let len = buf.len().min(self.0);
        self.0 -= len;
        if len < buf.len() { Err(Errno::EFAULT) } else { Ok(()) }
    }
}

impl Sink for Faulty {
    fn room(&self) -> usize {
        self.0 + 10
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let len = bytes.len().min(self.0);
        self.0 -= len;
        if len < bytes.len() { Err(Errno::EFAULT) } else { Ok(()) }
    }
}

#[test]
fn a_fault_after_some_bytes_returns_how_many() {
    Rig::run(|rig| {
        for done in [1, 100, 4095, 4096, 4097, 10000] {
            let file = rig.file("/f");
            file.truncate(0).unwrap();
            assert_eq!(file.write(&mut Faulty(done)), Ok(done));
            assert_eq!(file.inode().stat().size, done as u64);
            file.truncate(20000).unwrap();
            file.seek(0, SEEK_SET).unwrap();
            assert_eq!(file.read(&mut Faulty(done)), Ok(done));
            assert_eq!(file.seek(0, SEEK_CUR), Ok(done as u64));
        }
        let file = rig.file("/f");
        assert_eq!(file.write(&mut Faulty(0)), Err(Errno::EFAULT));
        assert_eq!(file.read(&mut Faulty(0)), Err(Errno::EFAULT));
        assert_eq!(file.seek(0, SEEK_CUR), Ok(0));
    });
}

#[test]
fn each_bad_argument_returns_the_error_of_linux() {
    Rig::run(|rig| {
        write(&rig.file("/f"), b"abc").unwrap();
        let reader = rig.open("/f", O_RDONLY).unwrap();
        let writer = rig.open("/f", O_WRONLY).unwrap();
        let dir = rig.open("/", O_RDONLY).unwrap();
        assert_eq!(write(&reader, b"x"), Err(Errno::EBADF));
        assert_eq!(read(&writer, 1), Err(Errno::EBADF));
        assert_eq!(read(&dir, 1), Err(Errno::EISDIR));
        assert_eq!(write(&dir, b"x"), Err(Errno::EBADF));
        assert_eq!(read_at(&reader, 1 << 63, 1), Err(Errno::EINVAL));
        assert_eq!(write_at(&writer, i64::MAX as u64, b"x"), Err(Errno::EFBIG));
        for (by, whence) in [(-1, SEEK_SET), (-1, SEEK_CUR), (-4, SEEK_END), (0, 5), (i64::MAX, 2)]
        {
            assert_eq!(reader.seek(by, whence), Err(Errno::EINVAL), "{by} {whence}");
        }
        assert_eq!(reader.ioctl(abi::ioctl::TCGETS, &[]).err(), Some(Errno::ENOTTY));
        assert_eq!(dir.ioctl(abi::ioctl::TCGETS, &[]).err(), Some(Errno::ENOTTY));
        assert_eq!(dir.mapping().err(), Some(Errno::ENODEV));
    });
}

/// A source that lets the other thread run each time that bytes are taken.
struct Yielding<'a>(SliceSource<'a>);

impl Source for Yielding<'_> {
    fn left(&self) -> usize {
        self.0.left()
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        std::thread::yield_now();
        self.0.take(buf)
    }
}

#[test]
fn appends_of_two_threads_do_not_overlap() {
    let rig = Rig::new();
    rig.machine.run_on(CPU0, || drop(rig.file("/log")));
    let start = Arc::new(std::sync::Barrier::new(2));
    let spawn = |cpu, byte: u8| {
        let (there, start) = (rig.clone(), Arc::clone(&start));
        rig.machine.spawn_on(cpu, move || {
            let file = there.open("/log", O_WRONLY | O_APPEND).unwrap();
            start.wait();
            for _ in 0..100 {
                let record = [byte; 5000];
                assert_eq!(file.write(&mut Yielding(SliceSource::new(&record))), Ok(5000));
            }
        })
    };
    let threads = [spawn(CPU0, b'a'), spawn(CPU1, b'b')];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    rig.machine.run_on(CPU0, || {
        let content = rig.content("/log").unwrap();
        assert_eq!(content.len(), 2 * 100 * 5000);
        let records: Vec<_> = content.chunks(5000).collect();
        assert!(records.iter().all(|record| record.iter().all(|byte| byte == &record[0])));
        assert_eq!(records.iter().filter(|record| record[0] == b'a').count(), 100);
    });
}

#[test]
fn a_memfd_and_a_tmpfile_have_no_name_and_can_be_mapped() {
    Rig::run(|rig| {
        let file = rig.vfs.open_memfd(b"seg", MFD_CLOEXEC).unwrap();
        write(&file, b"hello").unwrap();
        assert_eq!(rig.vfs.shown_path(file.inode()), b"/memfd:seg (deleted)");
        let Ok(Mapping::Object(object)) = file.mapping() else { panic!("no object") };
        assert_eq!(object.len_bytes(), 5);
        assert_eq!(rig.vfs.open_memfd(b"x", MFD_HUGETLB).err(), Some(Errno::EINVAL));
        assert_eq!(rig.vfs.open_memfd(&[b'n'; 250], 0).err(), Some(Errno::EINVAL));
        let tmp = rig.open("/dev/shm", O_TMPFILE | O_RDWR).unwrap();
        write(&tmp, b"x").unwrap();
        assert_eq!(tmp.inode().stat().nr_links, 0);
        assert_eq!(tmp.inode().id().dev, rig.find("/dev/shm").unwrap().id().dev);
        assert_eq!(rig.find("/dev/shm").unwrap().stat_fs().blocks_free, 2047);
    });
}

#[test]
fn dup_shares_the_offset_and_open_does_not() {
    Rig::run(|rig| {
        let file = rig.file("/f");
        write(&file, b"abcdef").unwrap();
        file.seek(0, SEEK_SET).unwrap();
        let (same, other) = (Arc::clone(&file), rig.open("/f", 0).unwrap());
        assert_eq!(read(&file, 2).unwrap(), b"ab");
        assert_eq!(read(&same, 2).unwrap(), b"cd");
        assert_eq!(read(&other, 2).unwrap(), b"ab");
    });
}
