// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs the tests in the programs of `tests/user`, at EL0.
//!
//! Init is `runner`, which runs the tests that its archive names. A program whose tests need another
//! machine than `test` says so in `[package.metadata.granule.machine]` of its package.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Failed;
use tests::harness::{self, Group};
use tests::lab::{Boot, Lab, Result, Transcript};
use xtask::build::Variant;
use xtask::workspace::Metadata;

const PREFIX: &str = "el0";

fn main() -> ExitCode {
    match groups() {
        Ok(groups) => harness::run_groups(PREFIX, groups),
        Err(reason) => harness::fail(PREFIX, reason),
    }
}

fn groups() -> std::result::Result<Vec<Group>, Failed> {
    let lab = Arc::new(Lab::new(Variant::Plain));
    let mut groups = Vec::new();
    for (machine, names) in lab.programs()?.tests_by_machine(&Metadata::read()?)? {
        for &cpus in lab.cpu_counts() {
            let (lab, machine) = (lab.clone(), machine.clone());
            let boot = move |names: &[String]| boot(&lab, &machine, cpus, names);
            groups.push(Group::new(names.clone(), cpus, boot));
        }
    }
    Ok(groups)
}

fn boot(lab: &Lab, machine: &str, cpus: u32, names: &[String]) -> Result<Transcript> {
    let mut boot = Boot::on(machine)?;
    boot.machine.cpus = cpus;
    boot.initramfs = Some(lab.programs()?.with_runner(names)?);
    lab.boot(boot)
}
