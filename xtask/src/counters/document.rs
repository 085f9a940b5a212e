// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes docs/COUNTERS.md from the catalogue, and tells when it is stale.

use std::fmt::Write;

use super::catalogue::{Catalogue, Section};
use crate::error::Error;
use crate::workspace;

/// The document, from the workspace's root.
pub const PATH: &str = "docs/COUNTERS.md";

const HEAD: &str = "\
# Counters

Written by `cargo xtask counters --document` from the enums named below; `cargo xtask check` fails
when it is stale.

Each CPU counts for itself, and a sum is exact when no CPU counts meanwhile. Names are Linux's where
Linux has the counter. They can be read

- by a program, in `/proc/vmstat`;
- on the console when the machine stops, when Ctrl-O and then `m` are typed there, and when a program
  writes `m` to `/proc/sysrq-trigger`: one `name value` to a line, between the lines
  `--- counters begin ---` and `--- counters end ---`;
- after a run, as a table, as Prometheus text or as JSON: `cargo xtask counters -- PROGRAM`. With
  `--save FILE` a run is kept, and `--diff FILE FILE` compares two;
- in gdb, with `mm-counters`.

A counter is declared by a variant of its crate's enum: the doc line is its meaning, the string its
name. Nothing else has to be changed but this file.
";

/// Returns the text of the document.
pub fn text(catalogue: &Catalogue) -> String {
    let mut text = String::from(HEAD);
    for section in &catalogue.sections {
        write_section(&mut text, section);
    }
    let _ = write!(text, "\n## Always 0\n\n`/proc/vmstat` has these for those who look for them: ");
    let names: Vec<String> = catalogue.zeroes.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(text, "{}.", names.join(", "));
    text
}

fn write_section(text: &mut String, section: &Section) {
    let Section { name, about, path, entries } = section;
    let _ = write!(text, "\n## {name}\n\n{about} Declared in `{path}`");
    let place = match section.is_global() {
        true => "",
        false => "; shown in\n`/sys/kernel/mm/transparent_hugepage/hugepages-SIZEkB/stats`",
    };
    let _ = write!(text, "{place}.\n\n| name | meaning |\n|---|---|\n");
    for entry in entries {
        let _ = writeln!(text, "| `{}` | {} |", entry.name, entry.meaning);
    }
}

/// Returns whether the document says what the source says.
///
/// # Errors
///
/// When the source cannot be read.
pub fn is_fresh() -> Result<bool, Error> {
    let written = std::fs::read_to_string(workspace::root().join(PATH)).unwrap_or_default();
    Ok(written == text(&Catalogue::read()?))
}

/// Writes the document.
///
/// # Errors
///
/// When the source cannot be read or the document not be written.
pub fn write() -> Result<(), Error> {
    let path = workspace::root().join(PATH);
    std::fs::write(&path, text(&Catalogue::read()?)).map_err(Error::file("write", &path))
}
