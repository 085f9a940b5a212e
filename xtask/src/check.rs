// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file checks the rules of the workspace that no compiler checks (`cargo xtask check`).
//!
//! 1. Layers: a crate depends on crates of a lower level only (`[workspace.metadata.layers]`).
//! 2. The crates of `[workspace.metadata.safe]` say `#![forbid(unsafe_code)]`.
//! 3. Each path in the where-is table of docs/ARCHITECTURE.md exists.
//! 4. docs/COUNTERS.md says what the enums of counters say.
//! 5. Each file of tests is named in docs/TESTING.md.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::counters::document;
use crate::error::Error;
use crate::report::Report;
use crate::workspace::{self, Metadata, Package};

/// The document with the where-is table, below a heading with these words in it.
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
const WHERE_IS: &str = "where is";

/// The document that says what is tested where.
const TESTING: &str = "docs/TESTING.md";

const FORBID: &str = "#![forbid(unsafe_code)]";

/// A place where a rule is broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// A crate depends on one that is not below it.
    Upward {
        /// The crate.
        from: String,
        /// What it depends on.
        to: String,
    },
    /// A crate of the kernel has no level.
    NoLevel(String),
    /// The root of a safe crate does not forbid unsafe code.
    NotForbidden(PathBuf),
    /// There is no such crate in the workspace.
    NoCrate(String),
    /// The where-is table names a path that does not exist.
    NoPath(String),
    /// The document has no where-is table with paths in it.
    NoTable,
    /// No word of the document of the tests is the name of these.
    UnnamedTests(PathBuf),
    /// The document of the counters is not what their enums make of it.
    StaleCounters,
}

/// Checks the rules that no compiler checks
#[derive(Args, Debug)]
pub struct Check {}

impl Check {
    /// Runs the verb.
    ///
    /// # Errors
    ///
    /// When Cargo cannot read the workspace.
    pub fn run(&self) -> Result<u8, Error> {
        let mut report = Report::default();
        run(&mut report, |_| true)?;
        Ok(report.finish())
    }
}

/// Makes the checks whose names are `wanted`.
///
/// # Errors
///
/// When Cargo cannot read the workspace.
pub fn run(report: &mut Report, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    let metadata = Metadata::read()?;
    let architecture = std::fs::read_to_string(workspace::root().join(ARCHITECTURE)).ok();
    let mut check = |name: &str, find: &dyn Fn() -> Vec<Finding>| {
        if wanted(name) {
            let findings: Vec<String> = find().iter().map(Finding::to_string).collect();
            report.single(name, findings.is_empty(), &findings.join("\n"));
        }
    };
    check("check::layers", &|| layers(&metadata));
    check("check::forbid_unsafe", &|| forbid_unsafe(&metadata));
    let testing = std::fs::read_to_string(workspace::root().join(TESTING)).unwrap_or_default();
    check("check::tests_document", &|| unnamed_tests(&metadata, &testing));
    let is_fresh = document::is_fresh()?;
    check("check::counters_document", &|| {
        if is_fresh { Vec::new() } else { vec![Finding::StaleCounters] }
    });
    match architecture {
        Some(text) => check("check::where_is", &|| where_is(&text, &workspace::root())),
        None if wanted("check::where_is") => {
            report.skip("check::where_is", "docs/ARCHITECTURE.md is not written yet");
        }
        None => {}
    }
    Ok(())
}

fn layers(metadata: &Metadata) -> Vec<Finding> {
    let levels = &metadata.workspace.layers;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let Some(level) = levels.get(&package.name) else {
            if is_of_the_kernel(package) {
                findings.push(Finding::NoLevel(package.name.clone()));
            }
            continue;
        };
        // A crate may name itself for its own tests, to turn its features on there.
        let others = package.dependencies.iter().filter(|other| other.name != package.name);
        for dependency in others {
            let is_member = metadata.package(&dependency.name).is_some();
            if is_member && levels.get(&dependency.name).is_none_or(|below| below >= level) {
                let (from, to) = (package.name.clone(), dependency.name.clone());
                findings.push(Finding::Upward { from, to });
            }
        }
    }
    findings
}

fn is_of_the_kernel(package: &Package) -> bool {
    let kernel = workspace::root().join("kernel");
    package.targets.iter().any(|target| target.src_path.starts_with(&kernel))
}

fn forbid_unsafe(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in &metadata.workspace.safe.crates {
        let Some(package) = metadata.package(name) else {
            findings.push(Finding::NoCrate(name.clone()));
            continue;
        };
        let is_part = |kind: &String| kind == "lib" || kind == "bin";
        for target in package.targets.iter().filter(|target| target.kind.iter().any(is_part)) {
            let text = std::fs::read_to_string(&target.src_path).unwrap_or_default();
            if !text.lines().any(|line| line == FORBID) {
                findings.push(Finding::NotForbidden(target.src_path.clone()));
            }
        }
    }
    findings
}

/// Finds files of tests whose names, `.rs` left out, are no word of `document`.
fn unnamed_tests(metadata: &Metadata, document: &str) -> Vec<Finding> {
    let words = document.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let words: BTreeSet<&str> = words.collect();
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let tests = targets.filter(|target| target.kind.iter().any(|kind| kind == "test"));
    tests
        .filter(|target| !words.contains(target.name.as_str()))
        .map(|target| Finding::UnnamedTests(target.src_path.clone()))
        .collect()
}

