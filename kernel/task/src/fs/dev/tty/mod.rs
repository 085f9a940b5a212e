// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is the terminal on the console.
//!
//! Input arrives by interrupt ([`Tty::receive`]), goes through the line discipline (`line.rs`), and
//! waits there for a reader. Its state is under one spin lock of level `Inode`; nothing is sent to
//! a process and nobody is woken with it held.

mod line;
mod magic_key;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::Errno;
use abi::ioctl::{
    FIONREAD, ONLCR, OPOST, TCFLSH, TCGETS, TCSBRK, TCSETS, TCSETSF, TCSETSW, TIOCGPGRP, TIOCGSID,
    TIOCGWINSZ, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP, TIOCSWINSZ, Termios,
};
use base::lock_level::Inode as InodeLevel;
use base::sync::SpinLock;
use hal::Platform;

use super::Device;
use crate::fs::env::Env;
use crate::fs::inode::OpenMode;
use crate::fs::io::{Sink, Source, or_partial, put_counted, take_counted};
use crate::fs::nap::EventCount;
use crate::fs::ops::{FileOps, Offsets, PollEvents, WriteAt, Written};
use line::Line;
use magic_key::{MagicKey, Typed};

/// Bytes moved at a time.
const CHUNK: usize = 256;

/// The terminal.
pub struct Tty<P: Platform> {
    env: Arc<Env<P>>,
    state: SpinLock<State, InodeLevel>,
    /// Advances when there is more to read, or the settings change.
    changed: EventCount,
}

struct State {
    line: Line,
    magic_key: MagicKey,
    /// `struct winsize`: rows, columns, and pixels of both.
    window: [u8; 8],
    foreground: u32,
    session: u32,
}

/// What typed bytes ask for, beside being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtyWish {
    /// A control character asks for a signal.
    Signal {
        /// The foreground process group.
        group: u32,
        /// The signal's number.
        signal: u8,
    },
    /// A magic key.
    MagicKey(u8),
}

impl<P: Platform> Tty<P> {
    /// Builds the terminal, 80 columns by 24 rows, with the first process in its foreground.
    pub fn new(env: &Arc<Env<P>>) -> Arc<Self> {
        let window = [24, 0, 80, 0, 0, 0, 0, 0];
        let (line, magic_key) = (Line::new(), MagicKey::default());
        let state = State { line, magic_key, window, foreground: 1, session: 1 };
        Arc::new(Self {
            env: Arc::clone(env),
            state: SpinLock::new(state),
            changed: EventCount::default(),
        })
    }

    /// Takes what has arrived at the console. Called on the console's interrupt; wishes are granted
    /// with no lock held.
    pub fn receive(&self, mut grant: impl FnMut(TtyWish)) {
        let mut buf = [0; 64];
        loop {
            let len = self.env.machine().console_read(&mut buf);
            if len == 0 {
                return;
            }
            let mut echo = Vec::new();
            let mut wishes = Vec::new();
            let mut state = self.state.lock();
            let group = state.foreground;
            for byte in &buf[..len] {
                match state.magic_key.take(*byte) {
                    Typed::Plain(byte) => {
                        let signal = state.line.input(byte, &mut echo);
                        wishes.extend(signal.map(|signal| TtyWish::Signal { group, signal }));
                    }
                    Typed::Prefix => {}
                    Typed::Magic(key) => wishes.push(TtyWish::MagicKey(key)),
                }
            }
            let is_processed = state.line.termios().oflag & OPOST != 0;
            let adds_cr = is_processed && state.line.termios().oflag & ONLCR != 0;
            drop(state);
            self.put_out(&echo, adds_cr);
            self.env.changed(&self.changed);
            wishes.into_iter().for_each(&mut grant);
        }
    }

    /// Returns the foreground process group.
    pub fn foreground(&self) -> u32 {
        self.state.lock().foreground
    }

