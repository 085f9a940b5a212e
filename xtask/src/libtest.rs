// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the output of `cargo test`: who passed, who failed, who died without a word.

use std::collections::BTreeMap;

use crate::report::Report;

/// How much of the output a failure without explanation shows.
const TAIL_LINES: usize = 60;

/// Reads the merged output of Cargo and its test programs line by line.
#[derive(Debug, Default)]
pub struct Reader {
    /// The test program that has not printed its result yet.
    program: Option<String>,
    section: Section,
    /// What failed tests printed, by name.
    details: BTreeMap<String, String>,
    failed: Vec<String>,
    ignored: Vec<(String, String)>,
    tail: Vec<String>,
    /// Whether the failure of the command is explained by a failed test.
    has_reported_failure: bool,
}

/// Where a reader is in the output of a test program.
#[derive(Debug, Default)]
enum Section {
    /// The list of tests, or outside.
    #[default]
    Tests,
    /// What failed tests printed; the name of the current one.
    Details(String),
    /// The names of failed tests.
    Names,
}

/// The counts of a `test result:` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Reader {
    /// Takes the next line.
    pub fn line(&mut self, line: &str, report: &mut Report) {
        self.tail.push(line.to_owned());
        if self.tail.len() > TAIL_LINES {
            self.tail.remove(0);
        }
        if let Some(program) = program(line) {
            self.expect_result(report);
            self.program = Some(program.to_owned());
        } else if let Some(counts) = counts(line) {
            self.result(counts, report);
        } else if line == "failures:" {
            self.section = match self.section {
                Section::Tests => Section::Details(String::new()),
                Section::Details(_) | Section::Names => Section::Names,
            };
        } else {
            self.line_of_section(line);
        }
    }

    /// Ends the output of the step called `name`, whose command succeeded or not.
    pub fn finish(mut self, name: &str, succeeded: bool, report: &mut Report) {
        self.expect_result(report);
        if !succeeded && !self.has_reported_failure {
            report.fail(name, &self.tail.join("\n"));
        }
    }

    fn line_of_section(&mut self, line: &str) {
        match &mut self.section {
            Section::Tests => self.ignored.extend(ignored(line)),
            Section::Details(current) => {
                if let Some(name) = heading(line) {
                    *current = name.to_owned();
                } else {
                    let detail = self.details.entry(current.clone()).or_default();
                    detail.push_str(line);
                    detail.push('\n');
                }
            }
            Section::Names => self.failed.extend(line.strip_prefix("    ").map(str::to_owned)),
        }
    }

    fn result(&mut self, counts: Counts, report: &mut Report) {
        let program = self.program.take().unwrap_or_default();
        report.pass(counts.passed);
        for name in &self.failed {
            report.fail(name, self.details.get(name).map_or("", |detail| detail.trim()));
        }
        // The counts are right even where the lines were not understood.
        for _ in self.failed.len()..counts.failed as usize {
            report.fail(&program, "a test without a name");
        }
        for (name, reason) in &self.ignored {
            report.skip(name, reason);
        }
        for _ in self.ignored.len()..counts.ignored as usize {
            report.skip(&program, "a test without a name");
        }
        let has_reported_failure = self.has_reported_failure || counts.failed > 0;
        *self = Self { has_reported_failure, ..Self::default() };
    }

    /// A program that ends without a result has died, and its last lines say of what.
    fn expect_result(&mut self, report: &mut Report) {
        if let Some(program) = self.program.take() {
            report.fail(&program, &format!("died without a result:\n{}", self.tail.join("\n")));
            self.has_reported_failure = true;
        }
        self.section = Section::Tests;
    }
}

/// Reads Cargo's line about the program that it starts.
fn program(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("Running ").or_else(|| line.strip_prefix("Doc-tests "))
}

/// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; ...`.
fn counts(line: &str) -> Option<Counts> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = counts.split("; ").map(|count| count.split(' ').next()?.parse::<u32>().ok());
    Some(Counts { passed: numbers.next()??, failed: numbers.next()??, ignored: numbers.next()?? })
}

/// Reads `test NAME ... ignored, REASON` or, from libtest-mimic, `ignored (REASON)`.
fn ignored(line: &str) -> Option<(String, String)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = outcome.trim_start_matches([',', ' ']);
    let reason = reason.strip_prefix('(').and_then(|it| it.strip_suffix(')')).unwrap_or(reason);
    let reason = if reason.is_empty() { "no reason given" } else { reason };
    Some((name.trim().to_owned(), reason.to_owned()))
}

/// Reads `---- NAME stdout ----` or, from libtest-mimic, `---- NAME ----`.
fn heading(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(name.strip_suffix(" stdout").unwrap_or(name))
}

#[cfg(test)]
mod tests;
