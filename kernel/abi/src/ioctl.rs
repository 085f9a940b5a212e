// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds requests of ioctl, and `struct termios` (include/uapi/asm-generic/
//! {ioctls,termbits,termios}.h, include/uapi/linux/fs.h).

/// Returns the terminal's settings.
pub const TCGETS: u32 = 0x5401;
/// Sets them now.
pub const TCSETS: u32 = 0x5402;
/// Sets them when output has drained.
pub const TCSETSW: u32 = 0x5403;
/// The same, and drops input not yet read.
pub const TCSETSF: u32 = 0x5404;
/// Waits for output, or sends a break.
pub const TCSBRK: u32 = 0x5409;
/// Drops input or output.
pub const TCFLSH: u32 = 0x540b;
/// Makes it the controlling terminal.
pub const TIOCSCTTY: u32 = 0x540e;
/// Returns the foreground process group.
pub const TIOCGPGRP: u32 = 0x540f;
/// Sets it.
pub const TIOCSPGRP: u32 = 0x5410;
/// Returns the size of the window.
pub const TIOCGWINSZ: u32 = 0x5413;
/// Sets it.
pub const TIOCSWINSZ: u32 = 0x5414;
/// Returns the bytes that a read would return.
pub const FIONREAD: u32 = 0x541b;
/// Sets or clears O_NONBLOCK.
pub const FIONBIO: u32 = 0x5421;
/// Gives the controlling terminal up.
pub const TIOCNOTTY: u32 = 0x5422;
/// Returns the session of the terminal.
pub const TIOCGSID: u32 = 0x5429;
/// Clears the descriptor's flag FD_CLOEXEC.
pub const FIONCLEX: u32 = 0x5450;
/// Sets it.
pub const FIOCLEX: u32 = 0x5451;
/// Returns the size of a block device in sectors.
pub const BLKGETSIZE: u32 = 0x1260;
/// Drops the cache of a block device.
pub const BLKFLSBUF: u32 = 0x1261;
/// Returns the bytes of a sector.
pub const BLKSSZGET: u32 = 0x1268;
/// Returns the size of a block device in bytes.
pub const BLKGETSIZE64: u32 = 0x8008_1272;

/// Returns the bytes that a request reads at its argument. Others read nothing there.
pub const fn input_len(request: u32) -> usize {
    match request {
        TCSETS | TCSETSW | TCSETSF => Termios::SIZE,
        TIOCSWINSZ => 8,
        TIOCSPGRP | FIONBIO => 4,
        // All of the dmirror devices' (`hmm.rs`).
        0xc028_4800..=0xc028_48ff => 40,
        _ => 0,
    }
}

/// Input: turns CR into NL.
pub const ICRNL: u32 = 0o400;
/// Input: turns NL into CR.
pub const INLCR: u32 = 0o100;
/// Input: drops CR.
pub const IGNCR: u32 = 0o200;
/// Input: flow control of output.
pub const IXON: u32 = 0o2_000;
/// Output: is processed.
pub const OPOST: u32 = 0o1;
/// Output: turns NL into CR NL.
pub const ONLCR: u32 = 0o4;
/// Local: signals.
pub const ISIG: u32 = 0o1;
/// Local: lines.
pub const ICANON: u32 = 0o2;
/// Local: echo.
pub const ECHO: u32 = 0o10;
/// Local: erases visibly.
pub const ECHOE: u32 = 0o20;
/// Local: echoes a kill with a new line.
pub const ECHOK: u32 = 0o40;
/// Local: echoes NL without ECHO.
pub const ECHONL: u32 = 0o100;
/// Local: shows control characters as ^X.
pub const ECHOCTL: u32 = 0o1_000;
/// Local: erases a killed line visibly.
pub const ECHOKE: u32 = 0o4_000;
/// Local: extensions.
pub const IEXTEN: u32 = 0o100_000;
/// Control: eight bits.
pub const CS8: u32 = 0o60;
/// Control: receives.
pub const CREAD: u32 = 0o200;
/// Control: hangs up at the last close.
pub const HUPCL: u32 = 0o2_000;
/// Control: 115200 baud.
pub const B115200: u32 = 0o10_002;

/// Index of a control character: interrupt.
pub const VINTR: usize = 0;
/// Quit.
pub const VQUIT: usize = 1;
/// Erase a character.
pub const VERASE: usize = 2;
/// Kill the line.
pub const VKILL: usize = 3;
/// End of file.
pub const VEOF: usize = 4;
/// Tenths of a second that a raw read waits.
pub const VTIME: usize = 5;
/// Bytes that a raw read waits for.
pub const VMIN: usize = 6;
/// Suspend.
pub const VSUSP: usize = 10;
/// End of line.
pub const VEOL: usize = 11;
/// Erase a word.
pub const VWERASE: usize = 14;
/// End of line, too.
pub const VEOL2: usize = 16;

/// `struct termios`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Control modes.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Line discipline.
    pub line: u8,
    /// Control characters.
    pub cc: [u8; 19],
}

impl Termios {
    /// Bytes of the struct.
    pub const SIZE: usize = 36;

    /// The settings that a terminal starts with (INIT_C_CC, tty_std_termios).
    pub const INITIAL: Self = Self {
        iflag: ICRNL | IXON,
        oflag: OPOST | ONLCR,
        cflag: B115200 | CS8 | CREAD | HUPCL,
        lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        line: 0,
        cc: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
    };

    /// Returns the bytes of the struct.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let words = [self.iflag, self.oflag, self.cflag, self.lflag];
        for (index, word) in words.into_iter().enumerate() {
            out[index * 4..index * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        out[16] = self.line;
        out[17..36].copy_from_slice(&self.cc);
        out
    }

    /// Reads the struct from its bytes.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut cc = [0; 19];
        cc.copy_from_slice(&bytes[17..36]);
        Self {
            iflag: word(0),
            oflag: word(4),
            cflag: word(8),
            lflag: word(12),
            line: bytes[16],
            cc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn termios_reads_back_and_starts_as_linux_does() {
        let bytes = Termios::INITIAL.to_bytes();
        assert_eq!(Termios::from_bytes(&bytes), Termios::INITIAL);
        assert_eq!(bytes[..16], [0, 5, 0, 0, 5, 0, 0, 0, 0xb2, 0x14, 0, 0, 0x3b, 0x8a, 0, 0]);
        assert_eq!((bytes[17 + VINTR], bytes[17 + VEOF], bytes[17 + VERASE]), (3, 4, 127));
    }
}
