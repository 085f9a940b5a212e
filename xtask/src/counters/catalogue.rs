// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads from the kernel's source what is counted: each `base::events!` enum is the name
//! and the meaning of its counters at once.
//!
//! The source is read as rustfmt leaves it: a macro call at the start of a line, doc lines, and a
//! variant with its name in a line. Reading text keeps the kernel's crates out of xtask's build.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::workspace;

const CALL: &str = "base::events! {";

/// Where counters of Linux stand that never count here.
const ZEROES_FILE: &str = "kernel/task/src/fs/proc/system.rs";
const ZEROES: &str = "const NEVER_COUNTED";

/// All that is counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Catalogue {
    /// The enums, in the order of their files.
    pub sections: Vec<Section>,
    /// Names that /proc/vmstat has for those who look for them, always 0.
    pub zeroes: Vec<String>,
}

/// An enum of counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// The enum's name.
    pub name: String,
    /// Its doc lines, as one line.
    pub about: String,
    /// Its file, from the workspace's root.
    pub path: String,
    /// Its counters.
    pub entries: Vec<Entry>,
}

/// A counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name in /proc/vmstat and on the console.
    pub name: String,
    /// What it counts.
    pub meaning: String,
}

impl Catalogue {
    /// Reads the source of the kernel.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn read() -> Result<Self, Error> {
        let root = workspace::root();
        let mut files = Vec::new();
        collect_sources(&root.join("kernel"), &mut files)?;
        files.sort();
        let mut catalogue = Self::default();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(Error::file("read", &file))?;
            let path = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            catalogue.sections.extend(sections(&text, &path));
            if path == ZEROES_FILE {
                catalogue.zeroes = zeroes(&text);
            }
        }
        Ok(catalogue)
    }

    /// Returns the section and the entry of a counter. Counters of each size of folio are in sysfs,
    /// where names mean something else.
    pub fn find(&self, name: &str) -> Option<(&Section, &Entry)> {
        self.sections.iter().filter(|section| section.is_global()).find_map(|section| {
            section.entries.iter().find(|entry| entry.name == name).map(|entry| (section, entry))
        })
    }
}

impl Section {
    /// Returns whether its counters are in /proc/vmstat and on the console.
    pub fn is_global(&self) -> bool {
        self.name != "ThpStat"
    }

    /// Returns whether a counter of it may fall.
    pub fn has_gauges(&self) -> bool {
        self.name == "Gauge"
    }
}

fn collect_sources(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = std::fs::read_dir(dir).map_err(Error::file("read", dir))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect_sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns the enums of a file.
fn sections(text: &str, path: &str) -> Vec<Section> {
    let mut lines = text.lines();
    let mut sections = Vec::new();
    while lines.by_ref().any(|line| line == CALL) {
        sections.extend(section(lines.by_ref().take_while(|line| *line != "}"), path));
    }
    sections
}

/// Reads what stands between a macro call's braces.
fn section<'a>(lines: impl Iterator<Item = &'a str>, path: &str) -> Option<Section> {
    let mut section = None;
    let mut docs: Vec<&str> = Vec::new();
    for line in lines.map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim());
        } else if let Some((_, name)) = line.split_once("enum ") {
            let (name, about) = (name.trim_end_matches(['{', ' ']).to_owned(), docs.join(" "));
            section = Some(Section { name, about, path: path.to_owned(), entries: Vec::new() });
            docs.clear();
        } else if let Some((_, name)) = line.split_once(" = ") {
            let (name, meaning) = (name.trim_matches(['"', ',']).to_owned(), docs.join(" "));
            section.as_mut()?.entries.push(Entry { name, meaning });
            docs.clear();
        }
    }
    section
}

/// Returns the strings of the list of counters that never count.
fn zeroes(text: &str) -> Vec<String> {
    let list = text.lines().skip_while(|line| !line.starts_with(ZEROES)).skip(1);
    let items = list.take_while(|line| *line != "];");
    items.map(|line| line.trim().trim_matches(['"', ',']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "use x;\n\nbase::events! {\n    /// Events of disks,\n    /// all of them.\n    \
        pub enum BlockEvent {\n        /// Reads.\n        Read = \"blk_reads\",\n        \
        /// Writes,\n        /// too.\n        Write = \"blk_writes\",\n    }\n}\n\nfn f() {\n}\n";

    #[test]
    fn an_enum_is_read_with_its_docs() {
        let entry =
            |name: &str, meaning: &str| Entry { name: name.into(), meaning: meaning.into() };
        let expected = Section {
            name: String::from("BlockEvent"),
            about: String::from("Events of disks, all of them."),
            path: String::from("a.rs"),
            entries: vec![entry("blk_reads", "Reads."), entry("blk_writes", "Writes, too.")],
        };
        assert_eq!(sections(SOURCE, "a.rs"), [expected]);
        assert_eq!(sections("fn f() {}\n", "a.rs"), []);
    }

    #[test]
    fn names_that_never_count_are_those_of_the_list() {
        let text = "const NEVER_COUNTED: [&str; 2] = [\n    \"a\",\n    \"b\",\n];\n\"c\",\n";
        assert_eq!(zeroes(text), ["a", "b"]);
    }

    #[test]
    fn the_kernel_s_counters_are_found_and_all_have_a_meaning() {
        let catalogue = Catalogue::read().expect("the kernel's source");
        for name in ["pgfault", "nr_free_pages", "blk_reads", "oom_kill"] {
            assert!(catalogue.find(name).is_some(), "{name}");
        }
        let (section, _) = catalogue.find("nr_free_pages").expect("a gauge");
        assert!(section.has_gauges());
        assert!(catalogue.zeroes.iter().any(|name| name == "thp_file_alloc"));
        for entry in catalogue.sections.iter().flat_map(|section| &section.entries) {
            assert!(entry.meaning.ends_with(|c| ".)".contains(c)), "{entry:?}");
        }
    }
}
