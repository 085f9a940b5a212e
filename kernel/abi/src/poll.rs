// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds `struct pollfd` and its events (include/uapi/asm-generic/poll.h).

/// There is something to read, or the end.
pub const POLLIN: u16 = 0x001;
/// Urgent data.
pub const POLLPRI: u16 = 0x002;
/// A write would not wait.
pub const POLLOUT: u16 = 0x004;
/// An error; reported unasked.
pub const POLLERR: u16 = 0x008;
/// The other end is gone; reported unasked.
pub const POLLHUP: u16 = 0x010;
/// Not an open descriptor; reported unasked.
pub const POLLNVAL: u16 = 0x020;
/// Normal data to read.
pub const POLLRDNORM: u16 = 0x040;
/// Normal data can be written.
pub const POLLWRNORM: u16 = 0x100;

/// `struct pollfd`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollFd {
    /// The descriptor; a negative one is skipped.
    pub fd: i32,
    /// Events asked for.
    pub events: u16,
    /// Events found.
    pub revents: u16,
}

impl PollFd {
    /// Bytes of the struct.
    pub const SIZE: usize = 8;
    /// Where `revents` stands.
    pub const REVENTS: usize = 6;

    /// Reads the struct from its bytes.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            fd: i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            events: u16::from_le_bytes([bytes[4], bytes[5]]),
            revents: u16::from_le_bytes([bytes[6], bytes[7]]),
        }
    }
}
