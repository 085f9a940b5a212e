// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests pipes, and waiting for them with poll and select.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use user_tests::process::{self, Ended};
use user_tests::signal;
use user_tests::sys::{self, Errno};

user_tests::tests!(
    bytes_reach_a_child_and_end_with_the_writer,
    a_pipe_without_readers_is_sigpipe_or_epipe,
    a_full_pipe_makes_a_writer_wait,
    small_writes_of_many_children_do_not_mix,
    a_nonblocking_pipe_does_not_wait,
    each_end_refuses_what_it_cannot_do,
    a_signal_interrupts_a_read_unless_it_restarts,
    poll_tells_what_would_not_wait,
    poll_waits_until_there_is_something,
    poll_ends_with_its_time,
    poll_ends_with_a_signal_that_its_mask_lets_through,
    poll_refuses_bad_arguments,
    select_tells_what_would_not_wait,
    a_pipe_is_opened_again_through_proc,
);

const CAPACITY: usize = 65_536;

fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error())
}

fn set_nonblock(file: &impl AsRawFd) {
    let flags = [file.as_raw_fd() as usize, libc::F_SETFL as usize, libc::O_NONBLOCK as usize];
    sys::call(libc::SYS_fcntl, flags).expect("F_SETFL");
}

fn bytes_reach_a_child_and_end_with_the_writer() {
    let (mut reader, writer) = pipe().unwrap();
    let child = process::fork(|| {
        (&writer).write_all(b"from the child").unwrap();
        0
    });
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "from the child");
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn a_pipe_without_readers_is_sigpipe_or_epipe() {
    let (reader, mut writer) = pipe().unwrap();
    drop(reader);
    process::ignore(libc::SIGPIPE);
    assert_eq!(errno(writer.write(b"x")), Some(libc::EPIPE));
    let child = process::fork(|| {
        signal::sigaction(libc::SIGPIPE, Some(&signal::Action::default())).unwrap();
        let _ = writer.write(b"x");
        0
    });
    assert_eq!(child.wait(), Ended::Killed(libc::SIGPIPE));
}

fn a_full_pipe_makes_a_writer_wait() {
    let (mut reader, mut writer) = pipe().unwrap();
    let bytes: Vec<u8> = (0..5 * CAPACITY).map(|n| (n / 3) as u8).collect();
    let child = process::fork(|| {
        writer.write_all(&bytes).unwrap();
        0
    });
    drop(writer);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn small_writes_of_many_children_do_not_mix() {
    const LEN: usize = 1500;
    let (mut reader, writer) = pipe().unwrap();
    let children: Vec<_> = (0..6u8)
        .map(|byte| {
            let mut writer = &writer;
            process::fork(move || {
                (0..50).for_each(|_| writer.write_all(&[byte; LEN]).unwrap());
                0
            })
        })
        .collect();
    drop(writer);
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 6 * 50 * LEN);
    for piece in all.chunks(LEN) {
        assert!(piece.iter().all(|byte| *byte == piece[0]));
    }
    children.into_iter().for_each(|child| assert_eq!(child.wait(), Ended::Exited(0)));
}

fn a_nonblocking_pipe_does_not_wait() {
    let (mut reader, mut writer) = pipe().unwrap();
    set_nonblock(&reader);
    set_nonblock(&writer);
    let mut buf = vec![0; CAPACITY];
    assert_eq!(errno(reader.read(&mut buf)), Some(libc::EAGAIN));
    assert_eq!(writer.write(&vec![1; 2 * CAPACITY]).unwrap(), CAPACITY);
    assert_eq!(errno(writer.write(b"x")), Some(libc::EAGAIN));
    assert_eq!(reader.read(&mut buf).unwrap(), CAPACITY);
}

