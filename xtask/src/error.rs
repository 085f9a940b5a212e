// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lists what can go wrong on the host side before or while a guest runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::bench::rows::{SECTIONS, Section};
use crate::image::ImageError;
use crate::need::Need;
use crate::qemu::Version;
use crate::recording::RecordingError;

/// Why a verb could not do its work.
#[derive(Debug)]
pub enum Error {
    /// The host refused an operation on a file.
    File {
        /// The operation, as in "read".
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
    /// A tool could not be started.
    Start {
        /// The tool.
        tool: String,
        /// The host's reason.
        source: io::Error,
    },
    /// A tool ran and failed; it has said why on its own.
    Failed {
        /// The command as typed.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A tool answered in an unexpected form.
    Answer {
        /// The command as typed.
        command: String,
        /// What was expected of it.
        expected: &'static str,
    },
    /// Something is missing on this machine, and was not or could not be installed.
    Missing(Vec<Need>),
    /// A tool that a verb runs is not there.
    NoTool {
        /// The tool.
        tool: &'static str,
        /// Debian's package with it.
        package: &'static str,
    },
    /// There is no Linux to compare with.
    NoLinux(String),
    /// A file of numbers does not say what one must say.
    Numbers {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A page of the documentation has lost the marks between which numbers stand.
    NoPlace(&'static str),
    /// The benchmark has no row or section of this name.
    UnknownRow(String),
    /// A guest ended before its program did.
    GuestFailed {
        /// Which one.
        guest: &'static str,
        /// How it ended.
        how: String,
    },
    /// QEMU is older than the oldest supported version.
    QemuTooOld(Version),
    /// No machine profile has this name.
    UnknownMachine {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A machine profile does not say what a profile must say.
    Profile {
        /// The profile's file.
        path: PathBuf,
        /// The parser's reason.
        source: Box<toml::de::Error>,
    },
    /// The kernel ELF cannot be made into an Image.
    Image {
        /// The ELF.
        path: PathBuf,
        /// What is wrong with it.
        source: ImageError,
    },
    /// A file, or a guest's output, has no block of counters.
    NoCounters(String),
    /// A guest that ended like this wrote no trace.
    NoTrace(String),
    /// A kernel option or an argument of init has a character that a command line cannot carry.
    CommandLineWord(String),
    /// A run cannot be recorded or replayed.
    Recording(RecordingError),
}

impl From<RecordingError> for Error {
    fn from(error: RecordingError) -> Self {
        Self::Recording(error)
    }
}

impl Error {
    /// Wraps the host's refusal of `verb` on `path`; made for `map_err`.
    pub fn file(verb: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { verb, path: path.as_ref().to_owned(), source }
    }

    /// Wraps the host's refusal to start `tool`; made for `map_err`.
    pub fn start(tool: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Start { tool: tool.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { verb, path, source } => {
                write!(f, "cannot {verb} {}: {source}", path.display())
            }
            Self::Start { tool, source } => write!(f, "cannot start {tool}: {source}"),
            Self::Failed { command, status } => write!(f, "`{command}` failed: {status}"),
            Self::Answer { command, expected } => {
                write!(f, "`{command}` gave no {expected}")
            }
            Self::Missing(needs) => {
                f.write_str("missing on this machine: ")?;
                let names: Vec<String> = needs.iter().map(Need::to_string).collect();
                f.write_str(&names.join(", "))
            }
            Self::NoTool { tool, package } => {
                write!(f, "{tool} is not installed (on Debian: apt-get install {package})")
            }
            Self::NoLinux(why) => write!(
                f,
                "no Linux to compare with: {why} \
                 (name one with --linux-image PATH --linux-modules PATH)"
            ),
            Self::Numbers { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NoPlace(page) => write!(f, "{page} has no marks to put numbers between"),
            Self::UnknownRow(name) => {
                let names = |section: &Section| {
                    let rows: Vec<&str> = section.rows.iter().map(|row| row.name).collect();
                    format!("\n    {}: {}", section.name, rows.join(" "))
                };
                let known: String = SECTIONS.iter().map(names).collect();
                write!(f, "the benchmark has no row or section {name}; there are{known}")
            }
            Self::GuestFailed { guest, how } => write!(f, "{guest} did not finish: {how}"),
            Self::QemuTooOld(version) => write!(
                f,
                "QEMU {version} is too old: {} or newer is needed (choose one with --qemu PATH)",
                Version::OLDEST
            ),
            Self::UnknownMachine { name, known } => {
                write!(f, "no machine profile qemu/{name}.toml; there are: {}", known.join(", "))
            }
            Self::Profile { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Image { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NoCounters(place) => write!(f, "there are no counters in {place}"),
            Self::NoTrace(ending) => write!(f, "the guest wrote no trace: {ending}"),
            Self::Recording(error) => error.fmt(f),
            Self::CommandLineWord(word) => write!(
                f,
                "{word:?} cannot go on a kernel command line: it has a quote or a control character"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Start { source, .. } => Some(source),
            Self::Profile { source, .. } => Some(source),
            Self::Image { source, .. } => Some(source),
            Self::Numbers { source, .. } => Some(source),
            _ => None,
        }
    }
}
