// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs a verb of `cargo xtask` and keeps what it prints.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use libtest_mimic::Failed;
use xtask::build::Checks;
use xtask::workspace;

use crate::lab::Lab;

/// What a verb did.
#[derive(Clone, Debug)]
pub struct VerbRun {
    status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Lab {
    /// Runs `cargo xtask` with `words`, the machine that this lab was told to use, and `program`
    /// behind the dashes. The first word is a verb that boots guests.
    ///
    /// # Errors
    ///
    /// When Cargo cannot be started.
    pub fn xtask(&self, cpus: u32, words: &[&str], program: &[&str]) -> Result<VerbRun, Failed> {
        let (cpus, qemu) = (cpus.to_string(), self.choices().qemu.display().to_string());
        let checks = match self.choices().checks {
            Checks::Release => "--release",
            Checks::Checked => "--checked",
        };
        let words = [words, &["--smp", &cpus, "--qemu", &qemu, checks]].concat();
        Self::xtask_as_typed(&words, program)
    }

    /// Runs `cargo xtask` with `words`, and with `program` behind the dashes.
    ///
    /// # Errors
    ///
    /// When Cargo cannot be started.
    pub fn xtask_as_typed(words: &[&str], program: &[&str]) -> Result<VerbRun, Failed> {
        let mut command = workspace::cargo();
        command.arg("xtask").args(words);
        if !program.is_empty() {
            command.arg("--").args(program);
        }
        VerbRun::of(&mut command)
    }

    /// Runs what `cargo xtask` runs, which must have been built, where no program but those in
    /// `programs` is found.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn xtask_with_programs(words: &[&str], programs: &Path) -> Result<VerbRun, Failed> {
        // Harnesses are in a directory below it.
        let own = std::env::current_exe()?;
        let built = own.ancestors().nth(2).ok_or("no directory above the harness")?.join("xtask");
        VerbRun::of(Command::new(built).args(words).env("PATH", programs))
    }
}

impl VerbRun {
    fn of(command: &mut Command) -> Result<Self, Failed> {
        let output = command.stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok(Self { status: output.status, stdout, stderr })
    }

    /// Returns whether its exit status is 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Fails with all that was printed, unless `holds`.
    ///
    /// # Errors
    ///
    /// Unless `holds`.
    pub fn expect(&self, what: &str, holds: bool) -> Result<(), Failed> {
        let Self { status, stdout, stderr } = self;
        if holds {
            return Ok(());
        }
        Err(Failed::from(format!("expected {what}; {status}\n{stdout}\n{stderr}")))
    }
}
