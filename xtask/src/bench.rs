// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file boots the benchmark, which counts instructions (`cargo xtask bench`).

use std::time::Duration;

use clap::Args;

use crate::build::Checks;
use crate::error::Error;
use crate::options::{Defaults, GuestOptions};
use crate::run;
use crate::watchdog::Limits;

/// The slowest row takes a while before its line is printed.
const SILENCE: Duration = Duration::from_secs(300);

const DEFAULTS: Defaults = Defaults { machine: "bench", checks: Checks::Release, program: "bench" };

/// Boots the benchmark: instructions per operation, exact
#[derive(Args, Debug)]
pub struct Bench {
    #[command(flatten)]
    guest: GuestOptions,
    /// Prepare everything and print the QEMU command instead of running it
    #[arg(long)]
    dry_run: bool,
}

impl Bench {
    /// Runs the verb and returns QEMU's exit status.
    ///
    /// # Errors
    ///
    /// When the guest cannot be started.
    pub fn run(&self) -> Result<u8, Error> {
        let setup = self.guest.setup(DEFAULTS, run::needs(self.dry_run), &[])?;
        let limits = Limits { silence: Some(SILENCE), ..Limits::default() };
        run::boot(&setup, &limits, self.dry_run)
    }
}
