// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs the verbs of `cargo xtask` that look into a guest, as a user would.

use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::Lab;
use xtask::build::Variant;
use xtask::scratch::Scratch;

const PREFIX: &str = "verbs";

const SCENARIOS: [Scenario; 2] = [
    Scenario { name: "counters_are_shown_saved_and_compared", run: counters_are_shown },
    Scenario { name: "counters_of_a_missing_program_are_refused", run: counters_are_refused },
];

fn main() -> ExitCode {
    harness::run_scenarios(PREFIX, Lab::new(Variant::Plain), &SCENARIOS)
}

fn counters_are_shown(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let program = lab.programs()?.path("sysrq").display().to_string();
    let mut files = Scratch::new()?;
    let mut saved = Vec::new();
    for pages in [16, 40] {
        let file = files.file(&format!("counters-{pages}")).display().to_string();
        let words = ["counters", "--machine", "test", "--format", "json", "--save", &file];
        let run = lab.xtask(cpus, &words, &[&program, &pages.to_string()])?;
        run.expect("success", run.succeeded())?;
        let json: serde_json::Value = serde_json::from_str(&run.stdout)?;
        run.expect("each page counted twice", json["pswpout"] == 2 * pages)?;
        saved.push(file);
    }
    let diff = lab.xtask(cpus, &["counters", "--diff", &saved[0], &saved[1]], &[])?;
    let row = |line: &str| line.split_whitespace().take(4).eq(["32", "80", "+48", "pswpout"]);
    diff.expect("the difference", diff.succeeded() && diff.stdout.lines().any(row))
}

fn counters_are_refused(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let run = lab.xtask(cpus, &["counters"], &["/no/such/program"])?;
    run.expect("a failure", !run.succeeded())?;
    run.expect("the reason", run.stderr.contains("cannot read /no/such/program"))
}
