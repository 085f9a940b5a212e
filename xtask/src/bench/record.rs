// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps a run of the benchmark in the documentation: its numbers, its tables, its chart.

use std::path::PathBuf;

use super::chart;
use super::result::{Comparison, Measured};
use super::table;
use crate::error::Error;
use crate::workspace;

/// What stands around the part of the page that is written here.
const BEGIN: &str = "<!-- written by `cargo xtask bench --record`, from here -->\n";
const END: &str = "<!-- to here -->\n";

/// Where things are, from the root of the repository.
pub const PAGE: &str = "docs/PERFORMANCE.md";
const NUMBERS: &str = "docs/bench/numbers.json";
const CHART: &str = "docs/bench/chart.svg";

/// Writes a run to the documentation.
///
/// # Errors
///
/// When a file cannot be read or written, or the page has no place for it.
pub fn record(comparison: &Comparison) -> Result<(), Error> {
    let page = path(PAGE);
    let text = std::fs::read_to_string(&page).map_err(Error::file("read", &page))?;
    let text = replaced(&text, comparison).ok_or(Error::NoPlace(PAGE))?;
    let json = json(comparison);
    for (name, content) in [(PAGE, text), (NUMBERS, json), (CHART, chart::draw(comparison))] {
        let path = path(name);
        std::fs::write(&path, content).map_err(Error::file("write", &path))?;
    }
    Ok(())
}

/// Writes a run as JSON.
pub fn json(comparison: &Comparison) -> String {
    serde_json::to_string_pretty(comparison).expect("numbers and strings") + "\n"
}

/// Returns the page with another run in it.
fn replaced(page: &str, comparison: &Comparison) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", section(comparison)))
}

/// Returns what the page says about a run.
fn section(comparison: &Comparison) -> String {
    let Comparison { command, qemu, commit, granule, linux } = comparison;
    let release = |linux: &Measured| -> String {
        // Who built it, with what, is in the numbers.
        linux.kernel.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    };
    let linux = linux.as_ref().map_or_else(String::new, |linux| format!(", {}", release(linux)));
    format!(
        "Granule at {commit}, QEMU {qemu}{linux}. Unit: {}.\n\n    {command}\n\n{}",
        granule.unit,
        table::tables(comparison)
    )
}

fn path(name: &str) -> PathBuf {
    workspace::root().join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> String {
        std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[test]
    fn the_page_and_the_chart_are_made_of_the_numbers() {
        let numbers: Comparison = serde_json::from_str(&read(NUMBERS)).expect(NUMBERS);
        let page = read(PAGE);
        let again = replaced(&page, &numbers).expect("a place for the tables");
        assert_eq!(again, page, "`cargo xtask bench --from {NUMBERS} --record` writes it anew");
        assert_eq!(chart::draw(&numbers), read(CHART));
    }

    #[test]
    fn a_page_without_a_place_is_left_alone() {
        let numbers: Comparison = serde_json::from_str(&read(NUMBERS)).expect(NUMBERS);
        assert_eq!(replaced("# Title\n", &numbers), None);
        assert_eq!(replaced(&format!("{END}{BEGIN}"), &numbers), None);
    }
}
