// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes what stands between two marks out of a guest's output.

use std::process::Stdio;
use std::time::Duration;

use crate::error::Error;
use crate::guest::{Guest, Setup};
use crate::lines::Piece;
use crate::scratch::Scratch;
use crate::watchdog::{Ending, Limits};

/// How long the guest may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Boots a guest and returns the lines of its last complete block; the rest of its output goes to
/// standard error.
///
/// # Errors
///
/// When the guest cannot be started.
pub fn last_block(setup: &Setup, marks: Marks) -> Result<(Option<Vec<String>>, Ending), Error> {
    let guest = Guest::prepare(setup, Scratch::new()?, None)?;
    let limits = Limits { silence: Some(SILENCE), ..Limits::default() };
    let mut marked = Marked::new(marks);
    let ending = guest.run(Stdio::null(), &limits, &mut |piece| {
        let (Piece::Line(line) | Piece::Fragment(line)) = piece;
        let line = String::from_utf8_lossy(&line);
        if !marked.take(&line) {
            eprintln!("{}", line.trim_end());
        }
    })?;
    Ok((marked.into_last(), ending))
}

/// The lines that open and close a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marks {
    /// The line before the block.
    pub begin: &'static str,
    /// The line behind it.
    pub end: &'static str,
}

/// The block that was complete last, and one that has begun since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marked {
    marks: Marks,
    open: Option<Vec<String>>,
    last: Option<Vec<String>>,
}

impl Marked {
    /// Waits for blocks between `marks`.
    pub fn new(marks: Marks) -> Self {
        Self { marks, open: None, last: None }
    }

    /// Takes the next line and returns whether it is part of a block, or a mark.
    pub fn take(&mut self, line: &str) -> bool {
        let line = line.trim_end();
        if line == self.marks.begin {
            // A block that was cut by another one's beginning is none.
            self.open = Some(Vec::new());
        } else if line == self.marks.end && self.open.is_some() {
            self.last = self.open.take();
        } else if let Some(lines) = &mut self.open {
            lines.push(line.to_owned());
        } else {
            return false;
        }
        true
    }

    /// Returns the lines of the last complete block.
    pub fn into_last(self) -> Option<Vec<String>> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str) -> (Option<Vec<String>>, Vec<&str>) {
        let mut marked = Marked::new(Marks { begin: "<", end: ">" });
        let others = text.lines().filter(|line| !marked.take(line)).collect();
        (marked.into_last(), others)
    }

    fn lines(lines: &[&str]) -> Option<Vec<String>> {
        Some(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn the_last_complete_block_counts_and_everything_else_is_left() {
        assert_eq!(last("a\n<\r\nb 1\n>\nc\n<\nb 2\n>\n<\nb 3"), (lines(&["b 2"]), vec!["a", "c"]));
        assert_eq!(last("<\nb 1\n<\nb 2\n>"), (lines(&["b 2"]), vec![]));
        assert_eq!(last("a\n>\nb"), (None, vec!["a", ">", "b"]));
    }
}
