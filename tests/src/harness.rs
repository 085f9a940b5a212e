// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes `cargo test` trials of guest tests and scenarios.
//!
//! A trial's name ends in `@` and the number of CPUs it runs at, and in the machine's name where a
//! test runs on several.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::ktap::Verdict;
use crate::lab::{self, Lab, Transcript};
use crate::suite::{self, Verdicts};

/// Boots a guest that runs the tests named, in this order, and powers off.
type BootTests = dyn Fn(&[String]) -> lab::Result<Transcript> + Send + Sync;

/// Tests that run in the same guest.
pub struct Group {
    tests: Vec<String>,
    place: String,
    boot: Box<BootTests>,
}

impl Group {
    /// Makes a group of `tests` that run on `cpus` CPUs.
    pub fn new(
        tests: Vec<String>,
        cpus: u32,
        boot: impl Fn(&[String]) -> lab::Result<Transcript> + Send + Sync + 'static,
    ) -> Self {
        Self { tests, place: cpus.to_string(), boot: Box::new(boot) }
    }

    /// Names the machine in the names of the trials.
    #[must_use]
    pub fn on(self, machine: &str) -> Self {
        Self { place: format!("{},{machine}", self.place), ..self }
    }
}

/// A group whose guest boots when its first trial runs, with the tests that were asked for.
struct SharedBoot {
    group: Group,
    selected: OnceLock<Vec<String>>,
    verdicts: OnceLock<Verdicts>,
}

impl SharedBoot {
    fn outcome(&self, test: &str) -> Result<Completion, Failed> {
        let verdicts = self.verdicts.get_or_init(|| {
            let selected = self.selected.get().expect("the selection precedes the first trial");
            suite::run(selected, &self.group.boot)
        });
        match &verdicts[test] {
            Verdict::Pass => Ok(Completion::Completed),
            Verdict::Skip(reason) => Ok(Completion::ignored_with(reason)),
            Verdict::Fail(reason) => Err(Failed::from(reason)),
        }
    }
}

/// Runs the trials of all groups, called `prefix::test@cpus` or `prefix::test@cpus,machine`.
pub fn run_groups(prefix: &str, groups: Vec<Group>) -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for group in groups {
        let boot =
            Arc::new(SharedBoot { group, selected: OnceLock::new(), verdicts: OnceLock::new() });
        let mut selected = Vec::new();
        for test in &boot.group.tests {
            let name = format!("{prefix}::{test}@{}", boot.group.place);
            let (own_boot, own_test) = (boot.clone(), test.clone());
            let trial = Trial::ignorable_test(name, move || own_boot.outcome(&own_test));
            if !arguments.is_filtered_out(&trial) {
                selected.push(test.clone());
                trials.push(trial);
            }
        }
        boot.selected.set(selected).expect("set once");
    }
    // Neighbours wait for different boots, which then run side by side.
    trials.sort_by(|one, other| one.name().cmp(other.name()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that drives a machine of its own; an error says what was wrong.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Runs it on so many CPUs.
    pub run: fn(&Lab, u32) -> Result<(), Failed>,
}

/// Runs scenarios as trials called `prefix::name@cpus`.
pub fn run_scenarios(prefix: &str, lab: Lab, scenarios: &[Scenario]) -> ExitCode {
    let counts = lab.cpu_counts().to_vec();
    run_scenarios_at(&counts, prefix, lab, scenarios)
}

/// As [`run_scenarios`], where the numbers of CPUs are not for others to choose.
pub fn run_scenarios_at(
    counts: &[u32],
    prefix: &str,
    lab: Lab,
    scenarios: &[Scenario],
) -> ExitCode {
    let lab = Arc::new(lab);
    let mut trials = Vec::new();
    for scenario in scenarios {
        for &cpus in counts {
            let name = format!("{prefix}::{}@{cpus}", scenario.name);
            let (lab, run) = (lab.clone(), scenario.run);
            trials.push(Trial::test(name, move || run(&lab, cpus)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Reports that a harness could not even start, as the failure of a trial.
pub fn fail(prefix: &str, reason: Failed) -> ExitCode {
    let trial = Trial::test(format!("{prefix}::start"), move || Err(reason));
    let arguments = Arguments { filter: None, skip: Vec::new(), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}
