// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness runs `cargo xtask bench`, and `run --svg`, as a user would.

use std::process::ExitCode;

use libtest_mimic::Failed;
use tests::harness::{self, Scenario};
use tests::lab::Lab;
use xtask::build::Variant;
use xtask::scratch::Scratch;

const PREFIX: &str = "bench";

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "rows_are_a_table_a_file_and_a_chart", run: bench_measures },
    Scenario { name: "an_unknown_row_is_refused", run: bench_refuses },
    Scenario { name: "linux_is_booted_on_the_same_machine", run: bench_prints_linux },
    Scenario { name: "a_run_is_drawn_as_a_terminal", run: run_is_drawn },
];

fn main() -> ExitCode {
    harness::run_scenarios(PREFIX, Lab::new(Variant::Plain), &SCENARIOS)
}

/// Two rows that take no time, and the files that are made of them.
fn bench_measures(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let mut files = Scratch::new()?;
    let json = files.file("bench.json").display().to_string();
    let svg = files.file("bench.svg").display().to_string();
    let words = ["bench", "--json", &json, "--svg", &svg, "null_call", "mremap"];
    let run = lab.xtask(cpus, &words, &[])?;
    run.expect("success", run.succeeded())?;
    run.expect("a table", run.stdout.contains("| null system call (getppid) |"))?;
    let numbers: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    let granule = &numbers["granule"];
    run.expect("instructions", granule["unit"] == "instructions")?;
    run.expect("a number", granule["values"]["mremap/2M"]["value"].is_number())?;
    let chart = std::fs::read_to_string(&svg)?;
    run.expect("a chart", chart.contains(">mremap to another address</text>"))?;
    // The same numbers again, without a guest.
    let again = lab.xtask(cpus, &["bench", "--from", &json], &[])?;
    again.expect("the same table", again.succeeded() && again.stdout == run.stdout)
}

fn bench_refuses(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let run = lab.xtask(cpus, &["bench", "no_such_row"], &[])?;
    run.expect("a failure", !run.succeeded())?;
    run.expect("the rows there are", run.stderr.contains("copy_on_write"))
}

/// Linux itself is not needed to see what it would be started with.
fn bench_prints_linux(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let linux = ["--linux-image", "Cargo.toml", "--linux-modules", "docs"];
    let words = [&["bench", "--peer", "linux", "--dry-run", "null_call"][..], &linux].concat();
    let run = lab.xtask(cpus, &words, &[])?;
    run.expect("success", run.succeeded())?;
    let lines: Vec<&str> = run.stdout.lines().collect();
    let [granule, linux] = lines[..] else { return run.expect("two commands", false) };
    let machine = |line: &str| line.split(" -kernel ").next().map(str::to_owned);
    run.expect("the same machine", machine(granule) == machine(linux))?;
    run.expect("another kernel", linux.contains("-kernel Cargo.toml "))?;
    run.expect("the same words", linux.contains("swap=vda") && linux.contains("-- null_call"))?;
    let missing = ["bench", "--peer", "linux", "--linux-image", "/no", "--linux-modules", "/no"];
    let run = lab.xtask(cpus, &missing, &[])?;
    run.expect("the path", !run.succeeded() && run.stderr.contains("cannot read /no"))
}

fn run_is_drawn(lab: &Lab, cpus: u32) -> Result<(), Failed> {
    let program = lab.programs()?.path("echo").display().to_string();
    let mut files = Scratch::new()?;
    let svg = files.file("run.svg").display().to_string();
    let run = lab.xtask(cpus, &["run", "--machine", "no-disk", "--svg", &svg], &[&program])?;
    run.expect("success", run.succeeded())?;
    let picture = std::fs::read_to_string(&svg)?;
    run.expect("the command", picture.contains(">$ cargo xtask run --machine no-disk"))?;
    run.expect("its last line", picture.contains("power off, status 0"))
}
