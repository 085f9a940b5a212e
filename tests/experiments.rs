// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness repeats the experiments of docs/experiments/ on a lab kernel: what they count is the
//! same every time.

use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::{Boot, Lab};
use xtask::build::Variant;

const SCENARIOS: [Scenario; 1] =
    [Scenario { name: "s000_refault_costs_what_was_told", run: refault_costs_what_was_told }];

/// Boot options, faults, lookups and copies of tags a folio: 000-mte-large-folios.md.
const REFAULTS: [(&str, [u32; 3]); 4] = [
    ("lab.restore=Folio lab.map=one lab.keep=on lab.fault=TagsRestoredAgain", [16, 256, 256]),
    ("lab.restore=Folio lab.map=one lab.keep=on", [16, 256, 0]),
    ("lab.restore=Page lab.map=one", [16, 16, 16]),
    ("lab.keep=on", [1, 0, 0]),
];

fn main() -> ExitCode {
    harness::run_scenarios("lab", Lab::new(Variant::Lab), &SCENARIOS)
}

fn refault_costs_what_was_told(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    for (options, [faults, lookups, copies]) in REFAULTS {
        let mut boot = Boot::on("test")?;
        boot.machine.cpus = cpus;
        boot.initramfs = Some(lab.programs()?.as_init("refault")?);
        boot.kernel_args = options.split(' ').map(str::to_owned).collect();
        let transcript = lab.boot(boot)?;
        let told = format!("refault: {faults} faults, {lookups} lookups, {copies} copies, ");
        let is_told = transcript.lines.iter().any(|line| line.starts_with(&told));
        transcript.expect(&format!("{told:?} with {options}"), is_told)?;
    }
    Ok(())
}
