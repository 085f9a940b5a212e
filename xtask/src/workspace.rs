// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows where the workspace is and asks Cargo about its packages.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::Error;

/// Returns the commit that the tree is at, or what is known of it: for what is written about a run.
pub fn commit() -> String {
    let mut command = Command::new("git");
    command.current_dir(root()).args(["describe", "--always", "--dirty"]);
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| String::from("unknown"))
}

/// Returns the root of the workspace.
pub fn root() -> PathBuf {
    // Cargo sets the variable for what it runs; a binary started by hand falls back on the place
    // where it was built. Both xtask and tests lie directly below the root.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Returns Cargo's target directory.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns the directory of what xtask writes: images, initramfs, swap areas.
pub fn granule_dir() -> PathBuf {
    target_dir().join("granule")
}

/// Returns a Cargo command that starts in the root of the workspace.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// What `cargo metadata` says of the workspace.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// The members of the workspace.
    pub packages: Vec<Package>,
    /// The `[workspace.metadata]` table.
    #[serde(rename = "metadata")]
    pub workspace: WorkspaceTable,
}

/// The `[workspace.metadata]` table.
#[derive(Debug, Deserialize)]
pub struct WorkspaceTable {
    /// The level of each crate of the kernel.
    pub layers: BTreeMap<String, u32>,
    /// The crates without unsafe code.
    pub safe: SafeTable,
}

/// The `[workspace.metadata.safe]` table.
#[derive(Debug, Deserialize)]
pub struct SafeTable {
    /// Their names.
    pub crates: Vec<String>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What it depends on, in every kind of build.
    pub dependencies: Vec<Dependency>,
    /// Its libraries, binaries and tests.
    pub targets: Vec<Target>,
    /// The `[package.metadata]` table.
    #[serde(default)]
    pub metadata: Option<PackageTable>,
}

/// A dependency of a package.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The package depended on.
    pub name: String,
}

/// A library, binary or test of a package.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its kinds: `lib`, `bin`, `test`.
    pub kind: Vec<String>,
    /// Its root source file.
    pub src_path: PathBuf,
}

impl Target {
    /// Returns whether this is a program.
    pub fn is_bin(&self) -> bool {
        self.kind.iter().any(|kind| kind == "bin")
    }
}

/// The `[package.metadata]` table.
#[derive(Debug, Default, Deserialize)]
pub struct PackageTable {
    /// Ours.
    pub granule: Option<GranuleTable>,
}

/// The `[package.metadata.granule]` table of `tests/user`.
#[derive(Debug, Default, Deserialize)]
pub struct GranuleTable {
    /// Programs that are not tests.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Machine profiles of the tests that need another one than `test`.
    #[serde(default)]
    pub machine: BTreeMap<String, String>,
}

impl Metadata {
    /// Asks Cargo.
    ///
    /// # Errors
    ///
    /// When Cargo cannot read the workspace, or its tables lack what the types above require.
    pub fn read() -> Result<Self, Error> {
        let mut command = cargo();
        command.args(["metadata", "--format-version=1", "--no-deps"]).stderr(Stdio::inherit());
        let output = command.output().map_err(Error::start("cargo"))?;
        if !output.status.success() {
            let command = String::from("cargo metadata");
            return Err(Error::Failed { command, status: output.status });
        }
        serde_json::from_slice(&output.stdout).map_err(|_| Error::Answer {
            command: String::from("cargo metadata"),
            expected: "workspace with the tables [workspace.metadata.layers] and .safe",
        })
    }

    /// Returns the member of this name.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_this_workspace_has_its_tables_and_members() {
        let metadata = Metadata::read().expect("cargo metadata");
        assert_eq!(metadata.workspace.layers["base"], 0);
        assert!(metadata.workspace.safe.crates.contains(&String::from("mm")));
        let user = metadata.package("user-tests").expect("the EL0 programs");
        assert!(user.targets.iter().any(|target| target.is_bin() && target.name == "runner"));
    }
}