fn each_end_refuses_what_it_cannot_do() {
    let (reader, writer) = pipe().unwrap();
    let (read_fd, write_fd) = (reader.as_raw_fd() as usize, writer.as_raw_fd() as usize);
    let byte = [0u8];
    let at = byte.as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_write, [read_fd, at, 1]), Err(libc::EBADF));
    assert_eq!(sys::call(libc::SYS_read, [write_fd, at, 1]), Err(libc::EBADF));
    assert_eq!(sys::call(libc::SYS_lseek, [read_fd, 0, 1]), Err(libc::ESPIPE));
    assert_eq!(sys::call(libc::SYS_pread64, [read_fd, at, 1, 0]), Err(libc::ESPIPE));
    assert_eq!(sys::call(libc::SYS_ftruncate, [write_fd, 0]), Err(libc::EINVAL));
    assert_eq!(sys::call(libc::SYS_pipe2, [at, 0x1]), Err(libc::EINVAL));
}

extern "C" fn nothing(_signal: i32, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {}

/// Signals handled by [`tick`].
static TICKS: AtomicUsize = AtomicUsize::new(0);
/// Where [`tick`] writes a byte the third time.
static TICK_FD: AtomicUsize = AtomicUsize::new(0);

extern "C" fn tick(_signal: i32, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    if TICKS.fetch_add(1, Ordering::SeqCst) == 2 {
        let byte = [1u8];
        let arguments = [TICK_FD.load(Ordering::SeqCst), byte.as_ptr() as usize, 1];
        let _ = sys::call(libc::SYS_write, arguments);
    }
}

/// Reads from an empty pipe while a timer ticks; the third tick writes to the pipe.
fn read_with_ticks(flags: i32) -> Result<usize, Errno> {
    let (reader, writer) = pipe().unwrap();
    TICK_FD.store(writer.as_raw_fd() as usize, Ordering::SeqCst);
    signal::handle(libc::SIGALRM, flags, 0, tick);
    let every_20_ms: [i64; 4] = [0, 20_000, 0, 20_000];
    let timer = |times: &[i64; 4]| {
        sys::call(libc::SYS_setitimer, [0, times.as_ptr() as usize, 0]).expect("setitimer");
    };
    timer(&every_20_ms);
    let byte = [0u8];
    let result =
        sys::call(libc::SYS_read, [reader.as_raw_fd() as usize, byte.as_ptr() as usize, 1]);
    timer(&[0; 4]);
    result
}

fn a_signal_interrupts_a_read_unless_it_restarts() {
    // The first tick that finds the read asleep ends it: before the third unless two came early.
    let result = read_with_ticks(0);
    assert!(result == Err(libc::EINTR) || TICKS.load(Ordering::SeqCst) >= 3, "{result:?}");
    TICKS.store(0, Ordering::SeqCst);
    assert_eq!(read_with_ticks(libc::SA_RESTART), Ok(1));
    assert!(TICKS.load(Ordering::SeqCst) >= 3);
}

fn poll(fds: &mut [libc::pollfd], timeout_ms: Option<i64>) -> Result<usize, Errno> {
    let timeout = timeout_ms.map(|ms| [ms / 1000, ms % 1000 * 1_000_000]);
    let timeout = timeout.as_ref().map_or(0, |timeout| timeout.as_ptr() as usize);
    sys::call(libc::SYS_ppoll, [fds.as_mut_ptr() as usize, fds.len(), timeout, 0, 0])
}

fn entry(file: &impl AsRawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd: file.as_raw_fd(), events, revents: 0x55 }
}

fn poll_tells_what_would_not_wait() {
    let (reader, mut writer) = pipe().unwrap();
    let both = |reader: &PipeReader, writer: &PipeWriter| {
        let mut fds = [entry(reader, libc::POLLIN), entry(writer, libc::POLLOUT)];
        let nr_ready = poll(&mut fds, Some(0)).unwrap();
        (nr_ready, fds[0].revents, fds[1].revents)
    };
    assert_eq!(both(&reader, &writer), (1, 0, libc::POLLOUT));
    writer.write_all(b"x").unwrap();
    assert_eq!(both(&reader, &writer), (2, libc::POLLIN, libc::POLLOUT));
    writer.write_all(&vec![0; CAPACITY - 1]).unwrap();
    assert_eq!(both(&reader, &writer), (1, libc::POLLIN, 0));
    let mut fds = [
        entry(&reader, 0),
        libc::pollfd { fd: 999, events: 0, revents: 0 },
        libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0x55 },
    ];
    drop(writer);
    assert_eq!(poll(&mut fds, None), Ok(2));
    let found = fds.map(|entry| entry.revents);
    assert_eq!(found, [libc::POLLHUP, libc::POLLNVAL, 0]);
}

