// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs every check and every test, and counts them (`cargo xtask test`).
//!
//! 1. The rules that no compiler checks (`check.rs`), rustfmt, clippy for host, kernel and EL0.
//! 2. The tests of the host crates.
//! 3. The interleaving, property and mutation tests of `mm` once more, compiled for the model checker.
//! 4. The QEMU harnesses of `tests/`.
//!
//! A step that fails does not stop the ones after it.

use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::build::{self, Checks, KERNEL_TARGET, USER_PACKAGE, USER_TARGET};
use crate::check;
use crate::choices::Choices;
use crate::error::Error;
use crate::libtest;
use crate::lines::Piece;
use crate::need::{self, Need};
use crate::options::{BuildOptions, HostOptions};
use crate::report::Report;
use crate::setup;
use crate::watchdog::{self, Limits};
use crate::workspace;

/// The step that runs tests under the model checker.
const SCHEDULES: &str = "schedules";

/// The test files of `mm` that mean something under it. Unit tests use locks outside a schedule.
const SCHEDULED: &str = "--test schedules --test reclaim_races --test s000_refault \
                         --test s000_schedules --test s002_swapoff --test s002_races --test s004_migrate_races \
                         --test s004_exclusive_races --test s004_tlb_races --test s004_schedules \
                         --test entry_races --test s002_at_once --test read_ahead --test low_heap --test property \
                         --test property_large \
                         --test mutation --test thp_zero_page_races --test signals \
                         --test processes --test out_of_memory";

/// Runs every check and every test
#[derive(Args, Debug)]
pub struct Test {
    /// Run only the tests and checks with this in their names
    filter: Option<String>,
    /// Let property tests and scenarios take their time
    #[arg(long)]
    long: bool,
    /// Numbers of CPUs that guest tests run at
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4",
          value_parser = clap::value_parser!(u32).range(1..=8))]
    smp: Vec<u32>,
    #[command(flatten)]
    build: BuildOptions,
    #[command(flatten)]
    host: HostOptions,
}

impl Test {
    /// Runs the verb. Its last line of output is `N passed, N failed, N skipped`.
    ///
    /// # Errors
    ///
    /// None: whatever goes wrong is a failure that is counted.
    pub fn run(&self) -> Result<u8, Error> {
        let mut report = Report::default();
        let needs = [&setup::TARGETS[..], &setup::LINTS, &[Need::Qemu, Need::Gdb]].concat();
        match need::satisfy(&needs, &self.host.qemu, self.host.install()) {
            Ok(qemu) => self.steps(&qemu, &mut report),
            Err(error) => report.fail("setup", &error.to_string()),
        }
        Ok(report.finish())
    }

    fn steps(&self, qemu: &Path, report: &mut Report) {
        if let Err(error) = check::run(report, |name| self.wants(name)) {
            report.fail("check", &error.to_string());
        }
        for (name, command) in lints() {
            if self.wants(name) {
                single(report, name, command);
            }
        }
        let harness = self.filter.as_deref().and_then(harness_of);
        if harness.is_none() {
            tests(report, "host", self.filtered(host_tests(), qemu));
            tests(report, SCHEDULES, self.filtered(schedules(), qemu));
        }
        tests(report, "guest", self.filtered(guest_tests(harness), qemu));
    }

    fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }

    fn filtered(&self, mut command: Command, qemu: &Path) -> Command {
        command.args(&self.filter);
        let choices = Choices {
            qemu: qemu.to_owned(),
            checks: self.build.checks(Checks::Checked),
            cpu_counts: self.smp.clone(),
            is_long: self.long,
        };
        choices.apply(&mut command);
        command
    }
}

fn cargo(words: &str) -> Command {
    let mut command = workspace::cargo();
    command.args(words.split_whitespace());
    command
}

fn lints() -> Vec<(&'static str, Command)> {
    let kernel = format!("clippy -p kernel --target {KERNEL_TARGET}");
    vec![
        ("style::rustfmt", cargo("fmt --all --check -- --color never")),
        (
            "lint::host",
            cargo(&format!(
                "clippy --workspace --exclude {USER_PACKAGE} --all-targets -- -D warnings"
            )),
        ),
        ("lint::kernel", cargo(&format!("{kernel} -- -D warnings"))),
        ("lint::ktest", cargo(&format!("{kernel} --features ktest -- -D warnings"))),
        ("lint::lab", cargo(&format!("{kernel} --features lab -- -D warnings"))),
        ("lint::trace", cargo(&format!("{kernel} --features trace -- -D warnings"))),
        (
            "lint::user",
            cargo(&format!("clippy -p {USER_PACKAGE} --target {USER_TARGET} -- -D warnings")),
        ),
    ]
}

fn host_tests() -> Command {
    cargo(&format!("test --workspace --exclude {USER_PACKAGE} --exclude tests --no-fail-fast"))
}

