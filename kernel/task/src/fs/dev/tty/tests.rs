// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the terminal: what is echoed and what is read, byte for byte.

use std::string::String;
use std::vec::Vec;

use abi::Errno;
use abi::ioctl::*;
use abi::open::{O_NONBLOCK, O_RDWR};

use super::TtyWish;
use crate::fs::PollEvents;
use crate::fs::tests::rig::{CPU0, CPU1, Rig, read, write};

/// Typed bytes, and what they lead to: echo, signals, reads.
type Typed = (&'static [u8], &'static str, &'static [u8], &'static [&'static str]);

/// What typing led to: echo, signals, and what reads of up to 100 bytes return.
fn typed(rig: &Rig, bytes: &[u8]) -> (String, Vec<u8>, Vec<String>) {
    let before = rig.machine.console_output().len();
    rig.machine.console_type(bytes);
    let mut signals = Vec::new();
    rig.tty.receive(|wish| match wish {
        TtyWish::Signal { signal, .. } => signals.push(signal),
        TtyWish::MagicKey(key) => panic!("nobody typed the magic key {key}"),
    });
    let echo = String::from_utf8(rig.machine.console_output()[before..].to_vec()).unwrap();
    let file = rig.open("/dev/console", O_RDWR | O_NONBLOCK).unwrap();
    let mut reads = Vec::new();
    while let Ok(bytes) = read(&file, 100) {
        reads.push(String::from_utf8(bytes).unwrap());
        if reads.last().is_some_and(String::is_empty) {
            break;
        }
    }
    (echo, signals, reads)
}

#[test]
fn a_line_can_be_edited_until_it_ends() {
    let cases: &[Typed] = &[
        (b"ls\r", "ls\r\n", &[], &["ls\n"]),
        (b"one\ntwo\n", "one\r\ntwo\r\n", &[], &["one\n", "two\n"]),
        (b"ab\x7fc\r", "ab\x08 \x08c\r\n", &[], &["ac\n"]),
        (b"\x7fx\r", "x\r\n", &[], &["x\n"]),
        (b"ab\x01\x7f\r", "ab^A\x08 \x08\x08 \x08\r\n", &[], &["ab\n"]),
        (b"abc\x15d\r", "abc\x08 \x08\x08 \x08\x08 \x08d\r\n", &[], &["d\n"]),
        (b"a bc\x17d\r", "a bc\x08 \x08\x08 \x08d\r\n", &[], &["a d\n"]),
        (b"ab\x04", "ab", &[], &["ab"]),
        (b"\x04", "", &[], &[""]),
        (b"ab\x03c\r", "ab^Cc\r\n", &[2], &["c\n"]),
        (b"\x1c\x1a", "^\\^Z", &[3, 20], &[]),
        (b"unfinished", "unfinished", &[], &[]),
    ];
    for (bytes, echo, signals, reads) in cases {
        Rig::run(|rig| {
            let (got_echo, got_signals, got_reads) = typed(rig, bytes);
            assert_eq!(got_echo, *echo, "{bytes:?}");
            assert_eq!(got_signals, *signals, "{bytes:?}");
            assert_eq!(got_reads, *reads, "{bytes:?}");
        });
    }
}

#[test]
fn raw_mode_passes_every_byte() {
    Rig::run(|rig| {
        let file = rig.open("/dev/tty", O_RDWR).unwrap();
        let mut termios = Termios::INITIAL;
        termios.lflag = 0;
        termios.iflag = 0;
        termios.oflag = 0;
        file.ioctl(TCSETS, &termios.to_bytes()).unwrap();
        assert_eq!(file.ioctl(TCGETS, &[]).unwrap(), termios.to_bytes());
        let (echo, signals, reads) = typed(rig, b"a\r\x03\x7f\x04");
        assert_eq!((echo.as_str(), signals), ("", Vec::new()));
        assert_eq!(reads, ["a\r\x03\x7f\x04"]);
        let before = rig.machine.console_output().len();
        write(&file, b"x\ny").unwrap();
        assert_eq!(rig.machine.console_output()[before..], *b"x\ny");
        // A minimum of 0 bytes: a read does not wait.
        termios.cc[VMIN] = 0;
        file.ioctl(TCSETSW, &termios.to_bytes()).unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"");
    });
}

#[test]
fn a_short_read_leaves_the_rest_of_the_line() {
    Rig::run(|rig| {
        rig.machine.console_type(b"abcdef\ng\n");
        rig.tty.receive(|_| {});
        let file = rig.open("/dev/console", O_RDWR | O_NONBLOCK).unwrap();
        assert_eq!(file.ioctl(FIONREAD, &[]).unwrap(), 7u32.to_le_bytes());
        assert_eq!(read(&file, 4).unwrap(), b"abcd");
        assert_eq!(read(&file, 100).unwrap(), b"ef\n");
        assert_eq!(file.poll(), PollEvents::IN | PollEvents::OUT);
        assert_eq!(read(&file, 100).unwrap(), b"g\n");
        assert_eq!(file.poll(), PollEvents::OUT);
        assert_eq!(read(&file, 1), Err(Errno::EAGAIN));
        assert_eq!(file.seek(0, 0), Err(Errno::ESPIPE));
    });
}

#[test]
fn a_reader_sleeps_until_a_line_arrives() {
    let rig = Rig::new();
    let there = rig.clone();
    let reader =
        rig.machine.spawn_on(CPU1, move || read(&there.open("/dev/console", O_RDWR).unwrap(), 100));
    rig.machine.run_on(CPU0, || {
        rig.machine.console_type(b"half");
        rig.tty.receive(|_| {});
        rig.machine.console_type(b" whole\r");
        rig.tty.receive(|_| {});
    });
    assert_eq!(reader.join().unwrap(), Ok(b"half whole\n".to_vec()));
}

#[test]
fn window_and_foreground_are_kept() {
    Rig::run(|rig| {
        let file = rig.open("/dev/console", O_RDWR).unwrap();
        assert_eq!(file.ioctl(TIOCGWINSZ, &[]).unwrap(), [24, 0, 80, 0, 0, 0, 0, 0]);
        file.ioctl(TIOCSWINSZ, &[50, 0, 132, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(file.ioctl(TIOCGWINSZ, &[]).unwrap(), [50, 0, 132, 0, 0, 0, 0, 0]);
        file.ioctl(TIOCSPGRP, &7i32.to_le_bytes()).unwrap();
        assert_eq!(file.ioctl(TIOCGPGRP, &[]).unwrap(), 7i32.to_le_bytes());
        assert_eq!(file.ioctl(TIOCSPGRP, &(-1i32).to_le_bytes()), Err(Errno::EINVAL));
        assert_eq!(file.ioctl(0x1234, &[]), Err(Errno::ENOTTY));
        rig.machine.console_type(b"\x03");
        rig.tty.receive(|wish| assert_eq!(wish, TtyWish::Signal { group: 7, signal: 2 }));
    });
}

#[test]
fn a_key_behind_the_prefix_is_magic_and_nobody_reads_it() {
    Rig::run(|rig| {
        let mut wishes = Vec::new();
        // The prefix alone arrives first: it is remembered.
        for bytes in [&b"a\x0f"[..], b"mb\x0f\x0fc\x0f\x03\n"] {
            rig.machine.console_type(bytes);
            rig.tty.receive(|wish| wishes.push(wish));
        }
        assert_eq!(wishes, [TtyWish::MagicKey(b'm'), TtyWish::MagicKey(3)]);
        let file = rig.open("/dev/console", O_RDWR | O_NONBLOCK).unwrap();
        assert_eq!(read(&file, 100).unwrap(), b"ab\x0fc\n");
    });
}
