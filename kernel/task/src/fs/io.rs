// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says how bytes get to and from whoever reads or writes a file.
//!
//! The system calls implement [`Sink`] and [`Source`] over user memory. A copy may fault, and a
//! fault may sleep: no spin lock is held while `put` or `take` runs. A copy that stops half-way
//! counts what it did: a file system reports an error only when not a byte was moved.

use abi::Errno;

/// Where read bytes go.
pub trait Sink {
    /// Returns how many bytes still fit.
    fn room(&self) -> usize;

    /// Appends bytes, at most [`Sink::room`].
    ///
    /// # Errors
    ///
    /// EFAULT when not all of them could be stored; the room shrinks by what was.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno>;
}

/// Where written bytes come from.
pub trait Source {
    /// Returns how many bytes are left.
    fn left(&self) -> usize;

    /// Takes the next bytes, at most [`Source::left`].
    ///
    /// # Errors
    ///
    /// EFAULT when not all of them could be loaded; what is left shrinks by those at the start of
    /// `buf` that were.
    fn take(&mut self, buf: &mut [u8]) -> Result<(), Errno>;
}

/// A sink in kernel memory.
pub struct SliceSink<'a> {
    buf: &'a mut [u8],
    filled: usize,
}

impl<'a> SliceSink<'a> {
    /// Builds a sink that fills `buf` from its start.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, filled: 0 }
    }

    /// Returns how many bytes were put.
    pub fn filled(&self) -> usize {
        self.filled
    }
}

impl Sink for SliceSink<'_> {
    fn room(&self) -> usize {
        self.buf.len() - self.filled
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let end = self.filled + bytes.len();
        self.buf.get_mut(self.filled..end).ok_or(Errno::EFAULT)?.copy_from_slice(bytes);
        self.filled = end;
        Ok(())
    }
}

/// A source in kernel memory.
pub struct SliceSource<'a>(&'a [u8]);

impl<'a> SliceSource<'a> {
    /// Builds a source of all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Source for SliceSource<'_> {
    fn left(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        let (head, tail) = self.0.split_at_checked(buf.len()).ok_or(Errno::EFAULT)?;
        buf.copy_from_slice(head);
        self.0 = tail;
        Ok(())
    }
}

/// Puts bytes, and returns how many arrived: an error counts only when none did.
///
/// # Errors
///
/// EFAULT when not a byte could be put.
pub fn put_counted(to: &mut dyn Sink, bytes: &[u8]) -> Result<usize, Errno> {
    let before = to.room();
    match to.put(bytes) {
        Ok(()) => Ok(bytes.len()),
        Err(error) => match before - to.room() {
            0 => Err(error),
            done => Ok(done),
        },
    }
}

/// Takes bytes, and returns how many came and the error that stopped them.
pub fn take_counted(from: &mut dyn Source, buf: &mut [u8]) -> (usize, Result<(), Errno>) {
    let before = from.left();
    let result = from.take(buf);
    (before - from.left(), result)
}

/// Ends a transfer that moved `done` bytes: an error counts only when it moved none.
///
/// # Errors
///
/// That of `last`, when `done` is 0.
pub fn or_partial(done: usize, last: Result<(), Errno>) -> Result<usize, Errno> {
    match last {
        Err(error) if done == 0 => Err(error),
        _ => Ok(done),
    }
}
