// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs the tests that are built into the kernel (`kernel/src/ktest/`).
//!
//! The kernel itself lists them: booted with `ktest=list` it prints their names and powers off.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Failed;
use tests::harness::{self, Group};
use tests::lab::{Boot, Lab, Result, Transcript};
use xtask::build::Variant;

const PREFIX: &str = "ktest";
const MACHINE: &str = "test";

/// The tests that count instructions, which only a machine with virtual time can do.
const COUNTING: &str = "cost::";

/// The tests of disks, which run on both transports.
const DISK: &str = "disk::";
const PCI_MACHINE: &str = "pci-disk";

/// The value of the option that lists.
const LIST: &str = "list";

fn main() -> ExitCode {
    match groups() {
        Ok(groups) => harness::run_groups(PREFIX, groups),
        Err(reason) => harness::fail(PREFIX, reason),
    }
}

fn groups() -> std::result::Result<Vec<Group>, Failed> {
    let lab = Arc::new(Lab::new(Variant::Tests));
    let (counting, others): (Vec<String>, Vec<String>) =
        list(&lab)?.into_iter().partition(|name| name.starts_with(COUNTING));
    let disk: Vec<String> = others.iter().filter(|name| name.starts_with(DISK)).cloned().collect();
    let mut groups = Vec::new();
    for &cpus in lab.cpu_counts() {
        let group = |tests: &[String], machine: &'static str, is_deterministic| {
            let lab = lab.clone();
            Group::new(tests.to_vec(), cpus, move |names| {
                boot(&lab, machine, cpus, is_deterministic, &names.join(","))
            })
        };
        groups.push(group(&counting, MACHINE, true));
        groups.push(group(&others, MACHINE, false));
        groups.push(group(&disk, PCI_MACHINE, false).on(PCI_MACHINE));
    }
    Ok(groups)
}

fn boot(
    lab: &Lab,
    machine: &str,
    cpus: u32,
    is_deterministic: bool,
    filter: &str,
) -> Result<Transcript> {
    let mut boot = Boot::on(machine)?;
    boot.machine.cpus = cpus;
    boot.machine.deterministic = is_deterministic;
    boot.kernel_args = vec![format!("ktest={filter}")];
    lab.boot(boot)
}

fn list(lab: &Lab) -> std::result::Result<Vec<String>, Failed> {
    let transcript = boot(lab, MACHINE, 1, false, LIST)?;
    let names: Vec<String> =
        transcript.lines.iter().filter(|line| is_name(line)).cloned().collect();
    let is_clean = transcript.status() == Some(0) && transcript.panic().is_none();
    if names.is_empty() || !is_clean {
        return Err(transcript.complaint("the names of all in-guest tests"));
    }
    Ok(names)
}

/// A name is `file::subject_condition_outcome`, which no line of the kernel's log looks like.
fn is_name(line: &str) -> bool {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    line.contains("::") && line.chars().all(is_of_a_name)
}
