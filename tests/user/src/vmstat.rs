// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the counters of /proc/vmstat.

use std::collections::BTreeMap;

/// The counters at some moment. Empty where there is no /proc.
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads them.
    pub fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/vmstat").unwrap_or_default())
    }

    /// Takes them from the text of the file.
    pub fn parse(text: &str) -> Self {
        let counter = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(counter).collect())
    }

    /// Returns a counter, if this kernel has it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Returns by how much a counter has grown since `before`.
    pub fn since(&self, before: &Self, name: &str) -> Option<u64> {
        Some(self.get(name)?.wrapping_sub(before.get(name)?))
    }

    /// Returns by how much counters together have grown since `before`.
    pub fn sum_since(&self, before: &Self, names: &[&str]) -> Option<u64> {
        names.iter().map(|name| self.since(before, name)).sum()
    }
}
