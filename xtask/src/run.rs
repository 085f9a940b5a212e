// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file boots a guest and shows what it prints (`cargo xtask run`).

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;

use crate::build::Checks;
use crate::error::Error;
use crate::guest::{Guest, Setup};
use crate::lines::Piece;
use crate::need::Need;
use crate::options::{Defaults, GuestOptions};
use crate::scratch::Scratch;
use crate::setup;
use crate::terminal_picture;
use crate::watchdog::{Ending, Limits};

/// How long a guest may be silent.
const SILENCE_S: u64 = 60;

/// How long an unfinished line waits for its end before it is shown: long enough not to cut a line
/// in the middle of a burst, short enough to be taken for the prompt it is.
const PROMPT: Duration = Duration::from_millis(50);

const DEFAULTS: Defaults = Defaults { machine: "demo", checks: Checks::Release, program: "demo" };

/// Boots the demo, or a static arm64 Linux program as init
#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    guest: GuestOptions,
    /// Prepare everything and print the QEMU command instead of running it
    #[arg(long)]
    dry_run: bool,
    /// Seconds without output that count as a hang, 0 for none [default: 60; none for a program
    /// of yours at a terminal]
    #[arg(long, value_name = "S")]
    watchdog: Option<u64>,
    /// Draw the output as a picture of a terminal
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    svg: Option<PathBuf>,
    /// Program to run as init, and its arguments [default: the demo]
    #[arg(last = true, value_name = "PROGRAM")]
    init: Vec<String>,
}

impl Run {
    /// Runs the verb and returns QEMU's exit status.
    ///
    /// # Errors
    ///
    /// When the guest cannot be started.
    pub fn run(&self) -> Result<u8, Error> {
        let setup = self.guest.setup(DEFAULTS, needs(self.dry_run), &self.init)?;
        let limits = limits(self.watchdog, !self.init.is_empty());
        let mut lines = Vec::new();
        let status = boot_to(&setup, &limits, self.dry_run, &mut |piece| {
            lines.extend(self.svg.iter().flat_map(|_| lines_of(&piece)));
            show(piece);
        })?;
        if let Some(path) = &self.svg {
            let picture = terminal_picture::draw(&self.as_typed(), &lines);
            std::fs::write(path, picture).map_err(Error::file("write", path))?;
        }
        Ok(status)
    }

    /// Returns what was asked for, without the picture.
    fn as_typed(&self) -> String {
        let words = std::env::args().skip(1);
        let picture = self.svg.as_ref().map(|path| path.display().to_string());
        let words = words.filter(|word| word != "--svg" && Some(word) != picture.as_ref());
        std::iter::once(String::from("cargo xtask")).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Returns how long a guest may be silent: `watchdog` seconds if that was said, 0 for no end.
pub(crate) fn limits(watchdog: Option<u64>, is_own_program: bool) -> Limits {
    // A program of the user's may wait for its user.
    let waits_for_a_person = is_own_program && io::stdin().is_terminal();
    let default = if waits_for_a_person { 0 } else { SILENCE_S };
    let seconds = watchdog.unwrap_or(default);
    let silence = (seconds > 0).then(|| Duration::from_secs(seconds));
    Limits { silence, total: None, fragment: Some(PROMPT) }
}

/// Returns what a verb needs that boots a guest, or only prints how.
pub(crate) fn needs(dry_run: bool) -> &'static [Need] {
    const NEEDS: [Need; 3] = [setup::TARGETS[0], setup::TARGETS[1], Need::Qemu];
    if dry_run { &NEEDS[..2] } else { &NEEDS }
}

/// Boots a guest, or prints how, and returns QEMU's exit status. `sink` gets the output.
fn boot_to(
    setup: &Setup,
    limits: &Limits,
    dry_run: bool,
    sink: &mut dyn FnMut(Piece),
) -> Result<u8, Error> {
    let files = if dry_run { Scratch::kept()? } else { Scratch::new()? };
    let guest = Guest::prepare(setup, files, None)?;
    if dry_run {
        println!("{}", guest.command_line());
        return Ok(0);
    }
    let ending = guest.run(Stdio::inherit(), limits, sink)?;
    if let Ending::Hung(hang) = &ending {
        eprintln!("{hang}");
    }
    Ok(ending.exit_code())
}

fn lines_of(piece: &Piece) -> Vec<String> {
    let (Piece::Line(line) | Piece::Fragment(line)) = piece;
    String::from_utf8_lossy(line).lines().map(str::to_owned).collect()
}

/// Writes a piece of a guest's output to standard output at once.
pub(crate) fn show(piece: Piece) {
    let mut out = io::stdout().lock();
    let written = match piece {
        Piece::Line(line) => out.write_all(&line).and_then(|()| out.write_all(b"\n")),
        Piece::Fragment(text) => out.write_all(&text),
    };
    // Nobody reads any more: the guest goes on to its end, as its exit status is still of use.
    let _ = written.and_then(|()| out.flush());
}
