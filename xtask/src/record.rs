// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file records a run (`cargo xtask record`).

use std::process::Stdio;

use clap::Args;

use crate::build::Checks;
use crate::error::Error;
use crate::guest::Guest;
use crate::options::{Defaults, GuestOptions};
use crate::profile::Transport;
use crate::recording::Recording;
use crate::run;
use crate::scratch::Scratch;
use crate::watchdog::Ending;

const DEFAULTS: Defaults = Defaults { machine: "demo", checks: Checks::Checked, program: "demo" };

/// What a recording is called that was given no name.
pub const DEFAULT_NAME: &str = "last";

/// Records a run on one CPU, for `cargo xtask replay`
///
/// What is recorded is what the guest cannot compute: serial input, and the moment at which each
/// disk request was done. The recording lies in target/granule/recordings and replaces an earlier one of its
/// name. A run that hangs, or that Ctrl-C ends, can be replayed too.
#[derive(Args, Debug)]
pub struct Record {
    #[command(flatten)]
    guest: GuestOptions,
    /// Name of the recording
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME)]
    name: String,
    /// Seconds without output that count as a hang, 0 for none [default: 60; none for a program
    /// of yours at a terminal]
    #[arg(long, value_name = "S")]
    watchdog: Option<u64>,
    /// Program to run as init, and its arguments [default: the demo]
    #[arg(last = true, value_name = "PROGRAM")]
    init: Vec<String>,
}

impl Record {
    /// Runs the verb and returns QEMU's exit status.
    ///
    /// # Errors
    ///
    /// When the guest cannot be started, or has several CPUs.
    pub fn run(&self) -> Result<u8, Error> {
        let recording = Recording::named(&self.name)?;
        let mut setup = self.guest.setup_for_debugger(DEFAULTS, run::needs(false), &self.init)?;
        setup.machine.deterministic = true;
        // With --deterministic the disks are others; the recorder wants them as they always are.
        for disk in setup.machine.disks.iter_mut().filter(|it| it.transport == Transport::Host) {
            disk.transport = Transport::Mmio;
        }
        // QEMU hands on the end of a request only when a timer is due.
        setup.kernel_args.push(String::from("nohz=off"));
        let program = self.init.first().map_or(DEFAULTS.program, String::as_str);
        let setup = recording.start(&setup, program)?;
        let tape = Some(recording.tape_to_record());
        let guest = Guest::prepare_taped(&setup, Scratch::new()?, None, tape)?;
        let limits = run::limits(self.watchdog, !self.init.is_empty());
        let ending = guest.run(Stdio::inherit(), &limits, &mut run::show)?;
        if let Ending::Hung(hang) = &ending {
            eprintln!("{hang}");
        }
        let name = if self.name == DEFAULT_NAME { "" } else { &format!(" --name {}", self.name) };
        eprintln!(
            "recorded: `cargo xtask replay{name}` repeats this run, --gdb goes backwards in it"
        );
        Ok(ending.exit_code())
    }
}
