// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps recorded runs below `target/granule/recordings`: all that a replay needs.
//!
//! | file | |
//! |---|---|
//! | `recording.json` | machine, QEMU, options and program, as a [`Description`] |
//! | `Image`, `kernel.elf`, `initramfs.cpio` | what was booted |
//! | `events` | what the guest did not compute itself, written by QEMU |
//! | `serial.log` | what the guest wrote, byte for byte |
//!
//! The disks are not among them: they start as the machine's profile says, each time.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::build::Kernel;
use crate::error::Error;
use crate::guest::Setup;
use crate::profile::Profile;
use crate::qemu::{self, Tape, TapeMode, Version};
use crate::workspace;

const DESCRIPTION: &str = "recording.json";
const INITRAMFS: &str = "initramfs.cpio";

/// What was recorded.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
pub struct Description {
    qemu: PathBuf,
    qemu_version: String,
    machine: Profile,
    kernel_args: Vec<String>,
    program: String,
    init_args: Vec<String>,
}

/// A directory with a recorded run.
#[derive(Clone, Debug)]
pub struct Recording {
    dir: PathBuf,
    name: String,
}

/// Why a run cannot be recorded or replayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordingError {
    /// A name that is no plain file name.
    Name(String),
    /// More CPUs than QEMU can record.
    Cpus(u32),
    /// Nothing was recorded under this name.
    None(String),
    /// A replay was asked of a program that is not the recorded one.
    OtherProgram {
        /// Program and arguments that were recorded.
        recorded: String,
        /// Program and arguments that were asked for.
        asked: String,
    },
    /// The program is not what it was when it was recorded.
    ChangedProgram(String),
    /// The QEMU that recorded the run was replaced by another version.
    OtherQemu {
        /// Its version then.
        recorded: String,
        /// Its version now.
        found: Version,
    },
    /// The replay wrote something else.
    Differs(Difference),
}

/// The first line in which two serial logs differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    line: usize,
    recorded: Option<String>,
    replayed: Option<String>,
}

impl Recording {
    /// Names a recording, which need not be there.
    ///
    /// # Errors
    ///
    /// When the name is no plain file name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(RecordingError::Name(name.to_owned()).into());
        }
        let dir = workspace::granule_dir().join("recordings").join(name);
        Ok(Self { dir, name: name.to_owned() })
    }

    /// Starts anew with what `setup` boots, and returns the setup that boots the recording's own
    /// copies. `program` is init as it was typed.
    ///
    /// # Errors
    ///
    /// When the machine has several CPUs, or a file cannot be written.
    pub fn start(&self, setup: &Setup, program: &str) -> Result<Setup, Error> {
        if setup.machine.cpus != 1 {
            return Err(RecordingError::Cpus(setup.machine.cpus).into());
        }
        // An earlier recording is gone before the new one is there: half of each would be neither.
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir).map_err(Error::file("remove", &self.dir))?;
        }
        std::fs::create_dir_all(&self.dir).map_err(Error::file("create", &self.dir))?;
        let kernel = self.kernel();
        copy(&setup.kernel.elf, &kernel.elf)?;
        copy(&setup.kernel.image, &kernel.image)?;
        self.write(INITRAMFS, setup.initramfs.as_deref().unwrap_or_default())?;
        let description = Description {
            qemu: setup.qemu.clone(),
            qemu_version: qemu::version(&setup.qemu)?.to_string(),
            machine: setup.machine.clone(),
            kernel_args: setup.kernel_args.clone(),
            program: program.to_owned(),
            init_args: setup.init_args.clone(),
        };
        let text = serde_json::to_string_pretty(&description).map_err(|_| Error::Answer {
            command: String::from("cargo xtask record"),
            expected: "description of the machine",
        })?;
        self.write(DESCRIPTION, text.as_bytes())?;
        Ok(Setup { kernel, ..setup.clone() })
    }

    /// Reads what was recorded, ready to be booted again.
    ///
    /// # Errors
    ///
    /// When there is no recording of this name, or its QEMU is another one now.
    pub fn load(&self) -> Result<(Description, Setup), Error> {
        let path = self.dir.join(DESCRIPTION);
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Err(RecordingError::None(self.name.clone()).into());
        };
        let description: Description = serde_json::from_str(&text)
            .map_err(|source| Error::file("understand", &path)(source.into()))?;
        let found = qemu::version(&description.qemu)?;
        if found.to_string() != description.qemu_version {
            let recorded = description.qemu_version;
            return Err(RecordingError::OtherQemu { recorded, found }.into());
        }
        let initramfs = self.dir.join(INITRAMFS);
        let initramfs = std::fs::read(&initramfs).map_err(Error::file("read", &initramfs))?;
        let setup = Setup {
            qemu: description.qemu.clone(),
            machine: description.machine.clone(),
            kernel: self.kernel(),
            initramfs: Some(initramfs),
            kernel_args: description.kernel_args.clone(),
            init_args: description.init_args.clone(),
        };
        Ok((description, setup))
    }

    /// Returns the tape that the run is recorded on.
    pub fn tape_to_record(&self) -> Tape {
        Tape { mode: TapeMode::Record, events: self.events(), serial_log: self.serial_log() }
    }

    /// Returns the tape of a replay that writes its own serial log.
    pub fn tape_to_replay(&self, serial_log: PathBuf) -> Tape {
        Tape { mode: TapeMode::Replay(None), events: self.events(), serial_log }
    }

    /// Compares a replay's serial log with the recorded one and returns its number of lines.
    ///
    /// # Errors
    ///
    /// When they differ, or one cannot be read.
    pub fn compare(&self, replayed: &Path) -> Result<usize, Error> {
        let read = |path: &Path| std::fs::read(path).map_err(Error::file("read", path));
        let recorded = read(&self.serial_log())?;
        match first_difference(&recorded, &read(replayed)?) {
            Some(difference) => Err(RecordingError::Differs(difference).into()),
            None => Ok(lines(&recorded).count()),
        }
    }

    fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    fn serial_log(&self) -> PathBuf {
        self.dir.join("serial.log")
    }

    fn kernel(&self) -> Kernel {
        Kernel { elf: self.dir.join("kernel.elf"), image: self.dir.join("Image") }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(name);
        std::fs::write(&path, bytes).map_err(Error::file("write", &path))
    }
}

