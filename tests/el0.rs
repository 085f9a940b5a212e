// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs the programs of `tests/user`, each a test, at EL0.
//!
//! Init is `runner`, which runs the programs named on its command line. A program that needs
//! another machine than `test` says so in `[package.metadata.granule.machine]` of its package.

use std::process::ExitCode;
use std::sync::Arc;

use tests::harness::{self, Group};
use tests::lab::{Boot, Lab, Result, Transcript};
use tests::programs;
use xtask::workspace::Metadata;

const PREFIX: &str = "el0";

fn main() -> ExitCode {
    match Metadata::read() {
        Ok(metadata) => harness::run_groups(PREFIX, groups(&metadata)),
        Err(error) => harness::fail(PREFIX, error.into()),
    }
}

fn groups(metadata: &Metadata) -> Vec<Group> {
    let lab = Arc::new(Lab::new(false));
    let mut groups = Vec::new();
    for (machine, names) in programs::tests_by_machine(metadata) {
        for &cpus in lab.cpu_counts() {
            let (lab, machine) = (lab.clone(), machine.clone());
            let boot = move |names: &[String]| boot(&lab, &machine, cpus, names);
            groups.push(Group::new(names.clone(), cpus, boot));
        }
    }
    groups
}

fn boot(lab: &Lab, machine: &str, cpus: u32, names: &[String]) -> Result<Transcript> {
    let mut boot = Boot::on(machine)?;
    boot.machine.cpus = cpus;
    boot.initramfs = Some(lab.programs()?.with_runner(names)?);
    boot.init_args = names.to_vec();
    lab.boot(boot)
}
