// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads KTAP from a serial line.
//!
//! The format is Linux's (Documentation/dev-tools/ktap.rst). Lines that are no KTAP (kernel log,
//! panic) are kept as diagnostics of the test that was running.

/// What a guest says of a test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// `ok`.
    Pass,
    /// `not ok`, with the text after the `#`.
    Fail(String),
    /// `ok ... # SKIP`, with the reason.
    Skip(String),
}

/// A test that was reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Its outcome.
    pub verdict: Verdict,
    /// What was printed since the test before it.
    pub diagnostics: Vec<String>,
}

/// Reads the output of a guest line by line.
#[derive(Debug, Default)]
pub struct Reader {
    results: Vec<TestResult>,
    diagnostics: Vec<String>,
}

impl Reader {
    /// Takes the next line.
    pub fn line(&mut self, line: &str) {
        match result(line) {
            Some((name, verdict)) => {
                let diagnostics = std::mem::take(&mut self.diagnostics);
                self.results.push(TestResult { name: name.to_owned(), verdict, diagnostics });
            }
            None => self.diagnostics.push(line.to_owned()),
        }
    }

    /// Returns the results, and the lines after the last one.
    pub fn finish(self) -> (Vec<TestResult>, Vec<String>) {
        (self.results, self.diagnostics)
    }
}

/// Reads a result line. Results of subtests are indented, and so not taken for a test's own.
fn result(line: &str) -> Option<(&str, Verdict)> {
    let (passed, rest) = match line.strip_prefix("ok ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("not ok ")?),
    };
    let (number, rest) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, comment) = match rest.split_once(" # ") {
        Some((name, comment)) => (name, comment.trim()),
        None => (rest, ""),
    };
    let verdict = match (passed, comment.strip_prefix("SKIP")) {
        (true, Some(reason)) => Verdict::Skip(reason.trim().to_owned()),
        (true, None) => Verdict::Pass,
        (false, _) => Verdict::Fail(comment.to_owned()),
    };
    Some((name.trim(), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_the_kernel_and_of_runner_are_read() {
        let skip = Verdict::Skip(String::from("no MTE"));
        assert_eq!(result("ok 1 mte::round_trip"), Some(("mte::round_trip", Verdict::Pass)));
        assert_eq!(result("ok 2 - tlb::range"), Some(("tlb::range", Verdict::Pass)));
        assert_eq!(result("ok 3 mte::sync # SKIP no MTE"), Some(("mte::sync", skip)));
        let fail = Verdict::Fail(String::from("exit=1"));
        assert_eq!(result("not ok 4 fork_copies # exit=1"), Some(("fork_copies", fail)));
        assert_eq!(result("not ok 5 x"), Some(("x", Verdict::Fail(String::new()))));
    }

    #[test]
    fn a_skip_that_failed_is_a_failure() {
        let fail = Verdict::Fail(String::from("SKIP why"));
        assert_eq!(result("not ok 1 x # SKIP why"), Some(("x", fail)));
    }

    #[test]
    fn everything_else_is_no_result() {
        for line in ["KTAP version 1", "1..3", "# ok 1 x", "  ok 1 x", "ok", "ok x y", "okay 1 x"] {
            assert_eq!(result(line), None, "{line:?}");
        }
    }

    #[test]
    fn output_is_filed_under_the_test_that_it_precedes() {
        let mut reader = Reader::default();
        for line in ["1..2", "# a", "ok 1 first", "log", "not ok 2 second", "granule: PANIC"] {
            reader.line(line);
        }
        let (results, rest) = reader.finish();
        assert_eq!(results[0].diagnostics, ["1..2", "# a"]);
        assert_eq!(results[1].diagnostics, ["log"]);
        assert_eq!(rest, ["granule: PANIC"]);
    }
}
