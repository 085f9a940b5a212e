// SPDX-License-Identifier: MIT OR Apache-2.0
//! This harness compares instruction counts with those of the repository, `tests/gate.toml`.
//!
//! They are of the kernel that is measured, not of the one with assertions, and hold for one version of
//! QEMU; with another one the trials skip.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::harness;
use xtask::bench::gate::{self, Gate};
use xtask::bench::guests;
use xtask::bench::result::Measured;
use xtask::build::{self, Checks, KernelBuild, Variant};
use xtask::choices::Choices;
use xtask::error::Error;
use xtask::guest::{self, Setup};
use xtask::profile::Profile;
use xtask::qemu;
use xtask::watchdog::Limits;

const PREFIX: &str = "gate";

/// How long the guest may take in all: a second or two of its own, on a host with other work.
const TOTAL: Duration = Duration::from_secs(600);

/// The guest's report, or why there is none: made when the first trial runs.
struct Counted {
    gate: Gate,
    found: OnceLock<Result<Found, Arc<Error>>>,
}

enum Found {
    /// The QEMU is another one than the counts hold for.
    OtherQemu(String),
    Counts(Measured),
}

fn main() -> ExitCode {
    let gate = match Gate::load() {
        Ok(gate) => gate,
        Err(error) => return harness::fail(PREFIX, Failed::from(error)),
    };
    let counted = Arc::new(Counted { gate, found: OnceLock::new() });
    let trial = |name: &String| {
        let (counted, name) = (counted.clone(), name.clone());
        Trial::ignorable_test(format!("{PREFIX}::{name}"), move || counted.outcome(&name))
    };
    let mut trials: Vec<Trial> = counted.gate.counts.keys().map(trial).collect();
    let all = counted.clone();
    trials.push(Trial::ignorable_test(format!("{PREFIX}::has_all_rows"), move || all.has_all()));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

impl Counted {
    fn outcome(&self, name: &str) -> Result<Completion, Failed> {
        self.with_counts(|counts| self.gate.check(name, counts).map_err(Failed::from))
    }

    /// Every number of a gated row is in the file.
    fn has_all(&self) -> Result<Completion, Failed> {
        self.with_counts(|counts| {
            let mut gated = counts.values.keys().filter(|name| gate::is_gated(name));
            match gated.find(|name| !self.gate.counts.contains_key(*name)) {
                Some(name) => Err(Failed::from(format!("{name} {}", gate::Risen::Unknown))),
                None => Ok(()),
            }
        })
    }

    fn with_counts(
        &self,
        check: impl FnOnce(&Measured) -> Result<(), Failed>,
    ) -> Result<Completion, Failed> {
        let found = self.found.get_or_init(|| count(&self.gate.qemu).map_err(Arc::new));
        match found.as_ref().map_err(Arc::clone)? {
            Found::Counts(counts) => check(counts).map(|()| Completion::Completed),
            Found::OtherQemu(own) => Ok(Completion::ignored_with(format!(
                "the counts hold for QEMU {}, this is {own}",
                self.gate.qemu
            ))),
        }
    }
}

/// Boots the benchmark with the rows of the gate.
fn count(qemu: &str) -> Result<Found, Error> {
    let choices = Choices::from_env();
    let own = qemu::full_version(&choices.qemu)?;
    if own != qemu {
        return Ok(Found::OtherQemu(own));
    }
    let setup = guests::granule(&Setup {
        qemu: choices.qemu,
        machine: Profile::load("bench")?,
        kernel: build::kernel(KernelBuild { checks: Checks::Release, variant: Variant::Plain })?,
        initramfs: Some(guest::initramfs_of(build::user_program("bench")?)?),
        kernel_args: Vec::new(),
        init_args: gate::ROWS.map(str::to_owned).into(),
    });
    let limits = Limits { total: Some(TOTAL), ..Limits::default() };
    let mut counts = Measured::default();
    guests::measure("gate", &setup, &limits, &mut counts)?;
    Ok(Found::Counts(counts))
}
