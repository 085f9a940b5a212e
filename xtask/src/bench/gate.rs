// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps instruction counts in the repository, and says when one has risen.
//!
//! `tests/gate.toml` has them, with the QEMU that they hold for. A change that makes something dearer
//! changes the file too (`cargo xtask bench --update-gate`), for a reviewer to see.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Deserialize;

use super::result::Measured;
use crate::error::Error;
use crate::workspace;

/// By how much a count may rise: layout and alignment of code move it a little.
const TOLERANCE: f64 = 0.02;

/// The rows that are gated: those that repeat to the instruction, because no disk is waited for.
pub const ROWS: [&str; 13] = [
    "null_call",
    "thread_create_join",
    "thread_switch",
    "futex_round_trip",
    "signal_to_self",
    "tag_fault_handled",
    "fault",
    "fork_exit",
    "copy_on_write",
    "mprotect",
    "mremap",
    "munmap",
    "pageout_zeroes",
];

/// The counts of the repository.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The version of QEMU that they were counted with.
    pub qemu: String,
    /// The counts, by their names in the guest's report.
    pub counts: BTreeMap<String, f64>,
}

/// Why a count does not pass.
#[derive(Clone, PartialEq, Debug)]
pub enum Risen {
    /// It is more than it was.
    Count {
        /// What it is.
        found: f64,
        /// What it was.
        kept: f64,
    },
    /// It was not measured.
    Missing,
    /// It is not in the file.
    Unknown,
}

impl Gate {
    /// Reads the repository's.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or says something else.
    pub fn load() -> Result<Self, Error> {
        let path = path();
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        toml::from_str(&text).map_err(|source| Error::Profile { path, source: Box::new(source) })
    }

    /// Makes one of what was measured.
    pub fn of(qemu: &str, measured: &Measured) -> Self {
        let counts = measured.values.iter().filter(|(name, _)| is_gated(name));
        let counts = counts.map(|(name, value)| (name.clone(), value.value)).collect();
        Self { qemu: qemu.to_owned(), counts }
    }

    /// Writes it to the repository.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), Error> {
        let path = path();
        std::fs::write(&path, self.text()).map_err(Error::file("write", &path))
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "# SPDX-License-Identifier: MIT OR Apache-2.0\n\
             # Instructions that `cargo xtask test` holds the kernel to: none may rise by more than 2 %.\n\
             # Written by `cargo xtask bench --update-gate`; what the names mean is in\n\
             # xtask/src/bench/rows.rs.\n\n",
        );
        let _ = writeln!(text, "qemu = \"{}\"\n\n[counts]", self.qemu);
        for (name, count) in &self.counts {
            let _ = writeln!(text, "\"{name}\" = {count}");
        }
        text
    }

    /// Compares one count with what was measured.
    ///
    /// # Errors
    ///
    /// When it has risen, or is not known on one side.
    pub fn check(&self, name: &str, measured: &Measured) -> Result<(), Risen> {
        let kept = *self.counts.get(name).ok_or(Risen::Unknown)?;
        let found = measured.value(name).ok_or(Risen::Missing)?;
        // Of a count below 50, one more instruction is no rise either.
        let most = kept + (kept * TOLERANCE).max(1.0);
        if found > most { Err(Risen::Count { found, kept }) } else { Ok(()) }
    }
}

impl std::fmt::Display for Risen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const ADVICE: &str = "if it must be, `cargo xtask bench --update-gate` in the same change";
        match self {
            Self::Count { found, kept } => {
                let percent = (found / kept - 1.0) * 100.0;
                write!(f, "{found} instructions, {percent:.1} % more than {kept}: {ADVICE}")
            }
            Self::Missing => write!(f, "was not measured: {ADVICE}"),
            Self::Unknown => write!(f, "is not in tests/gate.toml: {ADVICE}"),
        }
    }
}

/// Returns whether a number of the report belongs to a gated row.
pub fn is_gated(name: &str) -> bool {
    let row = name.split(['/', '@']).next();
    ROWS.iter().any(|gated| Some(*gated) == row)
}

fn path() -> PathBuf {
    workspace::root().join("tests/gate.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(lines: &[&str]) -> Measured {
        let mut measured = Measured::default();
        lines.iter().for_each(|line| assert!(measured.take(line), "{line}"));
        measured
    }

    #[test]
    fn a_rise_of_more_than_two_percent_does_not_pass() {
        let gate = Gate::of("10.0.2", &measured(&["bench: fault/4K 800", "bench: mprotect/2M 0"]));
        let check = |name: &str, line: &str| gate.check(name, &measured(&[line]));
        assert_eq!(check("fault/4K", "bench: fault/4K 816"), Ok(()));
        assert_eq!(check("fault/4K", "bench: fault/4K 300"), Ok(()));
        let risen = Risen::Count { found: 817.0, kept: 800.0 };
        assert_eq!(check("fault/4K", "bench: fault/4K 817"), Err(risen));
        assert_eq!(check("mprotect/2M", "bench: mprotect/2M 1"), Ok(()));
        assert!(check("mprotect/2M", "bench: mprotect/2M 2").is_err());
        assert_eq!(check("fault/4K", "bench: fault/2M 1"), Err(Risen::Missing));
        assert_eq!(check("fault/2M", "bench: fault/2M 1"), Err(Risen::Unknown));
    }

    #[test]
    fn what_is_written_reads_back() {
        let lines = ["bench: fault/64K+mte 107", "bench: null_call 147", "bench: pageout/4K 9"];
        let gate = Gate::of("10.0.2", &measured(&lines));
        assert_eq!(gate.counts.len(), 2, "pageout waits for a disk");
        assert_eq!(toml::from_str::<Gate>(&gate.text()).expect("a gate"), gate);
    }
}
