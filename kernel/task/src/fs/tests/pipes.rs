// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests pipes.

use abi::Errno;
use abi::ioctl::FIONREAD;
use abi::open::{O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, SEEK_CUR};
use abi::stat::{S_IFIFO, S_IFMT};
use std::vec;
use std::vec::Vec;

use super::rig::{CPU0, CPU1, Rig, read, write};
use crate::fs::PollEvents;

const CAPACITY: usize = 65_536;

#[test]
fn bytes_come_out_in_order_and_end_with_the_last_writer() {
    Rig::run(|rig| {
        let [reader, writer] = rig.vfs.open_pipe(O_CLOEXEC).unwrap();
        assert_eq!(write(&writer, b"abc"), Ok(3));
        assert_eq!(write(&writer, b"def"), Ok(3));
        assert_eq!(reader.ioctl(FIONREAD, &[]).unwrap(), 6u32.to_le_bytes());
        assert_eq!(read(&reader, 4).unwrap(), b"abcd");
        drop(writer);
        assert_eq!(read(&reader, 4).unwrap(), b"ef");
        assert_eq!(read(&reader, 4).unwrap(), b"");
        assert_eq!(reader.poll(), PollEvents::HUP);
    });
}

#[test]
fn a_full_pipe_takes_small_writes_whole_or_not_at_all() {
    Rig::run(|rig| {
        let [reader, writer] = rig.vfs.open_pipe(O_NONBLOCK).unwrap();
        assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
        assert_eq!(write(&writer, &vec![1; CAPACITY - 10]), Ok(CAPACITY - 10));
        assert_eq!(writer.poll(), PollEvents::empty());
        assert_eq!(write(&writer, &[2; 11]), Err(Errno::EAGAIN));
        assert_eq!(write(&writer, &vec![3; 5000]), Ok(10));
        assert_eq!(write(&writer, &vec![4; 5000]), Err(Errno::EAGAIN));
        assert_eq!(write(&writer, b""), Ok(0));
        assert_eq!(read(&reader, CAPACITY - 10).unwrap(), vec![1; CAPACITY - 10]);
        assert_eq!(write(&writer, &[5; 4096]), Ok(4096));
        assert_eq!(read(&reader, 9000).unwrap(), [vec![3; 10], vec![5; 4096]].concat());
        assert_eq!(reader.poll(), PollEvents::empty());
        assert_eq!(writer.poll(), PollEvents::OUT);
    });
}

#[test]
fn a_writer_learns_that_nobody_reads() {
    Rig::run(|rig| {
        let [reader, writer] = rig.vfs.open_pipe(0).unwrap();
        drop(reader);
        assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
        assert_eq!(writer.poll(), PollEvents::OUT | PollEvents::ERR);
    });
}

#[test]
fn each_end_does_one_thing_only() {
    Rig::run(|rig| {
        let [reader, writer] = rig.vfs.open_pipe(0).unwrap();
        assert_eq!(write(&reader, b"x"), Err(Errno::EBADF));
        assert_eq!(read(&writer, 1), Err(Errno::EBADF));
        assert_eq!(reader.seek(0, SEEK_CUR), Err(Errno::ESPIPE));
        assert_eq!(super::rig::read_at(&reader, 0, 1), Err(Errno::ESPIPE));
        assert_eq!(super::rig::write_at(&writer, 0, b"x"), Err(Errno::ESPIPE));
        assert_eq!(writer.allocate(0, 0, 1), Err(Errno::ESPIPE));
        assert_eq!(writer.truncate(0), Err(Errno::EINVAL));
        assert_eq!(writer.sync(), Err(Errno::EINVAL));
        assert_eq!(reader.mapping().err(), Some(Errno::ENODEV));
        assert_eq!(reader.inode().stat().mode & S_IFMT, S_IFIFO);
        assert!(rig.vfs.shown_path(reader.inode()).starts_with(b"pipe:["));
        assert_eq!(rig.vfs.open_pipe(O_DIRECT).err(), Some(Errno::EINVAL));
        // Another end by way of /proc/PID/fd keeps the pipe open.
        let other = rig.vfs.open_inode(reader.inode().clone(), O_RDONLY, false).unwrap();
        drop(reader);
        assert_eq!(write(&writer, b"x"), Ok(1));
        assert_eq!(read(&other, 5).unwrap(), b"x");
    });
}

#[test]
fn writers_of_small_pieces_do_not_mix() {
    let rig = Rig::new();
    let [reader, writer] = rig.machine.run_on(CPU0, || rig.vfs.open_pipe(0).unwrap());
    let spawn = |cpu, byte: u8| {
        let writer = writer.clone();
        rig.machine.spawn_on(cpu, move || {
            (0..300).for_each(|_| assert_eq!(write(&writer, &[byte; 3000]), Ok(3000)));
        })
    };
    let threads = [spawn(CPU0, b'a'), spawn(CPU1, b'b')];
    drop(writer);
    let mut all: Vec<u8> = Vec::new();
    rig.machine.run_on(CPU0, || {
        loop {
            match read(&reader, 7777).unwrap() {
                part if part.is_empty() => break,
                part => all.extend(part),
            }
        }
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(all.len(), 2 * 300 * 3000);
    assert!(all.chunks(3000).all(|piece| piece.iter().all(|byte| *byte == piece[0])));
}

#[test]
fn a_large_write_waits_for_its_reader() {
    let rig = Rig::new();
    let [reader, writer] = rig.machine.run_on(CPU0, || rig.vfs.open_pipe(0).unwrap());
    let bytes: Vec<u8> = (0..400_000usize).map(|n| (n / 3) as u8).collect();
    let sent = bytes.clone();
    let thread = rig.machine.spawn_on(CPU1, move || write(&writer, &sent));
    let mut all = Vec::new();
    rig.machine.run_on(CPU0, || {
        while all.len() < bytes.len() {
            all.extend(read(&reader, 10_000).unwrap());
        }
        assert_eq!(read(&reader, 1).unwrap(), b"");
    });
    assert_eq!(thread.join().unwrap(), Ok(bytes.len()));
    assert!(all == bytes);
}
