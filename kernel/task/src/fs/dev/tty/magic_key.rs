// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file picks magic keys out of what is typed: Ctrl-O, then the key (drivers/tty/hvc in Linux).

/// Ctrl-O.
const PREFIX: u8 = 0x0f;

/// What a typed byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Typed {
    /// For who reads the terminal.
    Plain(u8),
    /// The key that follows it is magic.
    Prefix,
    /// A magic key.
    Magic(u8),
}

/// Whether the byte before was the prefix.
#[derive(Default)]
pub(super) struct MagicKey {
    is_armed: bool,
}

impl MagicKey {
    /// Takes the next byte. The prefix typed twice is the byte itself, once.
    pub fn take(&mut self, byte: u8) -> Typed {
        let was_armed = core::mem::take(&mut self.is_armed);
        match (was_armed, byte) {
            (false, PREFIX) => {
                self.is_armed = true;
                Typed::Prefix
            }
            (false, byte) | (true, byte @ PREFIX) => Typed::Plain(byte),
            (true, key) => Typed::Magic(key),
        }
    }
}