fn poll_waits_until_there_is_something() {
    let (reader, mut writer) = pipe().unwrap();
    let (other, _other_writer) = pipe().unwrap();
    let child = process::fork(|| {
        // Mostly, the parent sleeps by the time that it runs again.
        (0..10).for_each(|_| std::thread::yield_now());
        writer.write_all(b"x").unwrap();
        0
    });
    let mut fds = [entry(&other, libc::POLLIN), entry(&reader, libc::POLLIN)];
    assert_eq!(poll(&mut fds, None), Ok(1));
    assert_eq!((fds[0].revents, fds[1].revents), (0, libc::POLLIN));
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn poll_ends_with_its_time() {
    let (reader, _writer) = pipe().unwrap();
    let start = Instant::now();
    assert_eq!(poll(&mut [entry(&reader, libc::POLLIN)], Some(30)), Ok(0));
    assert!(start.elapsed().as_millis() >= 30);
}

fn poll_ends_with_a_signal_that_its_mask_lets_through() {
    let (reader, _writer) = pipe().unwrap();
    signal::handle(libc::SIGUSR1, libc::SA_RESTART, 0, nothing);
    let usr1 = signal::set(&[libc::SIGUSR1]);
    signal::mask(libc::SIG_BLOCK, usr1);
    signal::raise(libc::SIGUSR1);
    let mut fds = [entry(&reader, libc::POLLIN)];
    assert_eq!(poll(&mut fds, Some(0)), Ok(0));
    let none = 0u64;
    let (at, mask) = (fds.as_mut_ptr() as usize, (&raw const none) as usize);
    assert_eq!(sys::call(libc::SYS_ppoll, [at, 1, 0, mask, 8]), Err(libc::EINTR));
    assert_eq!(signal::pending(), 0);
    assert_eq!(signal::mask(libc::SIG_BLOCK, 0), usr1);
}

fn poll_refuses_bad_arguments() {
    let time = [0i64, 1_000_000_000];
    let at = time.as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_ppoll, [0, 0, at, 0, 0]), Err(libc::EINVAL));
    assert_eq!(sys::call(libc::SYS_ppoll, [at, 1 << 20, 0, 0, 0]), Err(libc::EINVAL));
    assert_eq!(sys::call(libc::SYS_ppoll, [8, 1, 0, 0, 0]), Err(libc::EFAULT));
    assert_eq!(sys::call(libc::SYS_ppoll, [0, 0, 0, at, 7]), Err(libc::EINVAL));
}

fn select_tells_what_would_not_wait() {
    let (reader, mut writer) = pipe().unwrap();
    let (read_fd, write_fd) = (reader.as_raw_fd() as usize, writer.as_raw_fd() as usize);
    let select = |reads: &mut u64, writes: &mut u64| {
        let time = [0i64; 2];
        let (reads, writes) = ((&raw mut *reads) as usize, (&raw mut *writes) as usize);
        let time = time.as_ptr() as usize;
        sys::call(libc::SYS_pselect6, [64, reads, writes, 0, time, 0])
    };
    let (mut reads, mut writes) = (1 << read_fd, 1 << write_fd);
    assert_eq!(select(&mut reads, &mut writes), Ok(1));
    assert_eq!((reads, writes), (0, 1 << write_fd));
    writer.write_all(b"x").unwrap();
    let (mut reads, mut writes) = (1 << read_fd, 0);
    assert_eq!(select(&mut reads, &mut writes), Ok(1));
    assert_eq!((reads, writes), (1 << read_fd, 0));
    let (mut reads, mut writes) = (1 << 63, 0);
    assert_eq!(select(&mut reads, &mut writes), Err(libc::EBADF));
}

fn a_pipe_is_opened_again_through_proc() {
    let (mut reader, writer) = pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    assert!(std::fs::read_link(&path).unwrap().to_str().unwrap().starts_with("pipe:["));
    let mut again = File::options().write(true).open(path).unwrap();
    drop(writer);
    again.write_all(b"still open").unwrap();
    drop(again);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still open");
}
