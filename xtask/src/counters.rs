// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows what the kernel counted in a run (`cargo xtask counters`).

pub mod catalogue;
pub mod document;
pub mod format;
pub mod sample;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::build::Checks;
use crate::error::Error;
use crate::guest::Setup;
use crate::marked;
use crate::options::{Defaults, GuestOptions};
use crate::run;
use crate::watchdog::Ending;
use catalogue::Catalogue;
use format::Zeroes;
use sample::{MARKS, Sample};

const DEFAULTS: Defaults = Defaults { machine: "demo", checks: Checks::Release, program: "demo" };

/// Runs a program and shows what the kernel counted
///
/// The guest's output goes to standard error, the counters to standard output. Of several blocks of
/// counters (a program may ask for one by writing `m` to /proc/sysrq-trigger) the last one is
/// shown: that of the end.
#[derive(Args, Debug)]
pub struct Counters {
    #[command(flatten)]
    guest: GuestOptions,
    /// How the counters are shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show counters that are 0, too
    #[arg(long)]
    all: bool,
    /// Write `name value` lines to a file, too, for --diff
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Run nothing, compare two saved runs or serial logs
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["save", "init"])]
    diff: Option<Vec<PathBuf>>,
    /// Run nothing, write docs/COUNTERS.md anew
    #[arg(long, conflicts_with_all = ["save", "diff", "init"])]
    document: bool,
    /// Program to run as init, and its arguments [default: the demo]
    #[arg(last = true, value_name = "PROGRAM")]
    init: Vec<String>,
}

/// How counters are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// With what each one means
    Table,
    /// Text for Prometheus, version 0.0.4
    Prometheus,
    /// An object, names and values
    Json,
}

impl Counters {
    /// Runs the verb and returns QEMU's exit status.
    ///
    /// # Errors
    ///
    /// When the guest cannot be started, or ends without having printed its counters.
    pub fn run(&self) -> Result<u8, Error> {
        if self.document {
            document::write()?;
            println!("{}", document::PATH);
            return Ok(0);
        }
        let catalogue = Catalogue::read()?;
        if let Some([before, after]) = self.diff.as_deref() {
            let changes = Sample::read(before)?.changes(&Sample::read(after)?);
            match self.format {
                Format::Json => print!("{}", format::changes_json(&changes)),
                // Prometheus has no notion of two runs.
                Format::Table | Format::Prometheus => {
                    print!("{}", format::changes_table(&changes, &catalogue));
                }
            }
            return Ok(0);
        }
        let setup = self.guest.setup(DEFAULTS, run::needs(false), &self.init)?;
        let (sample, ending) = counters_of(&setup)?;
        if let Some(path) = &self.save {
            std::fs::write(path, sample.lines()).map_err(Error::file("write", path))?;
        }
        print!("{}", self.shown(&sample, &catalogue));
        Ok(ending.exit_code())
    }

    fn shown(&self, sample: &Sample, catalogue: &Catalogue) -> String {
        let zeroes = if self.all { Zeroes::Shown } else { Zeroes::Hidden };
        match self.format {
            Format::Table => format::table(sample, catalogue, zeroes),
            Format::Prometheus => format::prometheus(sample, catalogue),
            Format::Json => format::json(sample),
        }
    }
}

/// Boots a guest and returns what it counted; the rest of its output goes to standard error.
fn counters_of(setup: &Setup) -> Result<(Sample, Ending), Error> {
    let (last, ending) = marked::last_block(setup, MARKS)?;
    match last {
        Some(lines) => Ok((Sample::of_lines(&lines), ending)),
        None => Err(Error::NoCounters(format!("the guest's output ({ending})"))),
    }
}