fn where_is(document: &str, root: &Path) -> Vec<Finding> {
    let paths = paths_of_table(document);
    if paths.is_empty() {
        return vec![Finding::NoTable];
    }
    let missing = paths.into_iter().filter(|path| !root.join(path).exists());
    missing.map(|path| Finding::NoPath(path.to_owned())).collect()
}

/// Returns the words in back quotes that have a slash, of the table rows in the where-is section.
/// `<crate>/src/events.rs` and the like stand for many paths and are left out.
fn paths_of_table(document: &str) -> Vec<&str> {
    let mut is_inside = false;
    let mut paths = Vec::new();
    for line in document.lines() {
        if line.starts_with('#') {
            is_inside = line.to_lowercase().replace('-', " ").contains(WHERE_IS);
        } else if is_inside && line.starts_with('|') {
            let quoted = line.split('`').skip(1).step_by(2);
            paths.extend(quoted.filter(|word| word.contains('/') && !word.contains(['<', ' '])));
        }
    }
    paths
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upward { from, to } => write!(f, "{from} depends on {to}, which is not below it"),
            Self::NoLevel(name) => {
                write!(f, "{name} has no level in [workspace.metadata.layers]")
            }
            Self::NotForbidden(path) => write!(f, "{} lacks {FORBID}", path.display()),
            Self::NoCrate(name) => {
                write!(f, "[workspace.metadata.safe] names {name}, which is no member")
            }
            Self::NoPath(path) => write!(f, "{ARCHITECTURE} names {path}, which does not exist"),
            Self::UnnamedTests(path) => write!(f, "{TESTING} does not name {}", path.display()),
            Self::StaleCounters => {
                write!(f, "{} is stale: run `cargo xtask counters --document`", document::PATH)
            }
            Self::NoTable => write!(f, "{ARCHITECTURE} has no where-is table with paths"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, SafeTable, Target, WorkspaceTable};

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let src_path = workspace::root().join("kernel").join(name).join("src/lib.rs");
        let dependency = |name: &&str| Dependency { name: (*name).to_owned() };
        Package {
            name: name.to_owned(),
            dependencies: dependencies.iter().map(dependency).collect(),
            targets: vec![Target { name: name.to_owned(), kind: vec!["lib".into()], src_path }],
            metadata: None,
        }
    }

    fn metadata(packages: Vec<Package>) -> Metadata {
        let levels = [("base", 0), ("abi", 0), ("mm", 3), ("arch", 3)];
        let layers = levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
        let safe = SafeTable { crates: vec![String::from("base"), String::from("gone")] };
        Metadata { packages, workspace: WorkspaceTable { layers, safe } }
    }

    #[test]
    fn edges_to_the_same_level_upward_or_out_of_the_kernel_are_found() {
        let packages = vec![
            package("base", &["spin", "abi"]),
            package("abi", &[]),
            package("mm", &["base", "arch", "tests"]),
            package("arch", &["base", "abi"]),
            package("tests", &[]),
        ];
        let upward = |from: &str, to: &str| Finding::Upward { from: from.into(), to: to.into() };
        assert_eq!(
            layers(&metadata(packages)),
            [
                upward("base", "abi"),
                upward("mm", "arch"),
                upward("mm", "tests"),
                Finding::NoLevel(String::from("tests")),
            ]
        );
    }

    #[test]
    fn a_safe_crate_has_the_line_in_its_root() {
        let base = package("base", &[]);
        assert_eq!(forbid_unsafe(&metadata(vec![base])), [Finding::NoCrate(String::from("gone"))]);
        let mut other = package("base", &[]);
        other.targets[0].src_path = workspace::root().join("Cargo.toml");
        let path = other.targets[0].src_path.clone();
        assert_eq!(forbid_unsafe(&metadata(vec![other]))[0], Finding::NotForbidden(path));
    }

    #[test]
    fn a_file_of_tests_that_no_word_names_is_found() {
        let mut mm = package("mm", &[]);
        for name in ["swap", "swap_area", "folio"] {
            let src_path = PathBuf::from(name);
            mm.targets.push(Target { name: name.to_owned(), kind: vec!["test".into()], src_path });
        }
        let found =
            unnamed_tests(&metadata(vec![mm]), "`kernel/mm/tests/{swap_area,folio}.rs`, mm");
        assert_eq!(found, [Finding::UnnamedTests(PathBuf::from("swap"))]);
    }

    #[test]
    fn paths_are_those_of_the_where_is_table_alone() {
        let document = "# Map\n| a | `not/this` |\n## Where is what\n`nor/this`\n\
                        | where are frames? | `kernel/base/src/addr.rs`, see `PhysAddr` |\n\
                        | counters? | `<crate>/src/events.rs` and `docs/adr` |\n\
                        ## Next\n| x | `nor/that` |\n";
        assert_eq!(paths_of_table(document), ["kernel/base/src/addr.rs", "docs/adr"]);
    }

    #[test]
    fn a_path_that_does_not_exist_is_found() {
        let table = "# Where-is\n| q | `kernel/base/src/addr.rs` | \n| q | `kernel/no.rs` |\n";
        let found = where_is(table, &workspace::root());
        assert_eq!(found, [Finding::NoPath(String::from("kernel/no.rs"))]);
        assert_eq!(where_is("# Map\n", &workspace::root()), [Finding::NoTable]);
    }
}
