// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the values of counters, and compares two runs.

use std::fmt::Write;
use std::path::Path;

use crate::error::Error;
use crate::marked::{Marked, Marks};

/// The marks around the counters on the console (kernel/task/src/counters.rs).
pub const MARKS: Marks = Marks { begin: "--- counters begin ---", end: "--- counters end ---" };

/// Names and values, in the order in which the kernel printed them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sample(pub Vec<(String, u64)>);

/// A counter of two runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its value in the first run, if it had one.
    pub before: Option<u64>,
    /// Its value in the second run, if it had one.
    pub after: Option<u64>,
}

impl Sample {
    /// Reads `name value` lines and leaves out others. In a whole serial log the last block counts.
    pub fn parse(text: &str) -> Self {
        let mut marked = Marked::new(MARKS);
        let plain: Vec<String> =
            text.lines().filter(|line| !marked.take(line)).map(str::to_owned).collect();
        Self::of_lines(&marked.into_last().unwrap_or(plain))
    }

    /// Reads the lines of a block.
    pub fn of_lines(lines: &[String]) -> Self {
        let value = |line: &String| {
            let (name, value) = line.trim().split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(lines.iter().filter_map(value).collect())
    }

    /// Reads a file that [`Sample::lines`] was written to, or a serial log.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has no counters.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let sample = Self::parse(&text);
        if sample.0.is_empty() {
            return Err(Error::NoCounters(path.display().to_string()));
        }
        Ok(sample)
    }

    /// Returns a `name value` line for each counter.
    pub fn lines(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name} {value}");
            text
        })
    }

    /// Returns the value of a counter.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    /// Returns the counters that `later` has other values of, or only one of the two has.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let change = |name: &String| {
            let (before, after) = (self.value(name), later.value(name));
            (before != after).then(|| Change { name: name.clone(), before, after })
        };
        let gone = self.0.iter().filter(|(name, _)| later.value(name).is_none());
        later.0.iter().chain(gone).filter_map(|(name, _)| change(name)).collect()
    }
}

impl Change {
    /// Returns the difference, of counters that both runs have.
    pub fn difference(&self) -> Option<i128> {
        Some(i128::from(self.after?) - i128::from(self.before?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_a_file_or_from_the_last_block_of_a_log() {
        let log = "boot 1\n--- counters begin ---\npgfault 3\n--- counters end ---\nx 1\n\
                   --- counters begin ---\r\npgfault 5\r\npswpin 0\r\n--- counters end ---\r\n";
        let sample = Sample::parse(log);
        assert_eq!(sample.lines(), "pgfault 5\npswpin 0\n");
        assert_eq!(Sample::parse(&sample.lines()), sample);
        assert_eq!(Sample::parse("granule: 4 cpus, 256 MiB\n"), Sample::default());
    }

    #[test]
    fn changes_are_what_differs_and_what_one_run_has_alone() {
        let (one, other) = (Sample::parse("a 1\nb 2\nc 3\n"), Sample::parse("a 1\nc 1\nd 9\n"));
        let changes = one.changes(&other);
        let shown: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.difference())).collect();
        assert_eq!(shown, [("c", Some(-2)), ("d", None), ("b", None)]);
    }
}