    fn put_out(&self, bytes: &[u8], adds_cr: bool) {
        if !adds_cr {
            return self.env.machine().console_write(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len() + 8);
        for byte in bytes {
            if *byte == b'\n' {
                out.push(b'\r');
            }
            out.push(*byte);
        }
        self.env.machine().console_write(&out);
    }
}

impl<P: Platform> Device<P> for Tty<P> {
    fn open(self: Arc<Self>, _mode: OpenMode) -> Result<Arc<dyn FileOps<P>>, Errno> {
        Ok(self)
    }
}

impl<P: Platform> FileOps<P> for Tty<P> {
    fn read(&self, _at: u64, to: &mut dyn Sink, nonblock: bool) -> Result<usize, Errno> {
        let mut done = 0;
        let mut chunk = [0; CHUNK];
        while to.room() > 0 {
            let seen = self.changed.now();
            let mut state = self.state.lock();
            let taken = state.line.take(&mut chunk[..to.room().min(CHUNK)]);
            let may_wait = state.line.waits_for_input();
            drop(state);
            match taken {
                Some(taken) => {
                    let put = put_counted(to, &chunk[..taken.len]);
                    done += *put.as_ref().unwrap_or(&0);
                    if put != Ok(taken.len) {
                        return or_partial(done, put.map(|_| ()));
                    }
                    if taken.is_end {
                        return Ok(done);
                    }
                }
                None if done > 0 || !may_wait => return Ok(done),
                None if nonblock => return Err(Errno::EAGAIN),
                None => {
                    self.changed.wait(self.env.nap(), seen, None)?;
                }
            }
        }
        Ok(done)
    }

    fn write(
        &self,
        _at: WriteAt,
        from: &mut dyn Source,
        _nonblock: bool,
    ) -> Result<Written, Errno> {
        let oflag = self.state.lock().line.termios().oflag;
        let adds_cr = oflag & OPOST != 0 && oflag & ONLCR != 0;
        let mut done = 0;
        let mut chunk = [0; CHUNK];
        while from.left() > 0 {
            let len = from.left().min(CHUNK);
            let (taken, why) = take_counted(from, &mut chunk[..len]);
            self.put_out(&chunk[..taken], adds_cr);
            done += taken;
            if why.is_err() {
                return or_partial(done, why).map(|len| Written { len, end: 0 });
            }
            self.env.machine().cond_resched();
        }
        Ok(Written { len: done, end: 0 })
    }

    fn offsets(&self) -> Offsets {
        Offsets::Stream
    }

    fn poll(&self) -> PollEvents {
        let mut events = PollEvents::OUT;
        events.set(PollEvents::IN, self.state.lock().line.is_readable());
        events
    }

    fn ioctl(&self, request: u32, input: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut state = self.state.lock();
        match request {
            TCGETS => return Ok(state.line.termios().to_bytes().to_vec()),
            TCSETS | TCSETSW | TCSETSF => {
                let bytes = input.try_into().map_err(|_| Errno::EFAULT)?;
                state.line.set_termios(Termios::from_bytes(bytes));
                if request == TCSETSF {
                    state.line.clear();
                }
            }
            TIOCGWINSZ => return Ok(state.window.to_vec()),
            TIOCSWINSZ => state.window = input.try_into().map_err(|_| Errno::EFAULT)?,
            TIOCGPGRP => return Ok(state.foreground.to_le_bytes().to_vec()),
            TIOCSPGRP => {
                let group = i32::from_le_bytes(input.try_into().map_err(|_| Errno::EFAULT)?);
                state.foreground = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
            }
            TIOCGSID => return Ok(state.session.to_le_bytes().to_vec()),
            FIONREAD => {
                let len = state.line.nr_readable() as u32;
                return Ok(len.to_le_bytes().to_vec());
            }
            TCFLSH => state.line.clear(),
            TCSBRK | TIOCSCTTY | TIOCNOTTY => {}
            _ => return Err(Errno::ENOTTY),
        }
        drop(state);
        // A reader may find what it waits for under the new settings.
        self.env.changed(&self.changed);
        Ok(Vec::new())
    }
}
