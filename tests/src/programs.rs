// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the tests in the EL0 programs of `tests/user`, and puts them into archives.
//!
//! A program with a section called [`SECTION`] has several tests, whose names are the lines of that
//! section; they are called `program::test`. Any other program is a test itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};
use xtask::build::{self, USER_PACKAGE};
use xtask::error::Error;
use xtask::guest;
use xtask::initramfs::Initramfs;
use xtask::workspace::Metadata;

/// The program that runs others, as init.
const RUNNER: &str = "runner";

/// The program that tests of exec run.
const COMPANION: &str = "echo";

/// The machine of tests that ask for no other.
const MACHINE: &str = "test";

/// The section with the names of a program's tests (`tests/user/src/trial.rs`).
const SECTION: &str = ".granule_tests";

/// The programs' files, by name.
#[derive(Clone, Debug)]
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds them all.
    ///
    /// # Errors
    ///
    /// When one does not build.
    pub fn build() -> Result<Self, Error> {
        build::user_programs(&[]).map(Self)
    }

    /// Makes an initramfs whose init is the program called `name`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn as_init(&self, name: &str) -> Result<Vec<u8>, Error> {
        guest::initramfs_of(self.path(name))
    }

    /// Makes an initramfs whose init runs `tests`, unless its arguments say otherwise.
    ///
    /// # Errors
    ///
    /// When a program cannot be read.
    pub fn with_runner(&self, tests: &[String]) -> Result<Vec<u8>, Error> {
        let mut tree = Initramfs::new();
        tree.program("init", &self.read(RUNNER)?);
        tree.dir("tests");
        tree.file("tests/plan", tests.join("\n").as_bytes());
        let mut programs: BTreeSet<&str> = tests.iter().map(|test| program_of(test)).collect();
        programs.insert(COMPANION);
        for name in programs {
            tree.program(&format!("tests/{name}"), &self.read(name)?);
        }
        Ok(tree.finish())
    }

    /// Returns the names of the tests, by the machine that they want.
    ///
    /// # Errors
    ///
    /// When a program cannot be read.
    ///
    /// # Panics
    ///
    /// When the workspace has no package of EL0 programs.
    pub fn tests_by_machine(
        &self,
        metadata: &Metadata,
    ) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let package = metadata.package(USER_PACKAGE).expect("a member of this workspace");
        let table = package.metadata.as_ref().and_then(|table| table.granule.as_ref());
        let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.0.keys() {
            if table.is_none_or(|table| !table.tools.contains(name)) {
                let machine = table.and_then(|table| table.machine.get(name));
                let machine = machine.map_or(MACHINE, String::as_str);
                tests.entry(machine.to_owned()).or_default().extend(self.tests_of(name)?);
            }
        }
        Ok(tests)
    }

    /// Returns the names of the tests in some programs, in this order.
    ///
    /// # Errors
    ///
    /// When a program cannot be read.
    pub fn tests_of_programs(&self, programs: &[&str]) -> Result<Vec<String>, Error> {
        let tests = programs.iter().map(|program| self.tests_of(program));
        Ok(tests.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Returns the names of the tests in a program.
    fn tests_of(&self, program: &str) -> Result<Vec<String>, Error> {
        let bytes = self.read(program)?;
        let names = object::File::parse(&*bytes)
            .ok()
            .and_then(|elf| elf.section_by_name(SECTION)?.data().ok())
            .map(|names| String::from_utf8_lossy(names));
        Ok(match names {
            Some(names) => names.lines().map(|name| format!("{program}::{name}")).collect(),
            None => vec![program.to_owned()],
        })
    }

    fn read(&self, program: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(program);
        std::fs::read(path).map_err(Error::file("read", path))
    }

    /// Returns the file of a program.
    ///
    /// # Panics
    ///
    /// When there is no such program: names come from the package itself.
    pub fn path(&self, name: &str) -> &Path {
        self.0.get(name).unwrap_or_else(|| panic!("no program {name} in tests/user"))
    }
}

/// Returns the name of the program that a test is in.
fn program_of(test: &str) -> &str {
    test.split_once("::").map_or(test, |(program, _)| program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_no_tests_and_every_machine_exists() {
        let programs = Programs::build().expect("the EL0 programs");
        let metadata = Metadata::read().expect("cargo metadata");
        let tests = programs.tests_by_machine(&metadata).expect("ELFs");
        let all: Vec<&String> = tests.values().flatten().collect();
        assert!(all.iter().any(|name| *name == "argv_names_the_program"), "{all:?}");
        assert!(all.iter().any(|name| *name == "tags::fork_copies_tags"), "{all:?}");
        assert!(!all.iter().any(|name| program_of(name) == RUNNER), "{all:?}");
        for machine in tests.keys() {
            xtask::profile::Profile::load(machine).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
