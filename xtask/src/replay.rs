// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file replays a recorded run (`cargo xtask replay`), under a debugger if wanted.

use std::process::Stdio;

use clap::Args;

use crate::error::Error;
use crate::gdb;
use crate::guest::{self, Guest, Setup};
use crate::need::{self, Need};
use crate::options::HostOptions;
use crate::record::DEFAULT_NAME;
use crate::recording::Recording;
use crate::run;
use crate::scratch::Scratch;
use crate::watchdog::Ending;

/// Repeats a run that `cargo xtask record` has recorded, instruction by instruction
///
/// Everything is the recording's own: QEMU, machine, kernel, program. What the guest writes is compared
/// with what it wrote then; a difference is an error that shows the first line that differs. With --gdb,
/// reverse-continue, reverse-step and reverse-stepi go backwards.
#[derive(Args, Debug)]
pub struct Replay {
    /// Name of the recording
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME)]
    name: String,
    /// Replay under gdb, stopped before the first instruction
    #[arg(long)]
    gdb: bool,
    /// gdb command to run, may be repeated; gdb ends after the last one
    #[arg(long, visible_alias = "command", value_name = "COMMAND", requires = "gdb")]
    ex: Vec<String>,
    /// Seconds without output that count as a hang, 0 for none [default: 60]
    #[arg(long, value_name = "S", conflicts_with = "gdb")]
    watchdog: Option<u64>,
    /// Print what would be installed, install nothing
    #[arg(long)]
    no_install: bool,
    /// Program and arguments that must be the recorded ones [default: whatever was recorded]
    #[arg(last = true, value_name = "PROGRAM")]
    init: Vec<String>,
}

impl Replay {
    /// Runs the verb and returns QEMU's exit status, or gdb's.
    ///
    /// # Errors
    ///
    /// When there is no such recording, it is of another program, or the replay differs from it.
    pub fn run(&self) -> Result<u8, Error> {
        let recording = Recording::named(&self.name)?;
        let (description, setup) = recording.load()?;
        if let Some(program) = self.init.first() {
            description.expect(&setup, &self.init, &guest::initramfs_of(program)?)?;
        }
        if self.gdb { self.debug(&recording, &setup) } else { self.compare(&recording, &setup) }
    }

    fn compare(&self, recording: &Recording, setup: &Setup) -> Result<u8, Error> {
        let mut files = Scratch::new()?;
        let log = files.file("serial.log");
        let tape = Some(recording.tape_to_replay(log.clone()));
        let guest = Guest::prepare_taped(setup, files, None, tape)?;
        let limits = run::limits(self.watchdog, false);
        let ending = guest.run(Stdio::null(), &limits, &mut run::show)?;
        if let Ending::Hung(hang) = &ending {
            eprintln!("{hang}");
        }
        let nr_lines = recording.compare(&log)?;
        eprintln!("replayed: {nr_lines} lines, each as recorded");
        Ok(ending.exit_code())
    }

    fn debug(&self, recording: &Recording, setup: &Setup) -> Result<u8, Error> {
        let options = HostOptions { qemu: setup.qemu.clone(), no_install: self.no_install };
        need::satisfy(&[Need::Gdb], &options.qemu, options.install())?;
        let mut files = Scratch::new()?;
        let tape = recording.tape_to_replay(files.file("serial.log"));
        let port = gdb::free_port().map_err(Error::start("a server on the loopback interface"))?;
        let guest = Guest::prepare_taped(setup, files, Some(port), Some(tape))?;
        gdb::session(&guest, setup, port, &self.ex, None)
    }
}
