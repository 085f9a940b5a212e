// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs many guest tests in few boots, and says what became of each.
//!
//! 1. A boot is asked for a list of tests and runs them in this order.
//! 2. Tests that it reports have their verdict.
//! 3. When it dies (panic, hang, exit in the middle), the first test without a verdict is the one
//!    that ran, and has failed.
//! 4. The tests behind it get another boot, up to [`MAX_BOOTS`]; those left over then fail as not
//!    run.

use std::collections::BTreeMap;

use crate::ktap::{Reader, TestResult, Verdict};
use crate::lab::{Result, Transcript};

/// Each further boot costs at most a hang's time and settles at least one test.
pub const MAX_BOOTS: usize = 5;

/// How many lines of a guest's output a failure shows.
const SHOWN_LINES: usize = 60;

/// What became of each test, by name.
pub type Verdicts = BTreeMap<String, Verdict>;

/// Runs `tests` in as many boots as it takes. `boot` boots a guest for a list of tests.
pub fn run(tests: &[String], mut boot: impl FnMut(&[String]) -> Result<Transcript>) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let mut rest = tests.to_vec();
    for _ in 0..MAX_BOOTS {
        if rest.is_empty() {
            break;
        }
        match boot(&rest) {
            Ok(transcript) => settle(&mut verdicts, &mut rest, &transcript),
            Err(error) => {
                fail_all(&mut verdicts, &rest, &error.to_string());
                return verdicts;
            }
        }
    }
    if let Some(first) = rest.first() {
        let last = tests.iter().take_while(|test| *test != first).last();
        let last = last.map_or("its start", String::as_str);
        let reason = format!("not run: guest died after {last}, and in {MAX_BOOTS} boots in all");
        fail_all(&mut verdicts, &rest, &reason);
    }
    verdicts
}

/// Takes the verdicts of one boot, and removes from `rest` what it settled.
fn settle(verdicts: &mut Verdicts, rest: &mut Vec<String>, transcript: &Transcript) {
    let mut reader = Reader::default();
    transcript.lines.iter().for_each(|line| reader.line(line));
    let (results, after) = reader.finish();
    let mut last = None;
    for result in results {
        // A filter of the guest may match more than was asked for.
        if let Some(position) = rest.iter().position(|test| *test == result.name) {
            last = Some(rest.remove(position));
            verdicts.insert(result.name.clone(), with_diagnostics(result));
        }
    }
    if !rest.is_empty() {
        let reason = format!("guest died: {}", transcript.last_words());
        verdicts.insert(rest.remove(0), Verdict::Fail(with_lines(reason, &after)));
    } else if let Some(last) = last
        && let Some(trouble) = trouble_at_end(verdicts, transcript)
    {
        verdicts.insert(last, Verdict::Fail(with_lines(trouble, &after)));
    }
}

/// Says what is wrong with the end of a guest that reported all its tests.
fn trouble_at_end(verdicts: &Verdicts, transcript: &Transcript) -> Option<String> {
    let has_failures = verdicts.values().any(|verdict| matches!(verdict, Verdict::Fail(_)));
    let is_clean = match transcript.status() {
        _ if transcript.panic().is_some() => false,
        Some(0) => true,
        // A status that says that tests failed.
        Some(_) => has_failures,
        None => false,
    };
    (!is_clean).then(|| format!("reported, but then: {}", transcript.last_words()))
}

fn fail_all(verdicts: &mut Verdicts, tests: &[String], reason: &str) {
    for test in tests {
        verdicts.insert(test.clone(), Verdict::Fail(reason.to_owned()));
    }
}

/// Adds what a failed test printed to its verdict.
fn with_diagnostics(result: TestResult) -> Verdict {
    match result.verdict {
        Verdict::Fail(comment) => Verdict::Fail(with_lines(comment, &result.diagnostics)),
        verdict => verdict,
    }
}

fn with_lines(first: String, lines: &[String]) -> String {
    let skipped = lines.len().saturating_sub(SHOWN_LINES);
    let mut text = first;
    for line in &lines[skipped..] {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests;
