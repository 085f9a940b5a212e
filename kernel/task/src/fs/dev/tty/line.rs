// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the line discipline: what typed bytes become, and what a read gets of them
//! (termios(3), as far as programs on a serial console use it).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use abi::ioctl::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHONL, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG,
    Termios, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VMIN, VQUIT, VSUSP, VTIME, VWERASE,
};

/// Bytes kept at most; more are dropped.
const CAPACITY: usize = 4096;

const SIGINT: u8 = 2;
const SIGQUIT: u8 = 3;
const SIGTSTP: u8 = 20;

/// Input on its way from the console to a reader.
pub(super) struct Line {
    termios: Termios,
    /// The line that is being edited.
    edited: Vec<u8>,
    /// What may be read.
    ready: VecDeque<u8>,
    /// Lengths of the lines in `ready`. An end of file is a line without a newline.
    lines: VecDeque<usize>,
}

/// What a read took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// Bytes.
    pub len: usize,
    /// The read gets no more than what it has now.
    pub is_end: bool,
}

impl Line {
    pub fn new() -> Self {
        Self {
            termios: Termios::INITIAL,
            edited: Vec::new(),
            ready: VecDeque::new(),
            lines: VecDeque::new(),
        }
    }

    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Changes the settings. Input that was edited as a line can be read as it is after a change to
    /// raw mode, and what was raw is one line after a change back.
    pub fn set_termios(&mut self, termios: Termios) {
        let was_canonical = self.is_canonical();
        self.termios = termios;
        match (was_canonical, self.is_canonical()) {
            (true, false) => {
                self.ready.extend(self.edited.drain(..));
                self.lines.clear();
            }
            (false, true) if !self.ready.is_empty() => self.lines.push_back(self.ready.len()),
            _ => {}
        }
    }

    fn is_canonical(&self) -> bool {
        self.has(ICANON)
    }

    fn has(&self, flag: u32) -> bool {
        self.termios.lflag & flag != 0
    }

    /// Tells whether `byte` is a control character that is not switched off.
    fn is(&self, byte: u8, index: usize) -> bool {
        self.termios.cc[index] == byte && byte != 0
    }

    /// Drops all input.
    pub fn clear(&mut self) {
        self.edited.clear();
        self.ready.clear();
        self.lines.clear();
    }

    /// Takes a typed byte. Appends what is echoed, and returns the signal that it asks for.
    pub fn input(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<u8> {
        let byte = match byte {
            b'\r' if self.termios.iflag & IGNCR != 0 => return None,
            b'\r' if self.termios.iflag & ICRNL != 0 => b'\n',
            b'\n' if self.termios.iflag & INLCR != 0 => b'\r',
            byte => byte,
        };
        if self.has(ISIG) {
            let signals = [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)];
            let asked = signals.into_iter().find(|(index, _)| self.is(byte, *index));
            if let Some((_, signal)) = asked {
                self.clear();
                self.echo(byte, echo);
                return Some(signal);
            }
        }
        match self.is_canonical() {
            true => self.edit(byte, echo),
            false if self.ready.len() < CAPACITY => {
                self.ready.push_back(byte);
                self.echo(byte, echo);
            }
            false => {}
        }
        None
    }

    fn edit(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.is(byte, VERASE) {
            self.erase(echo);
        } else if self.is(byte, VKILL) {
            self.kill(echo);
        } else if self.is(byte, VWERASE) && self.has(IEXTEN) {
            self.erase_while(echo, |last| last == b' ');
            self.erase_while(echo, |last| last != b' ');
        } else if self.is(byte, VEOF) {
            self.end_line();
        } else if byte == b'\n' || self.is(byte, VEOL) || self.is(byte, VEOL2) {
            self.edited.push(byte);
            if byte == b'\n' && self.has(ECHONL) && !self.has(ECHO) {
                echo.push(b'\n');
            }
            self.echo(byte, echo);
            self.end_line();
        } else if self.ready.len() + self.edited.len() < CAPACITY - 1 {
            self.edited.push(byte);
            self.echo(byte, echo);
        }
    }

    fn end_line(&mut self) {
        self.lines.push_back(self.edited.len());
        self.ready.extend(self.edited.drain(..));
    }

    fn erase(&mut self, echo: &mut Vec<u8>) {
        let Some(byte) = self.edited.pop() else { return };
        if self.has(ECHO) && self.has(ECHOE) {
            for _ in 0..self.shown(byte).1 {
                echo.extend_from_slice(b"\x08 \x08");
            }
        }
    }

    fn erase_while(&mut self, echo: &mut Vec<u8>, goes: impl Fn(u8) -> bool) {
        while self.edited.last().is_some_and(|last| goes(*last)) {
            self.erase(echo);
        }
    }

    fn kill(&mut self, echo: &mut Vec<u8>) {
        if self.has(ECHOKE) {
            self.erase_while(echo, |_| true);
        } else {
            self.edited.clear();
            if self.has(ECHO) && self.has(ECHOK) {
                echo.push(b'\n');
            }
        }
    }

    fn echo(&self, byte: u8, echo: &mut Vec<u8>) {
        if self.has(ECHO) {
            let (bytes, len) = self.shown(byte);
            echo.extend_from_slice(&bytes[..len]);
        }
    }

    /// Returns how a byte is shown, and how many columns that takes.
    fn shown(&self, byte: u8) -> ([u8; 2], usize) {
        let is_control = (byte < b' ' && !matches!(byte, b'\n' | b'\t')) || byte == 0x7f;
        if is_control && self.has(ECHOCTL) { ([b'^', byte ^ 0x40], 2) } else { ([byte, 0], 1) }
    }

    /// Returns how many bytes a read would get.
    pub fn nr_readable(&self) -> usize {
        if self.is_canonical() {
            self.lines.front().copied().unwrap_or(0)
        } else {
            self.ready.len()
        }
    }

    /// Tells whether a read would not wait.
    pub fn is_readable(&self) -> bool {
        if self.is_canonical() { !self.lines.is_empty() } else { !self.ready.is_empty() }
    }

    /// Tells whether a read that finds nothing waits: not in raw mode with a minimum of 0.
    pub fn waits_for_input(&self) -> bool {
        self.is_canonical() || self.termios.cc[VMIN] > 0 || self.termios.cc[VTIME] > 0
    }

    /// Takes bytes for a read, or `None` when it would have to wait.
    pub fn take(&mut self, buf: &mut [u8]) -> Option<Taken> {
        if !self.is_readable() {
            return None;
        }
        let len = self.nr_readable().min(buf.len());
        for (to, byte) in buf.iter_mut().zip(self.ready.drain(..len)) {
            *to = byte;
        }
        if !self.is_canonical() {
            return Some(Taken { len, is_end: false });
        }
        let rest = self.nr_readable() - len;
        if rest == 0 {
            self.lines.pop_front();
        } else {
            self.lines[0] = rest;
        }
        Some(Taken { len, is_end: rest == 0 })
    }
}
