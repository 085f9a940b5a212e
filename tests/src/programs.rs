// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file puts the EL0 programs of `tests/user` into initramfs archives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xtask::build::{self, USER_PACKAGE};
use xtask::error::Error;
use xtask::guest;
use xtask::initramfs::Initramfs;
use xtask::workspace::Metadata;

/// The program that runs others, as init.
const RUNNER: &str = "runner";

/// The machine of tests that ask for no other.
const MACHINE: &str = "test";

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

    /// Makes an initramfs whose init runs the programs called `tests`, found in `/tests`.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn with_runner(&self, tests: &[String]) -> Result<Vec<u8>, Error> {
        let read = |name: &str| {
            let path = self.path(name);
            std::fs::read(path).map_err(Error::file("read", path))
        };
        let mut tree = Initramfs::new();
        tree.program("init", &read(RUNNER)?);
        tree.dir("tests");
        for name in tests {
            tree.program(&format!("tests/{name}"), &read(name)?);
        }
        Ok(tree.finish())
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

/// Returns the names of the programs that are tests, by the machine that they want.
///
/// # Panics
///
/// When the workspace has no package of EL0 programs.
pub fn tests_by_machine(metadata: &Metadata) -> BTreeMap<String, Vec<String>> {
    let package = metadata.package(USER_PACKAGE).expect("a member of this workspace");
    let table = package.metadata.as_ref().and_then(|table| table.granule.as_ref());
    let is_tool = |name: &String| table.is_some_and(|table| table.tools.contains(name));
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for target in package.targets.iter().filter(|target| target.is_bin()) {
        if !is_tool(&target.name) {
            let machine = table.and_then(|table| table.machine.get(&target.name));
            let machine = machine.map_or(MACHINE, String::as_str);
            tests.entry(machine.to_owned()).or_default().push(target.name.clone());
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_no_tests_and_every_machine_exists() {
        let tests = tests_by_machine(&Metadata::read().expect("cargo metadata"));
        let all: Vec<&String> = tests.values().flatten().collect();
        assert!(all.iter().any(|name| *name == "argv_names_the_program"), "{all:?}");
        assert!(!all.iter().any(|name| *name == RUNNER), "{all:?}");
        for machine in tests.keys() {
            xtask::profile::Profile::load(machine).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
