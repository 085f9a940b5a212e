// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file counts what passed and failed, and says so at the end.

use std::fmt::Write;

/// How much of a failure is repeated at the end.
const SHOWN_LINES: usize = 80;

/// The outcome of many tests and checks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    passed: u32,
    failures: Vec<Note>,
    skips: Vec<Note>,
}

/// A test and what is to be said of it.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    name: String,
    text: String,
}

impl Report {
    /// Counts tests that passed.
    pub fn pass(&mut self, nr_tests: u32) {
        self.passed += nr_tests;
    }

    /// Counts a failure.
    pub fn fail(&mut self, name: &str, detail: &str) {
        self.failures.push(Note { name: name.to_owned(), text: detail.trim_end().to_owned() });
    }

    /// Counts a skip.
    pub fn skip(&mut self, name: &str, reason: &str) {
        self.skips.push(Note { name: name.to_owned(), text: reason.to_owned() });
    }

    /// Counts a check that is one test, and shows it at once.
    pub fn single(&mut self, name: &str, passed: bool, detail: &str) {
        if passed {
            println!("test {name} ... ok");
            self.pass(1);
        } else {
            println!("test {name} ... FAILED\n{detail}");
            self.fail(name, detail);
        }
    }

    /// Returns the number of failures.
    pub fn nr_failed(&self) -> usize {
        self.failures.len()
    }

    /// Prints skips, failures and, as the last line, the counts. Returns the exit status.
    pub fn finish(&self) -> u8 {
        println!("{}", self.summary());
        u8::from(self.nr_failed() > 0)
    }

    /// Returns what [`Report::finish`] prints.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for (title, notes) in [("skipped", &self.skips), ("failed", &self.failures)] {
            if !notes.is_empty() {
                let _ = writeln!(text, "\n{title}:");
            }
            for note in notes {
                let _ = writeln!(text, "    {}: {}", note.name, shortened(&note.text));
            }
        }
        let (passed, failed, skipped) = (self.passed, self.nr_failed(), self.skips.len());
        let _ = write!(text, "\n{passed} passed, {failed} failed, {skipped} skipped");
        text
    }
}

/// Indents a text below its first line, and cuts it where it gets long.
fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().min(SHOWN_LINES);
    let mut short = lines[..shown].join("\n        ");
    if shown < lines.len() {
        let _ = write!(short, "\n        ... and {} more lines, shown above", lines.len() - shown);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_the_counts() {
        let mut report = Report::default();
        report.pass(7);
        report.fail("a::b", "left != right\n  at x.rs:1\n");
        report.skip("c", "no MTE");
        let summary = report.summary();
        assert_eq!(summary.lines().last(), Some("7 passed, 1 failed, 1 skipped"));
        assert!(summary.contains("    a::b: left != right\n          at x.rs:1\n"), "{summary}");
        assert!(summary.contains("    c: no MTE\n"), "{summary}");
        assert_eq!(report.finish(), 1);
    }

    #[test]
    fn a_long_explanation_is_cut() {
        let text: Vec<String> = (1..=SHOWN_LINES + 2).map(|line| line.to_string()).collect();
        let short = shortened(&text.join("\n"));
        assert!(
            short.ends_with("\n        80\n        ... and 2 more lines, shown above"),
            "{short}"
        );
        assert_eq!(shortened(""), "");
    }

    #[test]
    fn nothing_failed_means_success() {
        let mut report = Report::default();
        report.skip("c", "no MTE");
        assert_eq!(report.finish(), 0);
    }
}