/// Shuttle replaces the locks of `base::sync`, so these tests are a build of their own.
fn schedules() -> Command {
    let mut command = cargo(&format!("test -p mm -p task -p drivers {SCHEDULED} --no-fail-fast"));
    command.env("RUSTFLAGS", "--cfg shuttle");
    command.env("CARGO_TARGET_DIR", workspace::target_dir().join("shuttle"));
    command
}

/// Returns the guest harness that all tests with this in their names belong to: nothing else has to
/// be built then.
fn harness_of(filter: &str) -> Option<&'static str> {
    let harnesses = [
        ("ktest::", "kernel"),
        ("el0::", "el0"),
        ("machine::", "machine"),
        ("disks::", "disks"),
        ("lab::", "experiments"),
        ("replay::", "replay"),
        ("verbs::", "verbs"),
        ("bench::", "bench"),
        ("gate::", "gate"),
        ("tlb_costs::", "tlb_costs"),
        ("gdb::", "gdb"),
    ];
    let found = harnesses.into_iter().find(|(prefix, _)| filter.starts_with(prefix));
    found.map(|(_, harness)| harness)
}

fn guest_tests(harness: Option<&str>) -> Command {
    let mut command = cargo("test -p tests --no-fail-fast");
    if let Some(harness) = harness {
        command.args(["--test", harness]);
    }
    command
}

/// Runs a command that is one check.
fn single(report: &mut Report, name: &str, command: Command) {
    let mut output = String::new();
    let ending = follow(command, &mut |line| {
        println!("{line}");
        output.push_str(line);
        output.push('\n');
    });
    match ending {
        Ok(succeeded) => report.single(name, succeeded, &output),
        Err(error) => report.fail(name, &error.to_string()),
    }
}

/// Runs a `cargo test`.
fn tests(report: &mut Report, name: &str, command: Command) {
    let mut reader = libtest::Reader::default();
    let ending = follow(command, &mut |line| {
        println!("{line}");
        reader.line(line, report);
    });
    match ending {
        Ok(succeeded) => reader.finish(name, succeeded, report),
        Err(error) => report.fail(name, &error.to_string()),
    }
}

/// Runs a command, hands its output on and returns whether it succeeded.
fn follow(command: Command, sink: &mut dyn FnMut(&str)) -> Result<bool, Error> {
    println!("+ {}", build::display(&command));
    let ending = watchdog::watch(command, &Limits::default(), &mut |piece| {
        let (Piece::Line(line) | Piece::Fragment(line)) = piece;
        sink(&String::from_utf8_lossy(&line));
    })?;
    Ok(ending.exit_code() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        build::display(command)
    }

    #[test]
    fn every_member_is_linted_and_tested_by_some_step() {
        let commands: Vec<String> = lints()
            .iter()
            .map(|(_, command)| words(command))
            .chain([words(&host_tests())])
            .collect();
        for excluded in ["kernel", USER_PACKAGE] {
            assert!(commands.iter().any(|line| line.contains(&format!("-p {excluded} "))));
        }
        assert!(words(&guest_tests(None)).contains("-p tests"));
        assert!(
            commands
                .iter()
                .filter(|line| line.contains("clippy"))
                .all(|line| { line.ends_with("-- -D warnings") })
        );
    }

    #[test]
    fn the_filter_reaches_the_tests_and_selects_the_checks() {
        use clap::Parser;

        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            test: Test,
        }

        let test = Line::parse_from(["test", "lint::", "--smp", "2"]).test;
        assert!(test.wants("lint::host") && !test.wants("style::rustfmt"));
        let command = test.filtered(guest_tests(None), Path::new("qemu"));
        assert_eq!(words(&command), "cargo test -p tests --no-fail-fast lint::");
        assert!(command.get_envs().any(|env| env == ("GRANULE_CPUS".as_ref(), Some("2".as_ref()))));
    }

    #[test]
    fn the_name_of_a_guest_test_selects_its_harness() {
        assert_eq!(harness_of("el0::tags::fork_copies_tags@1"), Some("el0"));
        assert_eq!(harness_of("ktest::"), Some("kernel"));
        assert_eq!(harness_of("mte"), None);
        let command = guest_tests(harness_of("machine::"));
        assert_eq!(words(&command), "cargo test -p tests --no-fail-fast --test machine");
    }

    #[test]
    fn a_step_that_fails_is_counted_and_one_that_passes_too() {
        let mut report = Report::default();
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        single(&mut report, "good", sh("exit 0"));
        single(&mut report, "bad", sh("echo why; exit 1"));
        tests(&mut report, "worse", sh("echo error: no; exit 101"));
        tests(&mut report, "absent", Command::new("/no/such/cargo"));
        let summary = report.summary();
        assert!(summary.contains("    bad: why\n"), "{summary}");
        assert!(summary.contains("    worse: error: no\n"), "{summary}");
        assert!(summary.ends_with("\n1 passed, 3 failed, 0 skipped"), "{summary}");
    }
}