impl Description {
    /// Checks that a program, its arguments and the initramfs made of it are the recorded ones.
    ///
    /// # Errors
    ///
    /// When they are not.
    pub fn expect(
        &self,
        recorded: &Setup,
        asked: &[String],
        initramfs: &[u8],
    ) -> Result<(), Error> {
        let own = std::iter::once(&self.program).chain(&self.init_args);
        let own = own.cloned().collect::<Vec<_>>().join(" ");
        let is_same = recorded.initramfs.as_deref() == Some(initramfs);
        let (program, args) = asked.split_first().expect("a program was named");
        if *args != self.init_args || (!is_same && *program != self.program) {
            let asked = asked.join(" ");
            return Err(RecordingError::OtherProgram { recorded: own, asked }.into());
        }
        if is_same { Ok(()) } else { Err(RecordingError::ChangedProgram(own).into()) }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::copy(from, to).map(drop).map_err(Error::file("copy", from))
}

fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.split_inclusive(|byte| *byte == b'\n')
}

fn first_difference(recorded: &[u8], replayed: &[u8]) -> Option<Difference> {
    let (mut recorded, mut replayed) = (lines(recorded), lines(replayed));
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    (1..).find_map(|line| match (recorded.next(), replayed.next()) {
        (None, None) => Some(None),
        (one, other) if one == other => None,
        (one, other) => {
            let (recorded, replayed) = (one.map(text), other.map(text));
            Some(Some(Difference { line, recorded, replayed }))
        }
    })?
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "{name:?} names no recording: letters, digits, - and _ do")
            }
            Self::Cpus(cpus) => write!(
                f,
                "QEMU records one CPU, and this machine has {cpus}: add --smp 1, or use \
                 `cargo xtask run --deterministic`, which repeats with several"
            ),
            Self::None(name) => {
                write!(f, "no recording {name:?}: make one with `cargo xtask record --name {name}`")
            }
            Self::OtherProgram { recorded, asked } => write!(
                f,
                "the recording is of `{recorded}` and not of `{asked}`: without a program, replay \
                 takes the recorded one; `cargo xtask record -- {asked}` makes another recording"
            ),
            Self::ChangedProgram(program) => write!(
                f,
                "`{program}` has changed since it was recorded: without a program, replay takes \
                 the recorded one"
            ),
            Self::OtherQemu { recorded, found } => {
                write!(f, "QEMU {recorded} has made the recording, and is {found} now: record anew")
            }
            Self::Differs(difference) => difference.fmt(f),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |line: &Option<String>| match line {
            Some(line) => format!("{line:?}"),
            None => String::from("nothing, the log has ended"),
        };
        write!(
            f,
            "the replay differs from the recording at line {} of the serial log\n    recorded: {}\n    \
             replayed: {}",
            self.line,
            shown(&self.recorded),
            shown(&self.replayed)
        )
    }
}

impl std::error::Error for RecordingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_differ_in_their_first_line_that_is_not_the_same() {
        assert_eq!(first_difference(b"a\r\nb\n", b"a\r\nb\n"), None);
        let difference = first_difference(b"a\nb\nc\n", b"a\nB\nC\n").expect("a difference");
        assert_eq!((difference.line, difference.recorded.as_deref()), (2, Some("b\n")));
        let end = first_difference(b"a\nb\n", b"a\n").expect("a difference");
        assert_eq!((end.line, end.replayed.as_deref()), (2, None));
        assert!(first_difference(b"a\n", b"a\r\n").is_some());
    }

    #[test]
    fn names_of_recordings_lead_nowhere_else() {
        for name in ["", "..", "a/b", "a b"] {
            assert!(Recording::named(name).is_err(), "{name:?}");
        }
        assert!(Recording::named("swapoff-2").is_ok());
    }

    #[test]
    fn a_description_survives_its_file() {
        let description = Description {
            qemu: PathBuf::from("qemu"),
            qemu_version: String::from("10.0"),
            machine: Profile::load("disk-read-errors").expect("a profile"),
            kernel_args: vec![String::from("nohz=off")],
            program: String::from("demo"),
            init_args: vec![String::from("--mib"), String::from("8")],
        };
        let text = serde_json::to_string(&description).expect("JSON");
        assert_eq!(serde_json::from_str::<Description>(&text).expect("the same"), description);
    }
}
