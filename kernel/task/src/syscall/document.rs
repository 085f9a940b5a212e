// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file compares docs/SYSCALLS.md with the table.

use std::collections::BTreeMap;
use std::string::String;

use abi::number;
use hal::sim::SimMachine;

use super::Table;

const DOCUMENT: &str = include_str!("../../../../docs/SYSCALLS.md");

/// Returns numbers and names of the rows `| number | call | ... |`.
fn listed() -> BTreeMap<usize, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.next()?.into()))
    };
    DOCUMENT.lines().filter_map(row).collect()
}

#[test]
fn the_document_lists_the_calls_that_are_there() {
    let table = Table::<SimMachine>::BY_NUMBER.iter().enumerate();
    let there: BTreeMap<usize, String> = table
        .filter(|(_, handler)| handler.is_some())
        .map(|(number, _)| (number, number::name(number).unwrap_or("?").into()))
        .collect();
    assert_eq!(listed(), there);
}
