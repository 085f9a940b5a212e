// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes the tables of the benchmark, in Markdown that reads well as it is.

use std::fmt::Write;

use super::result::{Comparison, Measured};
use super::rows::{Per, Row, SECTIONS, SIZES, Section};

/// What stands where there is no number.
const NONE: &str = "-";

/// A line of a table: numbers that go together, by their names in the reports.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// What was measured.
    pub title: String,
    /// The names.
    pub names: Vec<String>,
    /// The aim of each.
    pub aims: Option<Vec<u32>>,
}

/// Returns the lines of a section for which `granule` has numbers.
pub fn lines(section: &Section, granule: &Measured) -> Vec<Line> {
    let lines = section.rows.iter().flat_map(lines_of);
    let is_measured = |line: &Line| line.names.iter().any(|name| granule.values.contains_key(name));
    lines.filter(is_measured).collect()
}

fn lines_of(row: &Row) -> Vec<Line> {
    let sizes = |name: &str, tags: &str| -> Vec<String> {
        SIZES.iter().map(|size| format!("{name}/{size}{tags}")).collect()
    };
    let aims = |aims: Option<[u32; 3]>, nr: usize| aims.map(|aims| aims[..nr].to_vec());
    let title = row.title.to_owned();
    match row.per {
        Per::Once => {
            vec![Line { title, names: vec![row.name.to_owned()], aims: aims(row.aim, 1) }]
        }
        Per::Page => {
            let tagged = "same, PROT_MTE".to_owned();
            vec![
                Line { title, names: sizes(row.name, ""), aims: aims(row.aim, 3) },
                Line {
                    title: tagged,
                    names: sizes(row.name, "+mte"),
                    aims: aims(row.aim_tagged, 3),
                },
            ]
        }
        Per::Series(points) => {
            let line = |point: &&str| Line {
                title: format!("{title}, {point}"),
                names: sizes(&format!("{}@{point}", row.name), ""),
                aims: None,
            };
            points.iter().map(line).collect()
        }
        Per::Points(points) => {
            let names = points.iter().map(|point| format!("{}@{point}", row.name)).collect();
            vec![Line { title: format!("{title}: {}", points.join(" / ")), names, aims: None }]
        }
    }
}

/// Returns the tables of all sections that were measured.
pub fn tables(comparison: &Comparison) -> String {
    let mut text = String::new();
    for section in &SECTIONS {
        let lines = lines(section, &comparison.granule);
        if !lines.is_empty() {
            let _ = write!(text, "### {}\n\n{}\n", section.title, table(&lines, comparison));
        }
    }
    text
}

fn table(lines: &[Line], Comparison { granule, linux, .. }: &Comparison) -> String {
    let column = |title: &str, cell: &dyn Fn(&Line) -> String| -> Vec<String> {
        std::iter::once(title.to_owned()).chain(lines.iter().map(cell)).collect()
    };
    let values = |measured: &Measured, line: &Line| joined(line, |name| measured.value(name));
    let mut columns = vec![
        column("operation", &|line| line.title.clone()),
        column("Granule", &|line| values(granule, line)),
    ];
    if let Some(linux) = linux {
        columns.push(column(&linux.name(), &|line| values(linux, line)));
        columns.push(column("ratio", &|line| ratios(line, granule, linux)));
    }
    columns.push(column("aim", &|line| {
        line.aims.as_ref().map_or_else(String::new, |aims| {
            aims.iter().map(u32::to_string).collect::<Vec<_>>().join(" / ")
        })
    }));
    columns.push(column("TLBIs", &|line| {
        counted(line, |name| Some(granule.values.get(name)?.tlbis? as f64))
    }));
    columns.push(column("requests", &|line| {
        counted(line, |name| Some(granule.values.get(name)?.requests? as f64))
    }));
    columns.retain(|column| column[1..].iter().any(|cell| !cell.is_empty()));
    render(&columns)
}

