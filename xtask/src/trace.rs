// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs a program on a kernel that keeps events, and writes them in forms that viewers
//! know (`cargo xtask trace`).

pub mod chrome;
pub mod log;
pub mod pictures;
pub mod stacks;
pub mod svg;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::build::{Checks, Variant};
use crate::error::Error;
use crate::guest::Setup;
use crate::marked;
use crate::options::{Defaults, GuestOptions};
use crate::run;
use crate::watchdog::Ending;
use crate::workspace;
use log::{Log, MARKS};
use stacks::Stacks;

const DEFAULTS: Defaults = Defaults { machine: "demo", checks: Checks::Release, program: "demo" };

/// What can be chosen (kernel/hal/src/trace.rs).
const CATEGORIES: [&str; 10] =
    ["all", "fault", "swap", "tags", "tlb", "split", "reclaim", "lock", "block", "migrate"];

/// Runs a program and writes a trace of what the kernel did
///
/// Writes trace.json, which <https://ui.perfetto.dev> and chrome://tracing open, trace.folded for
/// flamegraph.pl, and two pictures for a quick look: timeline.svg and flame.svg. docs/TRACE.md says
/// what the events are. The guest's output goes to standard error.
#[derive(Args, Debug)]
pub struct Trace {
    #[command(flatten)]
    guest: GuestOptions,
    /// What is kept, with commas between
    #[arg(long, value_name = "CATEGORIES", value_delimiter = ',', default_value = "all",
          value_parser = CATEGORIES)]
    events: Vec<String>,
    /// Events kept for each CPU: the last ones
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    keep: u32,
    /// Directory for what is written [default: target/granule/trace]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Program to run as init, and its arguments [default: the demo]
    #[arg(last = true, value_name = "PROGRAM")]
    init: Vec<String>,
}

impl Trace {
    /// Runs the verb and returns QEMU's exit status.
    ///
    /// # Errors
    ///
    /// When the guest cannot be started, or ends without having written a trace.
    pub fn run(&self) -> Result<u8, Error> {
        let variant = if self.guest.is_lab() { Variant::LabTrace } else { Variant::Trace };
        let mut setup =
            self.guest.setup_variant(DEFAULTS, variant, run::needs(false), &self.init)?;
        let options =
            [format!("trace={}", self.events.join(",")), format!("trace.events={}", self.keep)];
        setup.kernel_args.extend(options);
        let (log, ending) = log_of(&setup)?;
        let dir = self.out.clone().unwrap_or_else(|| workspace::granule_dir().join("trace"));
        std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let stacks = Stacks::of(&log);
        write(&dir, "trace.json", &chrome::json(&log))?;
        write(&dir, "trace.folded", &stacks.folded())?;
        write(&dir, "timeline.svg", &pictures::timeline(&log))?;
        write(&dir, "flame.svg", &pictures::flame_graph(&stacks))?;
        println!("{} events of {} threads", log.events.len(), log.lanes.len());
        if log.nr_lost > 0 {
            println!("{} older events did not fit: --keep N keeps more", log.nr_lost);
        }
        Ok(ending.exit_code())
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = dir.join(name);
    std::fs::write(&path, text).map_err(Error::file("write", &path))?;
    println!("{}", path.display());
    Ok(())
}

/// Boots a guest and returns its last trace; the rest of its output goes to standard error.
fn log_of(setup: &Setup) -> Result<(Log, Ending), Error> {
    let (last, ending) = marked::last_block(setup, MARKS)?;
    match last {
        Some(lines) => Ok((Log::of_lines(&lines), ending)),
        None => Err(Error::NoTrace(ending.to_string())),
    }
}
