// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says which rows are measured: those that the arguments name, by row or by section, or all.

/// The arguments.
#[derive(Clone, Debug)]
pub struct Choice(Vec<String>);

impl Choice {
    /// Reads the arguments.
    pub fn from_args() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Returns whether a row of a section is to be measured.
    pub fn has(&self, section: &str, row: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|word| word == section || word == row)
    }
}
