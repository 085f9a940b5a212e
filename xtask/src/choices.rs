// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file carries what `cargo xtask test` was told to the test harnesses.
//!
//! It goes through environment variables, because the command line of a harness is that of every
//! Rust test. A harness that is started by a plain `cargo test` finds none and uses the defaults.

use std::path::PathBuf;
use std::process::Command;

use crate::build::Checks;
use crate::{newer_qemu, qemu};

const QEMU: &str = "GRANULE_QEMU";
const KERNEL: &str = "GRANULE_KERNEL";
const CPUS: &str = "GRANULE_CPUS";
const LONG: &str = "GRANULE_LONG";

/// What the tests run on and how long they may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choices {
    /// The QEMU program.
    pub qemu: PathBuf,
    /// How the kernel is compiled.
    pub checks: Checks,
    /// The numbers of CPUs that guest tests run at.
    pub cpu_counts: Vec<u32>,
    /// Whether property tests and scenarios take their time.
    pub is_long: bool,
}

impl Default for Choices {
    fn default() -> Self {
        let qemu = PathBuf::from(qemu::PROGRAM);
        Self { qemu, checks: Checks::Checked, cpu_counts: vec![1, 4], is_long: false }
    }
}

impl Choices {
    /// Reads them from the environment.
    ///
    /// # Panics
    ///
    /// When a variable has a value that [`Choices::apply`] never gives it: quietly testing
    /// something else would be worse.
    pub fn from_env() -> Self {
        let choices = Self::from_vars(|name| std::env::var(name).ok());
        // A harness that is run by hand takes the QEMU that `cargo xtask test` has fetched.
        match newer_qemu::fetched_before() {
            Some(qemu) if std::env::var_os(QEMU).is_none() => Self { qemu, ..choices },
            _ => choices,
        }
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let mut choices = Self::default();
        if let Some(qemu) = var(QEMU) {
            choices.qemu = PathBuf::from(qemu);
        }
        if let Some(kernel) = var(KERNEL) {
            choices.checks = match kernel.as_str() {
                "release" => Checks::Release,
                "checked" => Checks::Checked,
                other => panic!("{KERNEL}={other} is neither release nor checked"),
            };
        }
        if let Some(counts) = var(CPUS) {
            let parse = |count: &str| count.parse().unwrap_or_else(|_| panic!("{CPUS}={counts}"));
            choices.cpu_counts = counts.split(',').map(parse).collect();
        }
        choices.is_long = var(LONG).is_some();
        choices
    }

    /// Puts them into the environment of a command.
    pub fn apply(&self, command: &mut Command) {
        let kernel = match self.checks {
            Checks::Release => "release",
            Checks::Checked => "checked",
        };
        let counts: Vec<String> = self.cpu_counts.iter().map(u32::to_string).collect();
        command.env(QEMU, &self.qemu).env(KERNEL, kernel).env(CPUS, counts.join(","));
        if self.is_long {
            command.env(LONG, "1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(choices: &Choices) -> Choices {
        let mut command = Command::new("true");
        choices.apply(&mut command);
        Choices::from_vars(|name| {
            let found = command.get_envs().find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value?.to_str().map(str::to_owned))
        })
    }

    #[test]
    fn choices_survive_the_environment() {
        assert_eq!(round_trip(&Choices::default()), Choices::default());
        let choices = Choices {
            qemu: PathBuf::from("/opt/qemu"),
            checks: Checks::Release,
            cpu_counts: vec![2],
            is_long: true,
        };
        assert_eq!(round_trip(&choices), choices);
    }

    #[test]
    fn an_empty_environment_means_the_defaults() {
        assert_eq!(Choices::from_vars(|_| None), Choices::default());
    }

    #[test]
    #[should_panic(expected = "GRANULE_CPUS=1,x")]
    fn a_count_that_is_no_number_is_not_ignored() {
        Choices::from_vars(|name| (name == CPUS).then(|| String::from("1,x")));
    }
}
