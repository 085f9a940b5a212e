// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file cuts a byte stream into lines as it arrives.

/// A piece of output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A whole line, without its line end.
    Line(Vec<u8>),
    /// The start of a line that has not ended yet, as a prompt; or more of such a line. Carries
    /// its line end, if it came.
    Fragment(Vec<u8>),
}

/// The bytes of the line that is arriving.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// How much of `partial` was handed out as fragments.
    shown: usize,
}

impl Lines {
    /// Takes bytes and returns the pieces that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend(chunk);
            if chunk.ends_with(b"\n") {
                pieces.push(self.end_line());
            }
        }
        pieces
    }

    /// Hands out the bytes of an unfinished line that were not handed out before.
    pub fn take_fragment(&mut self) -> Option<Piece> {
        let fresh = self.partial[self.shown..].to_vec();
        self.shown = self.partial.len();
        (!fresh.is_empty()).then_some(Piece::Fragment(fresh))
    }

    /// Ends the stream: an unfinished line is a line too.
    pub fn finish(&mut self) -> Option<Piece> {
        (self.partial.len() > self.shown).then(|| self.end_line())
    }

    /// Returns the line so far.
    pub fn current(&self) -> &[u8] {
        &self.partial
    }

    fn end_line(&mut self) -> Piece {
        let mut line = std::mem::take(&mut self.partial);
        let shown = std::mem::take(&mut self.shown);
        if shown > 0 {
            return Piece::Fragment(line.split_off(shown));
        }
        // A serial line ends in CR LF where the guest takes it for a terminal.
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        Piece::Line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Piece {
        Piece::Line(text.as_bytes().to_vec())
    }

    fn fragment(text: &str) -> Piece {
        Piece::Fragment(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_whole_however_the_bytes_arrive() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"on"), []);
        assert_eq!(lines.current(), b"on");
        assert_eq!(lines.push(b"e\r\ntwo\n\nth"), [line("one"), line("two"), line("")]);
        assert_eq!(lines.push(b"ree\n"), [line("three")]);
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_prompt_is_shown_once_and_its_line_goes_on_as_fragments() {
        let mut lines = Lines::default();
        lines.push(b"# ");
        assert_eq!(lines.take_fragment(), Some(fragment("# ")));
        assert_eq!(lines.take_fragment(), None);
        assert_eq!(lines.push(b"ls\r\nbin\n"), [fragment("ls\r\n"), line("bin")]);
    }

    #[test]
    fn the_end_of_the_stream_ends_the_line() {
        let mut lines = Lines::default();
        lines.push(b"cut");
        assert_eq!(lines.finish(), Some(line("cut")));
        assert_eq!(lines.finish(), None);
        lines.push(b"cut");
        lines.take_fragment();
        assert_eq!(lines.finish(), None);
    }
}
