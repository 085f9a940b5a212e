// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says which rows are measured: those that the arguments name, by row or by section, or all.

use crate::report::Kind;

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
        let is_row = |word: &String| word.split('/').next() == Some(row);
        self.0.is_empty() || self.0.iter().any(|word| word == section || is_row(word))
    }

    /// Returns whether a row that is measured is to be measured on one kind of memory: all of them,
    /// unless an argument names a row's, as `pageout/4K`.
    pub fn has_kind(&self, row: &str, kind: Kind) -> bool {
        let names: Vec<_> = self.0.iter().filter_map(|word| word.split_once('/')).collect();
        names.is_empty() || names.iter().any(|name| *name == (row, kind.name().as_str()))
    }
}