/// Writes the numbers of a line, those that are missing as a dash.
fn joined(line: &Line, value: impl Fn(&str) -> Option<f64>) -> String {
    let text = |name: &String| value(name).map_or_else(|| NONE.to_owned(), number);
    line.names.iter().map(text).collect::<Vec<_>>().join(" / ")
}

/// Writes counts that go with a line, nothing where there are none but zeroes.
fn counted(line: &Line, value: impl Fn(&str) -> Option<f64>) -> String {
    let has_any = line.names.iter().any(|name| value(name).is_some_and(|value| value > 0.0));
    if has_any { joined(line, value) } else { String::new() }
}

/// Writes how many times as much Linux needs.
fn ratios(line: &Line, granule: &Measured, linux: &Measured) -> String {
    let ratio = |name: &String| match (linux.value(name), granule.value(name)) {
        // Where Linux is better, one digit would say nothing.
        (Some(linux), Some(granule)) if granule > linux => format!("{:.2}", linux / granule),
        (Some(linux), Some(granule)) if granule > 0.0 => format!("{:.1}", linux / granule),
        _ => NONE.to_owned(),
    };
    let ratios: Vec<_> = line.names.iter().map(ratio).collect();
    if ratios.iter().all(|ratio| ratio == NONE) { String::new() } else { ratios.join(" / ") }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Returns the lines where Granule takes more than it is to take.
pub fn over_aim(granule: &Measured) -> Vec<Line> {
    let is_over = |line: &Line| {
        let aims = line.aims.iter().flatten();
        aims.zip(&line.names).any(|(aim, name)| granule.value(name) > Some(f64::from(*aim)))
    };
    SECTIONS.iter().flat_map(|section| lines(section, granule)).filter(is_over).collect()
}

/// Writes a table of columns, the first cell of each being its heading.
fn render(columns: &[Vec<String>]) -> String {
    let width = |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = columns.iter().map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in 0..columns[0].len() {
        let cells = columns.iter().zip(&widths);
        let cells: Vec<_> =
            cells.map(|(column, width)| format!("{:<width$}", column[row])).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if row == 0 {
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "|-{}-|", rules.join("-|-"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(lines: &[&str]) -> Measured {
        let mut measured = Measured::default();
        lines.iter().for_each(|line| assert!(measured.take(line), "{line}"));
        measured
    }

    fn comparison() -> Comparison {
        let granule = measured(&[
            "bench: null_call 150",
            "bench: fault/4K 400 tlbis=2",
            "bench: fault/64K 100",
            "bench: flat@100 7",
        ]);
        let linux = measured(&[
            "bench: kernel=Linux version 7.2.13+deb14 x",
            "bench: null_call 1200",
            "bench: fault/4K 4000",
        ]);
        let [command, qemu, commit] = ["c", "10.0.2", "0"].map(String::from);
        Comparison { command, qemu, commit, granule, linux: Some(linux) }
    }

    #[test]
    fn both_columns_stand_side_by_side_with_their_ratio_and_the_aim() {
        let tables = tables(&comparison());
        let has = |row: &str| {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(tables.lines().any(|line| words(line) == row), "{row}\n{tables}");
        };
        has("| operation | Granule | Linux 7.2.13 | ratio | aim |");
        has("| null system call (getppid) | 150 | 1200 | 8.0 | 120 |");
        has(
            "| anonymous fault | 400 / 100 / - | 4000 / - / - | 10.0 / - / - | 500 / 60 / 20 | 2 / - / - |",
        );
        assert!(!tables.contains("mprotect"), "rows that were not measured");
    }

    #[test]
    fn what_takes_more_than_its_aim_is_listed() {
        let titles: Vec<_> =
            over_aim(&comparison().granule).into_iter().map(|line| line.title).collect();
        assert_eq!(titles, ["null system call (getppid)", "anonymous fault"]);
    }
}
